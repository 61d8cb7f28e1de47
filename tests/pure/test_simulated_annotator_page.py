"""A simulated annotator reads a page as a browser without JavaScript shows it, and sends what that browser would."""

from training.simulation.page import read_page

PAGE = """
<!doctype html><html><head><title>Judge</title><style>p { color: red }</style></head><body>
<form method="post" action="/logout/">
  <input type="hidden" name="csrfmiddlewaretoken" value="t1"><button>Sign out</button>
</form>
<section data-hook="A"><p>It is <strong>on its way</strong>,<br>says the <em>driver</em>.</p>
<ul><li>one<li>two</ul></section>
<section data-hook="B"><pre>first
second</pre><script>var x = "unseen";</script><p hidden>also unseen</p> &amp; &lt;b&gt; &#x1F4E6;</section>
<form action="submit/" METHOD="POST">
  <input type="hidden" name="csrfmiddlewaretoken" value="t2">
  <input name="note" value="as it is">
  <input type="checkbox" name="tag" value="safe" checked><input type="checkbox" name="tag" value="rude">
  <input type="radio" name="strength" value="1"><input type="radio" name="strength" value="2" checked>
  <input name="locked" value="never sent" disabled><input type="file" name="upload">
  <select name="reason"><option value="unclear">Unclear</option><option value="other" selected>Other</option></select>
  <select name="first"><option value="x">X</option><option value="y">Y</option></select>
  <textarea name="rationale">
because &quot;so&quot;</textarea>
  <button name="choice" value="A">A is better</button><button name="choice" value="tie">Tie</button>
  <button type="button" name="help" value="1">Help</button>
</form></body></html>
"""


def test_the_texts_are_what_a_person_sees() -> None:
    page = read_page(PAGE)
    assert page.texts["A"] == "It is on its way,\nsays the driver.\none\ntwo"
    assert page.texts["B"] == "first\nsecond\n& <b> \N{PACKAGE}"
    assert "unseen" not in page.text
    assert "color" not in page.text


def test_a_form_sends_what_a_browser_would_send() -> None:
    form = read_page(PAGE).forms[1]
    assert (form.action, form.method) == ("submit/", "post")
    assert form.submission(choice="tie") == {
        "csrfmiddlewaretoken": ["t2"],
        "note": ["as it is"],
        "tag": ["safe"],
        "strength": ["2"],
        "reason": ["other"],
        "first": ["x"],
        "rationale": ['because "so"'],
        "choice": ["tie"],
    }
    assert form.buttons == [("choice", "A"), ("choice", "tie")]


def test_a_changed_control_replaces_its_value() -> None:
    form = read_page(PAGE).forms[1]
    assert form.submission(reason="broken", strength="1")["reason"] == ["broken"]
    assert form.submission(reason="broken", strength="1")["strength"] == ["1"]


def test_forms_do_not_mix() -> None:
    first, second = read_page(PAGE).forms
    assert first.fields == [("csrfmiddlewaretoken", "t1")]
    assert "note" not in first.names()
    assert {"choice", "note"} <= second.names()


def test_a_page_with_open_tags_does_not_swallow_the_rest() -> None:
    page = read_page('<div data-hook="A"><p>one<p>two</div><div data-hook="B">three')
    assert page.texts == {"A": "one\ntwo", "B": "three"}

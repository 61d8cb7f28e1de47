"""Untrusted Markdown: nothing in it becomes script, form, image or a request, and nothing in it takes long."""

import html
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.formulas import ELEMENTS
from annotate.rendering import _SENTENCES, MAX_MARKDOWN, render_markdown

TAGS = {
    *ELEMENTS,
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "span", "a", "ul", "ol", "li", "blockquote"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"href", "title", "rel", "target", "dir", "class", "start"}

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)><animate onbegin=alert(1)>",
    '<div hx-get="/accounts/logout/" hx-trigger="load">x</div>',
    '<a hx-post="/x" data-hx-post="/y" href="https://a.example">x</a>',
    '<form action="/projects/1/judge/" method="post"><button name="choice" value="A">x</button></form>',
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    '<style>body{display:none}</style><link rel="stylesheet" href="//evil.example">',
    '<meta http-equiv="refresh" content="0;url=//evil.example"><base href="//evil.example">',
    "<!-- comment --><![CDATA[<b>x</b>]]><?php echo 1 ?>",
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#115;cript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](/accounts/logout/)",
    "[x](//evil.example/)",
    "[x](../../admin/)",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "![x](https://evil.example/pixel.png)",
    '![x](x "onerror=alert(1)")',
    "[![x](https://evil.example/pixel.png)](https://a.example)",
    '[x](https://a.example "\\" onmouseover=\\"alert(1)")',
    '```"><script>alert(1)</script>\ncode\n```',
    "```button danger primary\ncode\n```",
    "```python\n'</code></pre><script>alert(1)</script>'\n```",
    "| <script>x</script> | [y](javascript:1) |\n| :-: | --- |\n| <b hx-get=/>z</b> | ![i](//e.example/i) |",
    "# <img src=x onerror=alert(1)>",
    "`<script>alert(1)</script>`",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "a\0b <scr\0ipt>",
    r"$\text{<script>alert(1)</script>}$",
    r"$$\href{javascript:alert(1)}{x}$$",
    r"\(\style{position:fixed}{x}\class{bar}{y}\)",
    r"\[\rule{100cm}{100cm}\hspace{-99em}\color{red}x\]",
    "<math href='javascript:alert(1)'><mtext><b hx-get=/>x</b></mtext></math>",
    "<math><maction actiontype=statusline xlink:href='javascript:alert(1)'>x</maction></math>",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("breaks", [False, True])
def test_hostile_text_becomes_only_known_tags_and_attributes(text: str, breaks: bool) -> None:
    rendered = render_markdown(text, breaks=breaks)
    for tag, inside in re.findall(r"<\s*/?\s*([^\s/>]+)([^>]*)>", rendered):
        assert tag in TAGS, rendered
        for name, value in re.findall(r'([^\s="]+)="([^"]*)"', inside):
            if tag in ELEMENTS:
                assert value in ELEMENTS[tag][name], rendered
                continue
            assert name in ATTRIBUTES, rendered
            if name == "href":
                assert re.match(r"(https?://|mailto:)", value), rendered
            if name == "class":
                assert re.fullmatch(r"hl-\w+|align-(left|center|right)", value), rendered


def test_raw_html_is_shown_as_it_was_written() -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in render_markdown("<script>alert(1)</script>")


def test_a_remote_image_is_a_link_at_most() -> None:
    assert "<img" not in render_markdown("![x](https://a.example/x.png)")


def test_links_open_elsewhere_and_lend_us_no_weight() -> None:
    rendered = render_markdown("[x](https://a.example/?a=1&b=2)")
    assert 'href="https://a.example/?a=1&amp;b=2"' in rendered
    assert 'rel="noopener nofollow ugc"' in rendered
    assert 'target="_blank"' in rendered


def test_single_line_breaks_are_kept_in_a_chat_and_not_in_a_document() -> None:
    assert "one<br>" in render_markdown("one\ntwo", breaks=True)
    assert "<br>" not in render_markdown("one\ntwo")


def test_code_is_coloured_and_keeps_every_character() -> None:
    code = "\n  def f(x):\n    return '<b>' + x  # &\n"
    rendered = render_markdown(f"```python\n{code}```")
    assert 'class="hl-k"' in rendered
    assert html.unescape(re.sub(r"<[^>]+>", "", rendered)).strip("\n") == code.strip("\n")


def test_code_of_an_unknown_or_slow_language_is_shown_without_colours() -> None:
    for language in ("", "java", "make", "no-such-language"):
        rendered = render_markdown(f"```{language}\nint x = 1;\n```")
        assert "<pre><code>int x = 1;" in rendered


def test_tables_align_by_class_because_styles_are_forbidden() -> None:
    rendered = render_markdown("|a|b|\n|:-:|--:|\n|1|2|")
    assert '<td class="align-right">2</td>' in rendered
    assert "style" not in rendered


def test_headings_stand_below_the_pages_own() -> None:
    assert render_markdown("# One\n\n###### Six").count("<h3") == 1
    assert "<h1" not in render_markdown("One\n===")


def test_each_block_finds_its_own_direction() -> None:
    rendered = render_markdown("שלום\n\n- مرحبا\n- hello")
    assert rendered.count('dir="auto"') == 3


def test_what_is_around_a_block_goes_by_the_text_in_it() -> None:
    """An element with a direction of its own is passed over when a browser looks for that of the one around it."""
    for text in ("> שלום", "- שלום\n\n- עולם", "|שם|\n|-|\n|a|"):
        rendered = render_markdown(text)
        assert re.search(r'<(blockquote|li|table) dir="auto">(?!.*<(p|t[hd]) dir)', rendered, re.DOTALL), rendered


def test_formulas_are_mathml_and_money_stays_money() -> None:
    rendered = render_markdown(r"From $5 to $6: $x^2$ and \[y = \frac{1}{2}\]", breaks=True)
    assert "From $5 to $6: <math" in rendered
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in rendered
    assert '<math display="block"><mrow><mi>y</mi><mo>=</mo><mfrac><mrow><mn>1</mn>' in rendered


PATHOLOGICAL = {
    "brackets": "[" * 50_000,
    "images": "![" * 25_000,
    "emphasis": "*a_ " * 12_500,
    "quotes": "> " * 25_000,
    "backticks": "".join("`" * length + " " for length in range(310)),
    "nested lists": "".join(" " * depth + "- a\n" for depth in range(300)),
    "numbered list": "1. a\n" * 10_000,
    "references": "[a]: http://x\n" * 1_999,
    "wide table": "|" + "a|" * 700 + "\n|" + "-|" * 700 + "\n" + "|\n" * 3_000,
    "entities": "&amp;" * 10_000,
    "fences": "~~~\n" * 12_500,
    "unlucky code": "```ts\n" + "a." * 2_400 + "\n```\n" + "```js\n" + '"\\' * 2_400 + "\n```\n",
    "unlucky slow language": "```make\n" + "a" * 40_000 + "\n```",
    "just too long": "word " * 10_001,
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_nothing_within_fifty_thousand_characters_takes_long(name: str) -> None:
    """Without the limits several of these take 2 to 30 seconds; with them none took more than 0.6 on two slow cores."""
    began = time.process_time()
    render_markdown(PATHOLOGICAL[name])
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ["brackets", "images", "wide table", "just too long", "quotes", "numbered list"])
def test_what_would_take_long_is_shown_as_escaped_text_with_its_line_breaks(name: str) -> None:
    text = PATHOLOGICAL[name] + "<b>\nend"
    rendered = render_markdown(text)
    assert rendered == f'<p class="plain" dir="auto">{html.escape(text)}</p>'


def test_text_that_lies_deeper_than_the_parser_looks_is_shown_and_not_left_out() -> None:
    assert "the answer" in render_markdown("Hello.\n\n" + ">" * 5_000 + " the answer")
    assert "<blockquote" in render_markdown(">" * 20 + " still formatted")


@pytest.mark.parametrize(
    "text", ["[a]: https://a.example\n[b]: https://b.example 'title'", "$$\\begin{matrix}&\\\\&\\end{matrix}$$"]
)
def test_what_would_not_be_seen_is_shown_as_it_was_written(text: str) -> None:
    assert render_markdown(text) == f'<p class="plain" dir="auto">{html.escape(text)}</p>'
    assert render_markdown("---") == "<hr>\n"
    assert render_markdown(" \n") == ""


@pytest.mark.parametrize(
    "definition", ["https://a.example/" + "a" * 20_000, "https://a.example '" + "t" * 20_000 + "'"]
)
def test_a_definition_that_is_used_a_thousand_times_makes_no_page_of_megabytes(definition: str) -> None:
    text = f"[a]: {definition}\n\n" + "[a]" * 1_000
    assert len(render_markdown(text)) < 2 * len(text)


def test_an_ordinary_long_answer_is_still_formatted() -> None:
    section = (
        "## Part\n\nSome *text* with `code` and a [link](https://a.example).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    )
    text = section * (MAX_MARKDOWN // len(section))
    assert 2 * len(text) > MAX_MARKDOWN
    assert "<table dir=" in render_markdown(text)


@given(st.text("aZ09,.;:?!'()/ -", max_size=40), st.booleans())
def test_sentences_that_are_not_parsed_look_as_if_they_had_been(middle: str, breaks: bool) -> None:
    text = f"W{middle}w"
    assert _SENTENCES.fullmatch(text)
    # After a heading they are no sentences only, and are parsed.
    parsed = render_markdown(f"# x\n\n{text}", breaks=breaks)
    assert parsed == f'<h3 dir="auto">x</h3>\n{render_markdown(text, breaks=breaks)}'

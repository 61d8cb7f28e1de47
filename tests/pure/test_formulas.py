r"""Formulas: found where they are meant, money and prose left alone, and nothing hostile drawn or slow.

How long something takes is measured in calls of functions, which are the same on every machine.
"""

import re
import sys
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from annotate import formulas
from annotate.formulas import ELEMENTS, MAX_DEPTH, MAX_FORMULA, MAX_FORMULAS, add_formulas, has_formulas, to_mathml


def rendered(text: str) -> str:
    parser = MarkdownIt("js-default", {"html": False, "breaks": True})
    add_formulas(parser)
    return str(parser.render(text))


def calls(action: Callable[[], object]) -> int:
    """How many functions were called meanwhile, Python's own among them."""
    count = 0

    def counted(_frame: object, event: str, _what: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("$x$", 1),
        ("so $x^2$, and $$y$$ too", 2),
        ("$$\nx = 1\n$$", 1),
        (r"\(x\) and \[y = 1\] and more", 2),
        ("\\[\na\n=\nb\n\\]", 1),
        ("- item\n  \\[\n  x = 1\n  \\]", 1),
        ("> $$\n> x\n> $$", 1),
        ("\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}", 1),
        ("the $n$th of $n$-th", 2),
        (r"\$5 and $x$", 1),
    ],
)
def test_a_formula_is_found_in_each_notation(text: str, drawn: int) -> None:
    assert rendered(text).count("<math ") == drawn
    assert "$" not in rendered(text.replace(r"\$5", ""))


@pytest.mark.parametrize(
    "text",
    [
        "$5 and $6",
        "from $5-$6 to US$7",
        "It costs $5. Or 6$ there",
        "between 5$ and 6$",
        "$HOME/$USER",
        "$AAPL and $GOOG",
        "Restaurants from $ to $$$",
        r"see \[1\], \[sic\] and \(see below\)",
        "`$x$` and `\\(x\\)`",
        "```\n$$x$$\n```",
        "    $$x$$",
        "$ x $",
        "$$\nx\n\ny\n$$",
        r"\[ x and no end",
        "\\begin{align}\nx and no end",
    ],
)
def test_money_prose_code_and_what_has_no_end_are_no_formulas(text: str) -> None:
    assert "<math" not in rendered(text)
    letters = re.sub(r"<[^>]+>", "", rendered(text))
    assert [sign for sign in text if sign.isalnum()] == [sign for sign in letters if sign.isalnum()]


def test_text_behind_a_formula_on_its_line_is_kept() -> None:
    for text in (r"\[x = 1\] is the answer", "$$x = 1$$ is the answer", "\\[\nx = 1\n\\] is the answer"):
        assert "is the answer" in rendered(text)
        assert "<math" in rendered(text)


def test_what_cannot_be_drawn_is_shown_as_it_was_written() -> None:
    assert rendered(r"a $\nosuch{x}$ b") == "<p>a <code>$\\nosuch{x}$</code> b</p>\n"
    assert rendered(r"\(\nosuch\)") == "<p><code>\\(\\nosuch\\)</code></p>\n"
    assert rendered("$$\n\\nosuch <b>\n$$") == "<pre><code>$$\n\\nosuch &lt;b&gt;$$</code></pre>\n"


REFUSED = {
    "unknown command": r"\nosuch{x}",
    "macro": r"\def\a{\b\b}\def\b{\c\c}\def\c{xx}\a",
    "new command": r"\newcommand{\a}{\a\a}\a",
    "new environment": r"\newenvironment{a}{x}{y}\begin{a}z\end{a}",
    "link": r"\href{javascript:alert(1)}{x}",
    "style": r"\style{position:fixed}{x}",
    "class": r"\class{bar}{x}",
    "code point": r"\unicode{202e}",
    "open brace": r"\frac{a",
    "closing brace": r"a}",
    "wrong order": r"}a{",
    "left alone": r"\left( x",
    "right alone": r"x \right)",
    "two exponents": "a^b^c",
    "missing argument": r"\frac",
    "cell without a table": "a & b",
    "line without a table": r"a \\ b",
    "comment that would hide the rest": "50% x",
    "begin alone": r"\begin{matrix} x",
    "end alone": r"x \end{matrix}",
    "formula in its text": r"\text{if $x$}",
    "too long": "x" * (MAX_FORMULA + 1),
    "too deep in braces": "{" * 900 + "}" * 900,
    "too deep in fractions": r"\frac{" * MAX_DEPTH + "x" + "}{1}" * MAX_DEPTH,
    "too deep without braces": r"\sqrt" * 390 + "x",
    "too deep in tables": r"\begin{matrix}" * 35 + "x" + r"\end{matrix}" * 35,
    "empty": "",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("display", [False, True])
def test_hostile_or_broken_formulas_are_refused(name: str, display: bool) -> None:
    assert to_mathml(REFUSED[name], display=display) is None


HOSTILE = [
    r"\text{<script>alert(1)</script>}",
    r"<img src=x onerror=alert(1)>",
    r"\text{</mtext></math><img src=x onerror=alert(1)>}",
    r"\text{&lt;script&gt;}",
    r"\text{&#x3c;script&#x3e;}",
    r"\operatorname{a b}\mbox{<style>*{}</style>}",
    r"\color{red;position:fixed}x",
    r"\textcolor{url(//evil.example)}{x}",
    r"\colorbox{black}{x}\fcolorbox{a}{b}{c}",
    r"\rule{100cm}{100cm}",
    r"x\hspace{-99em}y\kern-99em z\!",
    r"\raise99em{x}\lower99em{y}",
    r"\llap{xxxxxxxx}\rlap{y}\smash{z}",
    r"\Huge x",
    r"\verb|<b>|",
    r"\bra{x}\ket{y}\xrightarrow{<b>}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_what_is_drawn_has_only_listed_elements_and_listed_values(source: str) -> None:
    drawn = to_mathml(source, display=True)
    if drawn is None:
        return
    for tag, inside in re.findall(r"<\s*/?\s*([^\s/>]+)([^>]*)>", drawn):
        for name, value in re.findall(r'([^\s="]+)="([^"]*)"', inside):
            assert value in ELEMENTS[tag][name], drawn
        assert tag in ELEMENTS, drawn


def test_no_length_of_the_writers_choosing_gets_through() -> None:
    for source in (r"\rule{100cm}{100cm}", r"\hspace{-99em}x", r"\raise99em{x}", r"\llap{x}"):
        assert "9" not in str(to_mathml(source, display=True))
        assert "100cm" not in str(to_mathml(source, display=True))


def test_letters_carry_their_own_style_and_functions_stand_apart() -> None:
    assert "<mi>ℝ</mi>" in str(to_mathml(r"\mathbb{R}", display=False))
    assert "<mi>ℝ</mi><mi>ℙ</mi>" in str(to_mathml(r"\mathbb{RP}", display=False))
    assert '<mi mathvariant="normal">d</mi>' in str(to_mathml(r"\mathrm{d}x", display=False))
    assert "<mi>sin</mi><mspace" in str(to_mathml(r"\sin x", display=False))
    assert "<munder><mo movablelimits=" in str(to_mathml(r"\lim_{x \to 0} x", display=True))


ORDINARY = r"""
\ldots \mathbb{R} \mathcal{L} \dfrac12 \boxed{x} \leq \neq \infty \partial \nabla \Rightarrow \coloneqq \langle\rangle
\overset{a}{b} \bigg(x\bigg) 50\% \{x\} \xrightarrow{a} \prod_{i}x \oint\limsup_n \sqrt[3]{x} \overline{x} \text{a~b}
\widehat{xy} \boldsymbol{x} \operatorname{rank}A \operatorname*{argmax}_x \substack{a\\b} \binom{n}{k} x\not\in{y}
\left.\frac{a}{b}\right|_x \mathfrak{g} \textcolor{red}{x} \cancel{x} \underbrace{a}_{b} x\tag{1} f''(x) x'^2
\begin{bmatrix}1&2\\3&4\end{bmatrix} \begin{cases}1&x\\2&y\end{cases} \begin{gather}a\\b\end{gather} a\pmod{n}
\begin{aligned}a&=b\\c&=d\end{aligned} \begin{array}{c|c}a&b\\\hline{}c&d\end{array} \begin{equation}x\end{equation}
"""


@pytest.mark.parametrize("source", ORDINARY.split())
def test_what_models_commonly_write_is_drawn(source: str) -> None:
    assert to_mathml(source, display=True) is not None


PATHOLOGICAL = {
    "blocks without an end": "$$ a\n# b\n" * 5_000,
    "brackets without an end": "\\[ a\n# b\n" * 5_000,
    "environments without an end": "\\begin{align}\n# b\n" * 2_500,
    "one block without an end": "$$\n" + "a\n" * 24_000,
    "parentheses without an end": "\\(" * 25_000,
    "lists": "- $$ a\n" * 7_000,
    "dollars": "$" * 50_000,
    "dollars and letters": "$a " * 16_000,
    "escaped dollars": "$a" + "\\$" * 24_000,
    "many formulas": "$x_{1}$ " * 6_250,
    "long formulas": ("$" + "x^{2}+" * 330 + "y$ ") * 25,
    "nested fractions": ("$" + "\\frac{" * 39 + "x" + "}{1}" * 39 + "$ ") * 100,
    "a wide matrix": ("$$\\begin{matrix}" + "&" * 900 + "\\\\" * 450 + "\\end{matrix}$$\n\n") * 25,
    "an operator of blanks": ("$\\operatorname{" + "*" * 1_900 + "$ ") * 25,
    "primes": ("$x" + "'" * 1_990 + "$ ") * 25,
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_nothing_within_fifty_thousand_characters_takes_many_steps(name: str) -> None:
    text = PATHOLOGICAL[name]
    assert calls(lambda: has_formulas(text) and rendered(text)) < 5_000_000


def test_a_page_of_formulas_is_drawn_up_to_the_limits_and_the_rest_is_shown_as_written() -> None:
    text = "$x_1$ " * (MAX_FORMULAS + 7)
    assert rendered(text).count("<math ") == MAX_FORMULAS
    assert rendered(text).count("<code>$x_1$</code>") == 7
    long = ("$" + "x+" * 900 + "x$ ") * 20
    assert rendered(long).count("<math ") == formulas.MAX_IN_TEXT // 1_801


def test_macros_are_refused_before_they_are_expanded() -> None:
    bomb = "".join(rf"\def\{chr(97 + n)}{{\{chr(98 + n)}\{chr(98 + n)}}}" for n in range(24)) + r"\a"
    assert calls(lambda: to_mathml(bomb, display=True)) < 100

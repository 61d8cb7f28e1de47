r"""Formulas in untrusted Markdown, as MathML that the browser draws by itself.

Found are ``$...$``, ``$$...$$``, ``\(...\)``, ``\[...\]`` and bare ``\begin{align}`` and its like. latex2mathml
translates them; of its tree only known elements, enumerated attribute values and escaped text are kept, so that no
length, link or style of the writer's choosing gets through. What cannot be translated, or would cost too much, is shown
as it was written, as code; what looks like money or prose is left alone.
"""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from xml.etree.ElementTree import Element

from latex2mathml.converter import Converter
from latex2mathml.symbols_parser import convert_symbol
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

# Characters of one formula, and of all formulas of one text; the rest is shown as it was written.
MAX_FORMULA = 2_000
MAX_IN_TEXT = 20_000
# Formulas of one text that are drawn.
MAX_FORMULAS = 500
# Elements inside each other: a browser's layout of fractions in fractions grows with each.
MAX_DEPTH = 40
# An opening sign of a block without its end makes a rule look through all lines below: openings times lines.
MAX_SEARCH = 500_000

_OPENING = re.compile(r"\$|\\[(\[]|\\begin\{")
_BLOCK_OPENING = re.compile(r"\$\$|\\\[|\\begin\{")
# What would define macros (they expand without end), name a place or a look, or make the library lose what follows.
# A bare "%" begins a comment in TeX, and means itself where it is written by mistake.
_REFUSED = re.compile(
    r"\\(?:def|(?:re)?newcommand|(?:re)?newenvironment|DeclareMathOperator|href|style|class|unicode|genfrac|mathchoice)\b"
    r"|(?<!\\)%"
)
# Environments that the library does not know or would number, by what it draws alike.
_ENVIRONMENTS = {
    **dict.fromkeys(["align", "aligned", "eqnarray", "eqnarray*", "flalign", "flalign*"], "align*"),
    **dict.fromkeys(["gather", "gather*", "gathered", "multline", "multline*"], "matrix"),
    **dict.fromkeys(["equation", "equation*"], ""),
    "dcases": "cases",
}
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(\w+\*?)\}")

_YES_NO = {"true", "false"}
_SIZES = {"1.2em", "1.623em", "2.047em", "2.470em"}
_STRIKES = {"updiagonalstrike", "downdiagonalstrike", "updiagonalstrike downdiagonalstrike", "horizontalstrike"}
# Every element that may be drawn, and the values that its attributes may have. Both walls of the cleaning use it.
ELEMENTS: dict[str, dict[str, set[str]]] = {
    "math": {"display": {"block", "inline"}},
    "mrow": {},
    "mi": {"mathvariant": {"normal"}},
    "mn": {},
    "mo": {
        **dict.fromkeys(("stretchy", "fence", "largeop", "movablelimits", "accent"), _YES_NO),
        "form": {"prefix", "infix", "postfix"},
        "minsize": _SIZES,
        "maxsize": _SIZES,
    },
    "mtext": {"mathvariant": {"bold", "italic", "monospace"}},
    "mspace": {"width": {"0.167em", "0.222em", "0.278em", "0.333em", "0.5em", "1em", "2em"}},
    "mfrac": {"linethickness": {"0"}},
    **{tag: {} for tag in ("msqrt", "mroot", "msub", "msup", "msubsup", "mphantom")},
    **{tag: {"accent": _YES_NO} for tag in ("munder", "mover", "munderover")},
    "mstyle": {"displaystyle": _YES_NO, "scriptlevel": {"0", "1", "2"}},
    "mpadded": {"width": {"0"}},
    "menclose": {"notation": {"box"} | _STRIKES},
    "mtable": {"displaystyle": {"true"}},
    "mtr": {},
    "mtd": {"columnalign": {"left", "center", "right"}},
}
# Browsers take a letter's style from the letter itself (MathML Core), not from an attribute.
_LETTERS = {
    "double-struck": "mathbb",
    "script": "mathscr",
    "fraktur": "mathfrak",
    "bold": "mathbf",
    "bold-italic": "mathbfit",
    "sans-serif": "mathsf",
    "monospace": "mathtt",
}
_WITH_LIMITS = {"lim", "sup", "inf", "max", "min"}
_UNDER = {"msub": "munder", "msubsup": "munderover"}
_THIN = '<mspace width="0.167em"></mspace>'


class _NotDrawnError(Exception):
    """This formula is shown as it was written."""


def to_mathml(source: str, *, display: bool) -> str | None:
    """The formula as a ``<math>`` element, or None if it cannot be drawn soundly: then show the source.

    ``display`` draws it in a line of its own.
    """
    if len(source) > MAX_FORMULA or _REFUSED.search(source) or not _balanced(source):
        return None
    known = _ENVIRONMENT.sub(_known_environment, source)
    try:
        tree = Converter(display="block" if display else "inline").convert_to_element(known)
        return _drawn(tree, depth=0)
    except Exception:  # noqa: BLE001  (the library has a dozen ways to fail, and all of them mean the same here)
        return None


def _balanced(source: str) -> bool:
    depth = 0
    for sign in re.findall(r"\\.|[{}]", source, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if not 0 <= depth <= MAX_DEPTH:
            return False
    return depth == 0


def _known_environment(match: re.Match[str]) -> str:
    name = _ENVIRONMENTS.get(match[2], match[2])
    return f"\\{match[1]}{{{name}}}" if name else ""


def _drawn(element: Element, *, depth: int) -> str:
    """The element as HTML. It is written anew, so that what is not listed above cannot be in it."""
    tag, said = element.tag, element.text or ""
    if depth > MAX_DEPTH or tag not in ELEMENTS or element.get("linebreak"):
        raise _NotDrawnError
    # A command that the library does not know, or a sign without its table, is left over as text.
    if (said.startswith("\\") and said != "\\") or said == "&" or (tag == "mtext" and re.search(r"[\\$]", said)):
        raise _NotDrawnError
    given = dict(element.attrib)
    text = html.unescape(said)
    if tag in ("mi", "mn") and (letters := _LETTERS.get(given.get("mathvariant", ""))):
        text = "".join(_letter(letters, sign) for sign in text)
    elif tag == "mi" and re.fullmatch(r"&#x0*[46-7]\w;", said):  # \mathrm{d}, which would be drawn as a variable
        given["mathvariant"] = "normal"
    elif tag == "mo" and text in _WITH_LIMITS:
        given["movablelimits"] = "true"
    elif tag == "mo" and _is_word(text) and "movablelimits" not in given:  # \operatorname{f}
        tag = "mi"
    elif tag in _UNDER and len(element) and _has_limits(element[0]):
        tag = _UNDER[tag]
    kept = "".join(
        f' {name}="{html.escape(value)}"'
        for name, value in sorted(given.items())
        if value in ELEMENTS[tag].get(name, set())
    )
    return f"<{tag}{kept}>{html.escape(text)}{''.join(_children(element, depth))}</{tag}>"


def _children(element: Element, depth: int) -> Iterator[str]:
    children = list(element)
    for child, following in zip(children, [*children[1:], None], strict=False):
        yield _drawn(child, depth=depth + 1)
        # sin x, not sinx. In fractions and the like each child has a place of its own.
        apart = element.tag == "mrow" and following is not None and following.tag not in ("mo", "mspace")
        if apart and _is_function(child):
            yield _THIN


def _letter(style: str, sign: str) -> str:
    symbol = convert_symbol(f"\\{style}{{{sign}}}")
    return chr(int(symbol, 16)) if symbol else sign


def _is_word(text: str) -> bool:
    return len(text) > 1 and text.replace(" ", "").isalpha() and text.isascii()


def _has_limits(base: Element) -> bool:
    return base.tag == "mo" and (base.text in _WITH_LIMITS or base.get("movablelimits") == "true")


def _is_function(element: Element) -> bool:
    if element.tag in ("msub", "msup", "msubsup") and len(element):
        return _is_function(element[0])
    return element.tag in ("mi", "mo") and _is_word(element.text or "")


# --- Finding them ---


def has_formulas(text: str) -> bool:
    """Is there anything to look for, and little enough of it that looking takes no time?"""
    if not _OPENING.search(text):
        return False
    return len(_BLOCK_OPENING.findall(text)) * text.count("\n") <= MAX_SEARCH


def add_formulas(parser: MarkdownIt) -> None:
    """Teaches the parser to find formulas and to draw them."""
    dollarmath_plugin(
        parser,
        allow_labels=False,
        allow_space=False,
        allow_digits=False,
        allow_blank_lines=False,
        double_inline=True,
    )
    amsmath_plugin(parser)
    dollars = next(rule.fn for rule in parser.inline.ruler.__rules__ if rule.name == "math_inline")
    parser.inline.ruler.at("math_inline", _unless_money(dollars))
    # mdit_py_plugins.texmath knows brackets too, but loses what follows ``\]`` on its line.
    parser.inline.ruler.before("escape", "math_brackets", _brackets)
    parser.block.ruler.before("fence", "math_brackets_block", _bracket_block)
    for name in ("math_inline", "math_inline_double", "math_block", "amsmath"):
        parser.add_render_rule(name, _render)


def _render(_renderer: RendererHTML, tokens: Sequence[Token], index: int, _options: object, env: dict[str, int]) -> str:
    token = tokens[index]
    display = token.type != "math_inline"
    env["formulas"] = env.get("formulas", 0) + 1
    env["formula_characters"] = env.get("formula_characters", 0) + len(token.content)
    fits = env["formulas"] <= MAX_FORMULAS and env["formula_characters"] <= MAX_IN_TEXT
    drawn = to_mathml(token.content.strip(), display=display) if fits else None
    if drawn is None:
        ends = {"\\(": "\\)", "\\[": "\\]"}
        source = html.escape(token.markup + token.content.rstrip("\n") + ends.get(token.markup, token.markup))
        drawn = f"<pre><code>{source}</code></pre>" if token.block else f"<code>{source}</code>"
    return f"{drawn}\n" if token.block else drawn


def _is_prose(content: str) -> bool:
    r"""``$5 or 6$``, ``\(see below\)``: words with spaces around them, and no sign that formulas are made of."""
    return not re.search(r"[\\^_{}=+<>]", content) and bool(re.search(r"\s[^\W\d_]{2,}|[^\W\d_]{2,}\s", content))


def _unless_money(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Dollars that stand for money, or for shell variables, are no formula."""

    def found(state: StateInline, silent: bool) -> bool:
        start = state.pos
        if not rule(state, True):  # Moves on, and writes nothing.
            return False
        source, after = state.src[start : state.pos], state.src[state.pos : state.pos + 1]
        content = source.strip("$")
        joined = after.isalnum() and not re.search(r"[\w})]$", content)  # $HOME/$USER
        state.pos = start
        return not joined and not _is_prose(content) and rule(state, silent)

    return found


def _brackets(state: StateInline, silent: bool) -> bool:
    r"""``\(...\)`` and ``\[...\]`` within a line of text."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in ("\\(", "\\["):
        return False
    closing = "\\)" if opening == "\\(" else "\\]"
    end = state.src.find(closing, state.pos + 2, state.posMax)
    content = state.src[state.pos + 2 : end]
    if end < 0 or not content.strip() or _is_prose(content):
        return False
    # Brackets are escaped in text more often than parentheses are: \[1\], \[sic\].
    if opening == "\\[" and content.strip().isalnum():
        return False
    if not silent:
        token = state.push("math_inline" if opening == "\\(" else "math_inline_double", "math", 0)
        token.content, token.markup = content, opening
    state.pos = end + 2
    return True


def _bracket_block(state: StateBlock, start: int, last: int, silent: bool) -> bool:
    r"""Lines of which the first begins with ``\[`` and the last ends with ``\]``; no empty one between."""
    if state.is_code_block(start) or not state.src.startswith("\\[", state.bMarks[start] + state.tShift[start]):
        return False
    lines: list[str] = []
    for number in range(start, last):
        line = state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()
        if not line or (number > start and state.sCount[number] < state.blkIndent):
            return False
        lines.append(line)
        if "\\]" in line:
            break
    content, closing, behind = "\n".join(lines)[2:].partition("\\]")
    # Text behind the end makes it a paragraph with a formula in it.
    if not closing or behind or not content.strip() or content.strip().isalnum() or _is_prose(content):
        return False
    if not silent:
        state.line = start + len(lines)
        token = state.push("math_block", "math", 0)
        token.block, token.markup = True, "\\["
        token.content, token.map = content, [start, state.line]
    return True

"""Untrusted Markdown to safe HTML: what people and models write, as a page may show it.

Two walls: markdown-it-py makes no HTML out of HTML, no images, and links only to http, https and mailto, and
formulas become MathML (annotate.formulas); nh3 then lets through only the tags and attributes that the first wall is
known to make. What would take the parser or a browser long is shown as plain text instead, because some of their steps
are quadratic; likewise what would not be seen at all.
"""

import html
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from annotate.formulas import ELEMENTS, add_formulas, has_formulas

# Characters. Longer text is shown as it is.
MAX_MARKDOWN = 50_000
# Brackets that open links: the parser takes 3.5 seconds for 50,000 of them and 0.05 for these.
MAX_BRACKETS = 2_000
# Cells of the largest table, counted as widest row times rows: short rows are filled up, at 20 microseconds a cell.
MAX_CELLS = 20_000
# Blocks inside each other. The parser leaves out, without a word, what lies below a hundred; far sooner a line on a
# phone is one letter wide.
MAX_DEPTH = 40
# Blocks with a direction of their own, which takes a browser the square of their number to find: a second for so many.
MAX_BLOCKS = 5_000
# Characters of the links' addresses and titles. A definition counts as often as it is used: 46 kB can make 80 MB.
MAX_LINKED = 200_000

# Languages that are coloured. Many of Pygments' lexers take seconds for a few thousand unlucky characters (Java,
# TypeScript and make among them); these were measured to stay below 0.4 seconds on 5,000.
LANGUAGES = {
    name: lexer
    for lexer, names in {
        "bash": "bash sh shell zsh",
        "c": "c",
        "cpp": "cpp c++",
        "css": "css",
        "diff": "diff patch",
        "docker": "docker dockerfile",
        "go": "go golang",
        "haskell": "haskell hs",
        "html": "html",
        "javascript": "javascript js jsx typescript ts tsx",
        "json": "json",
        "kotlin": "kotlin kt",
        "lua": "lua",
        "php": "php",
        "pycon": "pycon",
        "python": "python py python3",
        "r": "r",
        "ruby": "ruby rb",
        "rust": "rust rs",
        "scala": "scala",
        "sql": "sql",
        "swift": "swift",
        "toml": "toml",
        "xml": "xml",
        "yaml": "yaml yml",
    }.items()
    for name in names.split()
}
# Characters of code that are coloured, in one block and in one text.
MAX_BLOCK = 5_000
MAX_COLOURED = 10_000

_ALIGNMENTS = ("left", "center", "right")
_BLOCKS = {"p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "th", "td"}
_ATTRIBUTES: dict[str, set[str]] = {"a": {"href", "title"}, "ol": {"start"}, "span": {"class"}}
# What finds its own direction of writing. What is inside goes by it, line by line (app.css), and cells by their table:
# an element with a direction of its own would say nothing about the one around it.
_DIRECTED = {"p", "h3", "h4", "h5", "h6", "li", "blockquote", "table"}
_VALUES = {tag: {"dir": {"auto"}} for tag in _DIRECTED}
_VALUES |= {tag: {"class": {f"align-{side}" for side in _ALIGNMENTS}} for tag in ("th", "td")}
_VALUES |= ELEMENTS
_CLEANER = nh3.Cleaner(
    tags=_BLOCKS
    | {"br", "hr", "strong", "em", "s", "code", "pre", "span", "a", "table", "thead", "tbody", "tr"}
    | set(ELEMENTS),
    attributes=_ATTRIBUTES,
    tag_attribute_values=_VALUES,
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener nofollow ugc",
    strip_comments=True,
)


def _is_web_link(url: str) -> bool:
    """Absolute links to elsewhere only: a relative one would lead a click into this very site."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (parts.scheme in ("http", "https") and bool(parts.netloc)) or parts.scheme == "mailto"


def _fit_the_page(state: StateCore) -> None:
    """Headings go below the page's own; each block finds its own direction; alignment is a class, not a style."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        if token.nesting != 1:
            continue
        if token.tag in _DIRECTED and not (token.tag == "p" and token.level):
            token.attrSet("dir", "auto")
        style = str(token.attrs.pop("style", ""))
        side = style.removeprefix("text-align:")
        if side in _ALIGNMENTS:
            token.attrSet("class", f"align-{side}")


def _fence(_renderer: RendererHTML, tokens: Sequence[Token], index: int, _options: object, env: dict[str, int]) -> str:
    """A block of code. markdown-it's own rule would give it a class of the writer's choosing (``language-...``)."""
    code, info = tokens[index].content, tokens[index].info.split()
    lexer = LANGUAGES.get(info[0].lower()) if info else None
    env["coloured"] = env.get("coloured", 0) + len(code)
    if lexer is None or len(code) > MAX_BLOCK or env["coloured"] > MAX_COLOURED:
        return f"<pre><code>{html.escape(code)}</code></pre>\n"
    coloured = highlight(code, get_lexer_by_name(lexer, stripnl=False), HtmlFormatter(nowrap=True, classprefix="hl-"))
    return f"<pre><code>{coloured}</code></pre>\n"


def _parser(*, breaks: bool, formulas: bool) -> MarkdownIt:
    parser = MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False, "breaks": breaks})
    parser.disable("image")
    parser.validateLink = _is_web_link  # type: ignore[method-assign]
    parser.core.ruler.push("fit_the_page", _fit_the_page)
    parser.add_render_rule("fence", _fence)
    if formulas:
        add_formulas(parser)
    return parser


_PARSERS = {
    (breaks, formulas): _parser(breaks=breaks, formulas=formulas)
    for breaks in (False, True)
    for formulas in (False, True)
}


def _plain(text: str) -> str:
    return f'<p class="plain" dir="auto">{html.escape(text)}</p>'


def _is_too_much(tokens: Sequence[Token]) -> bool:
    """Is the parsed text too deep, of too many parts, or much longer as HTML than it was written?"""
    blocks = linked = 0
    for token in tokens:
        blocks += "dir" in token.attrs
        linked += sum(len(str(value)) for child in token.children or () for value in child.attrs.values())
        if token.level > MAX_DEPTH or blocks > MAX_BLOCKS or linked > MAX_LINKED:
            return True
    return False


def _shows_nothing(rendered: str) -> bool:
    """Definitions of links alone, or a formula of gaps: what was written would look like an empty answer."""
    return "<hr" not in rendered and not re.sub(r"<[^>]*>", "", rendered).strip()


def _is_heavy(text: str) -> bool:
    """Could this take the parser longer than a second? What makes it slow is counted; see the limits above."""
    if len(text) > MAX_MARKDOWN or text.count("[") > MAX_BRACKETS:
        return True
    bars = [count for line in text.split("\n") if (count := line.count("|"))]
    return bool(bars) and max(bars) * len(bars) > MAX_CELLS


# A paragraph of sentences in which nothing can mean anything to Markdown, to HTML or to a formula.
_SENTENCES = re.compile(r"[A-Za-z][A-Za-z0-9,.;:?!'()/ -]*[A-Za-z0-9,.;:?!'()/]")


@lru_cache(maxsize=512)
def render_markdown(text: str, *, breaks: bool = False) -> SafeString:
    """Safe HTML of the Markdown ``text``. ``breaks`` keeps single line breaks, as the writers of a chat mean them.

    Too long or too strange text comes back escaped in one element of the class ``plain``, whose line breaks the style
    sheet keeps. Cached, because the same answer is shown at every reload and to several people.
    """
    # Half of what a short answer costs is parsing it, for nothing in most of a day's answers (``make bench``).
    if _SENTENCES.fullmatch(text):
        return mark_safe(f'<p dir="auto">{text}</p>\n')  # noqa: S308  (letters, digits and points)
    if _is_heavy(text):
        return mark_safe(_plain(text))  # noqa: S308  (escaped)
    parser = _PARSERS[breaks, has_formulas(text)]
    env: dict[str, Any] = {}
    tokens = parser.parse(text, env)
    if _is_too_much(tokens):
        return mark_safe(_plain(text))  # noqa: S308  (escaped)
    rendered = _CLEANER.clean(parser.renderer.render(tokens, parser.options, env))
    if text.strip() and _shows_nothing(rendered):
        return mark_safe(_plain(text))  # noqa: S308  (escaped)
    return mark_safe(rendered)  # noqa: S308  (just cleaned)

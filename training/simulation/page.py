"""Reads a page as a browser without JavaScript does: its forms, and the text that a person sees. Pure, stdlib only."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# Elements that stand on lines of their own.
_BLOCKS = {"address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "h1", "h2", "h3", "h4"} | {
    "h5", "h6", "header", "hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul"
}  # fmt: skip
_UNSEEN = {"head", "noscript", "script", "style", "template"}


@dataclass
class Form:
    """One form: where it goes, what it would send as it stands, and its submit buttons as (name, value)."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def submission(self, **changed: str) -> dict[str, list[str]]:
        """What a browser sends after a person has set the `changed` controls (or pressed the button so named)."""
        values: dict[str, list[str]] = {}
        for name, value in self.fields:
            if name not in changed:
                values.setdefault(name, []).append(value)
        return values | {name: [value] for name, value in changed.items()}

    def names(self) -> set[str]:
        """Names of every control, buttons included."""
        return {name for name, _ in self.fields} | {name for name, _ in self.buttons}


@dataclass
class Page:
    """What was found on one page."""

    forms: list[Form]
    texts: dict[str, str]  # visible text of each element that carries the asked-for attribute, by its value
    text: str  # all visible text


def read_page(html: str, hook: str = "data-hook") -> Page:
    """Parses a page; `hook` is the attribute whose elements' visible texts are kept in `Page.texts`."""
    reader = _Reader(hook)
    reader.feed(html)
    reader.close()
    return Page(reader.forms, {name: _tidy(parts) for name, parts in reader.texts.items()}, _tidy(reader.all))


def _tidy(parts: list[str]) -> str:
    """Runs of white space are one space, as a browser shows them; blocks stand on lines of their own."""
    lines = (" ".join(line.split()) for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _Reader(HTMLParser):
    def __init__(self, hook: str) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.texts: dict[str, list[str]] = {}
        self.all: list[str] = []
        self._hook = hook
        self._open: list[tuple[str, bool, str | None]] = []  # (tag, hidden, hook value) of every open element
        self._form: Form | None = None
        self._select: str | None = None
        self._options: list[tuple[str, bool]] = []
        self._textarea: tuple[str, list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in _BLOCKS:
            self._say("\n")
        self._control(tag, given)
        if tag not in _VOID:
            hidden = tag in _UNSEEN or "hidden" in given
            self._open.append((tag, hidden, given.get(self._hook)))
            if self._hook in given:
                self.texts.setdefault(given[self._hook], [])

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._say("\n")
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._close_select()
        elif tag == "textarea" and self._textarea is not None:
            name, parts = self._textarea
            self._add(name, "".join(parts).removeprefix("\n"))
            self._textarea = None
        # Tolerates what HTML lets authors leave open, say a <p> or <li>: an end tag closes what stands inside it.
        if any(tag == name for name, _, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._textarea[1].append(data)
        else:
            # A line break in the source is a space on the screen, unless it stands inside <pre>.
            self._say(data if any(name == "pre" for name, _, _ in self._open) else data.replace("\n", " "))

    def _say(self, data: str) -> None:
        if any(hidden for _, hidden, _ in self._open):
            return
        self.all.append(data)
        for name in {name for _, _, name in self._open if name is not None}:
            self.texts[name].append(data)

    def _control(self, tag: str, given: dict[str, str]) -> None:
        if tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._form)
        if self._form is None or "disabled" in given:
            return
        name, kind = given.get("name", ""), given.get("type", "submit" if tag == "button" else "text").lower()
        if tag == "option" and self._select is not None:
            self._options.append((given.get("value", ""), "selected" in given))
        elif tag == "select" and name:
            self._select, self._options = name, []
        elif tag == "textarea" and name:
            self._textarea = (name, [])
        elif tag in ("button", "input") and kind in ("submit", "image"):
            self._form.buttons.append((name, given.get("value", "")))
        elif tag == "input" and name and kind in ("checkbox", "radio"):
            if "checked" in given:
                self._add(name, given.get("value", "on"))
        elif tag == "input" and name and kind not in ("button", "reset", "file"):
            self._add(name, given.get("value", ""))

    def _close_select(self) -> None:
        if self._select is not None and self._options:
            chosen = [value for value, selected in self._options if selected] or [self._options[0][0]]
            for value in chosen:
                self._add(self._select, value)
        self._select = None

    def _add(self, name: str, value: str) -> None:
        if self._form is not None:
            self._form.fields.append((name, value))

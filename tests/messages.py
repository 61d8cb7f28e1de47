"""The catalogue of the interface's texts: `python -m tests.messages` brings `locale/` up to date (`make messages`).

It collects the texts from code and templates, adds new ones to the catalogue with an empty translation, drops those
that are gone, and compiles. GNU gettext is not needed: templates go through Django's own `templatize`, the rest is
Babel's. `tests/web/test_translations.py` fails while a text has no translation.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ("de",)

# Django's functions, and ours for sentences that are kept and said later in the reader's language (annotate/said.py).
KEYWORDS: dict[str, object] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "Said": None,
    "counted": (1, 2),
}


def catalogue_path(language: str, *, compiled: bool = False) -> Path:
    """Where a language's catalogue lies."""
    return ROOT / "locale" / language / "LC_MESSAGES" / ("django.mo" if compiled else "django.po")


def sources() -> Iterator[Path]:
    """Every file that may say something on a page."""
    for app in ("annotate", "training", "config"):
        for path in sorted((ROOT / app).rglob("*.py")):
            parts = path.relative_to(ROOT).parts
            if "migrations" not in parts and "commands" not in parts and "simulation" not in parts:
                yield path
    yield from sorted((ROOT / "templates").rglob("*.html"))


def collect(only: Sequence[str] = ()) -> Catalog:
    """All texts of the interface, as a catalogue without translations; or those said by some functions."""
    found = Catalog(charset="utf-8")
    keywords = {name: KEYWORDS[name] for name in only} or KEYWORDS
    for path in sources():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            # What remains of the markup reads as odd Python; indentation is all that a tokenizer minds about it.
            text = re.sub(r"^[ \t]+", "", templatize(text, origin=str(path)), flags=re.MULTILINE)
        name = path.relative_to(ROOT).as_posix()
        for line, message, _comments, context in extract(
            "python", BytesIO(text.encode()), keywords=keywords, options={"encoding": "utf-8"}
        ):
            if any(message) if isinstance(message, tuple) else message:
                found.add(message, locations=[(name, line)], context=context)
    return found


def read(language: str) -> Catalog:
    """The catalogue of a language as it stands."""
    with catalogue_path(language).open("rb") as file:
        return read_po(file, locale=language, domain="django")


def refresh(language: str) -> list[str]:
    """Brings one catalogue up to date and compiles it; the texts that still need a translation."""
    catalogue = read(language)
    catalogue.fuzzy = False
    catalogue.update(collect(), no_fuzzy_matching=True, update_creation_date=False)
    with catalogue_path(language).open("wb") as file:
        write_po(file, catalogue, width=120, sort_output=False, ignore_obsolete=True, include_lineno=False)
    compile_catalogue(language)
    return [message.id[0] if isinstance(message.id, tuple) else message.id for message in missing(catalogue)]


def compile_catalogue(language: str) -> None:
    """Writes the .mo beside the .po. It is committed: a fresh machine has nothing to compile it with."""
    with catalogue_path(language, compiled=True).open("wb") as file:
        write_mo(file, read(language))


def missing(catalogue: Catalog) -> list:
    """The messages without a translation that counts."""
    return [
        message
        for message in catalogue
        if message.id
        and (message.fuzzy or not all(message.string if isinstance(message.string, tuple) else [message.string]))
    ]


def main() -> int:
    """Refreshes all catalogues; 1 while a translation is missing."""
    status = 0
    for language in LANGUAGES:
        for text in refresh(language):
            status = 1
            print(f"{language}: no translation yet: {text!r}")
    return status


if __name__ == "__main__":
    sys.exit(main())

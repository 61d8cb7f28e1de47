"""Every verb of the audit log has a meaning, for pages to say in the reader's language, and no meaning is left over."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

from annotate.deeds import DEEDS
from training.deeds import DEEDS as TRAINERS

ROOT = Path(__file__).parents[2]
KNOWN = {**DEEDS, **TRAINERS}
SUBJECTS = {verb.split(".")[0] for verb in KNOWN}


@cache
def verbs() -> frozenset[str]:
    return frozenset(_verbs())


def _verbs() -> Iterator[str]:
    """What is given as ``verb`` or assigned to it, and whatever else begins as a verb does."""
    for app in ("annotate", "training"):
        for path in (ROOT / app).rglob("*.py"):
            if path.name == "deeds.py" or "migrations" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if _names_a_verb(node):
                    yield from texts(node.value)
                elif isinstance(node, ast.Call):
                    yield from (text for value in node.args for text in texts(value) if like_a_verb(text))


def _names_a_verb(node: ast.AST) -> TypeGuard[ast.keyword | ast.Assign]:
    if isinstance(node, ast.Assign):
        return any(getattr(target, "id", "") == "verb" for target in node.targets)
    return isinstance(node, ast.keyword) and node.arg == "verb"


def texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def like_a_verb(text: str) -> bool:
    subject, _, what = text.partition(".")
    return subject in SUBJECTS and what.isidentifier() and what not in ("py", "id", "json", "html", "js")


def test_every_verb_has_a_meaning() -> None:
    assert verbs() - set(KNOWN) == set()


def test_no_meaning_is_left_over() -> None:
    assert set(KNOWN) - verbs() == set()


def test_no_two_verbs_mean_the_same() -> None:
    meanings = [str(meaning) for meaning in KNOWN.values()]
    assert len(meanings) == len(set(meanings))

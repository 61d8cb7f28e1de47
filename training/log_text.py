"""PURE: an engine's log as a lead may see it: without control signs, secrets and the machine's folders.

It is what libraries print, so nothing of it is trusted: the page escapes it, and what looks like a key or a path is
taken out whether or not it was one.
"""

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
MOST_LINES = 200

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Tokens by their makers' prefixes; then what follows a telling name; then what an address carries before its host.
_KEYS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[A-Z0-9]{12,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*|[0-9a-f]{40}(?![0-9a-f]))"
)
_NAMED = re.compile(
    r"""((?:password|passwd|secret|token|api[_-]?key|access[_-]?key|authorization|bearer|cookie)['"]?\s*[:=]\s*)"""
    r"""(?:(?:basic|bearer)\s+)?("[^"\n]*"|'[^'\n]*'|[^\s,;&'"]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/_.~-]{8,}=*", re.IGNORECASE)
_USERINFO = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@]+@", re.IGNORECASE)
# A path of two folders or more keeps its last part: `/opt/x/torch/nn.py` is `…/nn.py`. Addresses are left alone.
_PATH = re.compile(r"(?<![\w:/.…])~?/(?:[^\s/'\"<>:,;()\[\]]+/)+([^\s/'\"<>:,;()\[\]]*)")


def shown(text: str, *, secrets: Iterable[str] = (), folders: Iterable[str] = (), lines: int = MOST_LINES) -> str:
    """The last ``lines`` lines, without ``secrets``, ``folders`` and whatever looks like one of them."""
    clean = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    # A progress bar draws over itself: what stood there last is what is kept.
    clean = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in clean.split("\n"))
    clean = _CONTROL.sub("\ufffd", clean)
    for secret in sorted({item for item in secrets if len(item) >= 6}, key=len, reverse=True):
        clean = clean.replace(secret, HIDDEN)
    clean = _NAMED.sub(rf"\1{HIDDEN}", clean)
    clean = _BEARER.sub(rf"\1 {HIDDEN}", clean)
    clean = _USERINFO.sub(rf"\1{HIDDEN}@", clean)
    clean = _KEYS.sub(HIDDEN, clean)
    for folder in sorted({item.rstrip("/") for item in folders if len(item) > 3}, key=len, reverse=True):
        clean = clean.replace(folder, "…")
    clean = _PATH.sub(r"…/\1", clean)
    return "\n".join(clean.strip("\n").split("\n")[-lines:])

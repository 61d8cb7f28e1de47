"""What a first visit to a page costs: the requests a browser makes for it, and the bytes that cross the wire."""

import http.client
import re

# What a browser fetches by itself: scripts, sheets, icons, pictures.
_FETCHED = re.compile(r'<(?:script|img)\b[^>]*\bsrc="([^"]+)"|<link\b[^>]*\bhref="([^"]+)"')
_IN_SHEETS = re.compile(rb"url\(\s*[\"']?([^)\"']+)")


def page_weight(port: int, path: str, session: str) -> tuple[int, int]:
    """(requests, bytes of all bodies as sent, compressed where the server compresses) for a browser's first visit."""
    body = _get(port, path, {"Cookie": f"sessionid={session}"})
    wanted = {script or link for script, link in _FETCHED.findall(body.decode())}
    total = len(body)
    for address in wanted:
        total += len(_get(port, address, {"Accept-Encoding": "gzip"}))
        if address.endswith(".css"):
            # Fonts and pictures that a sheet names would be requests too: count them as such.
            named = _IN_SHEETS.findall(_get(port, address, {}))
            assert not [name for name in named if not name.startswith(b"data:")], f"{address} names files: count them"
    return 1 + len(wanted), total


def _get(port: int, path: str, headers: dict[str, str]) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"GET {path} answered {answer.status}: {body[:300]!r}")
    return body

"""An authenticator app."""

import base64
import hashlib
import hmac
import struct
import time


def code(secret: str, ahead: int = 0) -> str:
    """What an authenticator app shows (RFC 6238), or will show ``ahead`` times thirty seconds later."""
    counter = struct.pack(">Q", int(time.time()) // 30 + ahead)
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF) % 1_000_000:06d}"

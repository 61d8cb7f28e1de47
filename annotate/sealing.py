"""Secrets that must be read again, such as the key of somebody's authenticator app, lie encrypted in the database.

Fernet (AES-128-CBC and HMAC-SHA256, from `cryptography`), with a key that HKDF derives from ``SECRET_KEY``: who has the
database alone, or its backup, has no second factors. Keys of ``SECRET_KEY_FALLBACKS`` still open what they sealed.
"""

import base64
import logging
import secrets

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

logger = logging.getLogger(__name__)

# Every Fernet token begins so (its version and the upper bytes of the time); no base32 key and no hexadecimal one does.
_MARK = "gAAAAA"


def seal(text: str) -> str:
    """The text encrypted under today's ``SECRET_KEY``."""
    return _keys().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """The text again; what was stored before there was encryption, as it is.

    What no key opens is lost, and an answer that nobody can know: every code is then wrong, which an owner of the site
    mends by removing the factor. It must not be an error, and not an empty key, from which anybody could make codes.
    """
    if not sealed.startswith(_MARK):
        return sealed
    try:
        return _keys().decrypt(sealed.encode()).decode()
    except InvalidToken:
        logger.error(
            "a second factor was sealed under another PAIRLOOP_SECRET_KEY: name it in PAIRLOOP_OLD_SECRET_KEYS"
        )
        return base64.b32encode(secrets.token_bytes(20)).decode()


def reseal(sealed: str) -> str:
    """The same text sealed under today's key. Raises ``ValueError`` when no key opens it."""
    if not sealed.startswith(_MARK):
        return seal(sealed)
    try:
        return _keys().rotate(sealed.encode()).decode()
    except InvalidToken:
        raise ValueError("no key opens it") from None


def _keys() -> MultiFernet:
    return MultiFernet([_fernet(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _fernet(key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"pairloop second factors").derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))

"""Pins: digests of the public keys that a server may have (RFC 7858, appendix A)."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from dnsfront.errors import InputError

_PIN: Final = "sha256/"
#: DER: a context tag, which the version of a certificate has.
_VERSION_TAG: Final = 0xA0
#: What stands between the version and the key: serial number, signature, issuer,
#: validity, subject (RFC 5280, 4.1).
_AHEAD_OF_KEY: Final = 5


def pin_from_text(text: str) -> bytes:
    """Return the digest in a pin like ``sha256/BASE64``.

    Raises:
        InputError: it is none.
    """
    try:
        digest = base64.b64decode(text.removeprefix(_PIN), validate=True)
    except ValueError:
        digest = b""
    if not text.startswith(_PIN) or len(digest) != hashlib.sha256().digest_size:
        raise InputError("want sha256/ and 44 characters of base64")
    return digest


def pin_to_text(digest: bytes) -> str:
    """Return the pin of the key with *digest*."""
    return _PIN + base64.b64encode(digest).decode()


def key_digest(certificate: bytes) -> bytes:
    """Return the SHA-256 of the public key's form in a *certificate* in DER.

    That is what RFC 7858, appendix A pins: the whole SubjectPublicKeyInfo.

    Raises:
        InputError: it is no certificate.
    """
    try:
        at, _end = _inside(certificate, 0)
        at, _end = _inside(certificate, at)
        if certificate[at] == _VERSION_TAG:
            at = _inside(certificate, at)[1]
        for _ in range(_AHEAD_OF_KEY):
            at = _inside(certificate, at)[1]
        end = _inside(certificate, at)[1]
    except IndexError as exc:
        raise InputError("want a certificate in DER") from exc
    return hashlib.sha256(certificate[at:end]).digest()


def _inside(octets: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the DER element at *at* begins and ends."""
    size, begin = octets[at + 1], at + 2
    if size & 0x80:
        begin += size & 0x7F
        size = int.from_bytes(octets[at + 2 : begin], "big")
    if begin + size > len(octets):
        raise IndexError(at)
    return begin, begin + size

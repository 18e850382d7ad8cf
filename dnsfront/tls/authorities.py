"""The certificates of those whom we trust to say who a server is."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Final

from dnsfront.errors import InputError

_BLOCK: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"
)
#: Where hosts keep the authorities that they trust, if OpenSSL does not say.
_SYSTEM: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def system_authorities() -> Path | None:
    """Return the file of the authorities that this host trusts, if there is one."""
    told = ssl.get_default_verify_paths().cafile
    paths = [Path(path) for path in (told, *_SYSTEM) if path]
    return next((path for path in paths if path.is_file()), None)


def authorities_in(text: str) -> str:
    """Return the certificates in *text*, PEM, without what stands between them.

    Raises:
        InputError: there is none, or one that cannot be read; says what is wrong.
    """
    blocks = _BLOCK.findall(text)
    if not blocks or len(blocks) != text.count("-----BEGIN "):
        raise InputError("want certificates in PEM, and nothing else that is PEM")
    whole = "\n".join(blocks) + "\n"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=whole)
    except ssl.SSLError as exc:
        raise InputError(f"want certificates in PEM: {exc.reason}") from exc
    return whole

"""Our side of a TLS session, over octets that others carry: no socket, no thread.

Strict (RFC 8310, 5): a server that does not prove who it is gets no query. The chain,
the name and the pins are looked at before the first octet leaves.
"""

from __future__ import annotations

import contextlib
import functools
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from dnsfront.errors import TlsError
from dnsfront.tls.pins import key_digest, pin_to_text

if TYPE_CHECKING:
    import ssl

#: RFC 7858, 3.2 by way of the IANA's registry: the name of DNS over TLS.
_ALPN: Final = "dot"
_READ_OCTETS: Final = 1 << 16


class Fault(StrEnum):
    """Why a server was not believed, or not spoken to."""

    #: Its certificate is no longer valid, or not yet.
    EXPIRED = "expired"
    #: It is somebody else's.
    NAME = "name"
    #: Nobody whom we trust has signed it.
    AUTHORITY = "authority"
    #: Its key is another than those that are pinned.
    PIN = "pin"
    #: Something else is wrong with it.
    CERTIFICATE = "certificate"
    #: What it speaks is no TLS, or none that we do; or it speaks nothing.
    HANDSHAKE = "handshake"


#: By OpenSSL's number of a verification error (x509_vfy.h).
_FAULTS: Final = {
    9: Fault.EXPIRED,
    10: Fault.EXPIRED,
    2: Fault.AUTHORITY,
    7: Fault.AUTHORITY,
    18: Fault.AUTHORITY,
    19: Fault.AUTHORITY,
    20: Fault.AUTHORITY,
    21: Fault.AUTHORITY,
    62: Fault.NAME,
    64: Fault.NAME,
}


@functools.lru_cache(maxsize=16)
def context_of(authorities: tuple[str, ...]) -> ssl.SSLContext:
    """Return how sessions are made with servers whom *authorities* vouch for.

    They come as PEM, in pieces. OpenSSL is loaded here, since most have no need of it.
    """
    import ssl  # noqa: PLC0415 - costs memory, and most workers never need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([_ALPN])
    # A server's own certificate may be named as the authority, too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata="".join(authorities))
    return context


def check_pins(certificate: bytes | None, pins: tuple[str, ...]) -> None:
    """See that the key of *certificate*, in DER, is one of *pins*, if there are any.

    Raises:
        TlsError: it is another.
    """
    if not pins:
        return
    pin = pin_to_text(key_digest(certificate or b"")) if certificate else "no key"
    if pin not in pins:
        raise TlsError(Fault.PIN, f"got {pin}")


def fault_of(error: OSError) -> TlsError:
    """Return what an exception of OpenSSL says, in our words."""
    code = getattr(error, "verify_code", None)
    if code is None:
        reason = getattr(error, "reason", None) or str(error)
        return TlsError(Fault.HANDSHAKE, str(reason).lower().replace("_", " "))
    text = str(getattr(error, "verify_message", "")).rstrip(".")
    return TlsError(_FAULTS.get(code, Fault.CERTIFICATE), text)


class TlsClient:
    """One session with the server called *name*; *before* is one to be resumed.

    What comes from the server goes into :meth:`feed`, what :meth:`outgoing` returns
    goes to it. `is_open` once it has proved who it is, `is_ended` once it said that
    nothing more comes.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        name: str,
        pins: tuple[str, ...],
        before: ssl.SSLSession | None = None,
    ) -> None:
        import ssl  # noqa: PLC0415 - loaded by now

        self._error = ssl.SSLError
        self._want = ssl.SSLWantReadError
        self._pins = pins
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=name, session=before
        )
        self.is_open = self.is_ended = False
        self._shake_hands()

    @property
    def session(self) -> ssl.SSLSession | None:
        """What another session can resume, once something came over this one."""
        session = self._tls.session
        return session if session is not None and session.has_ticket else None

    @property
    def is_resumed(self) -> bool:
        """Whether it resumed one of before."""
        return bool(self._tls.session_reused)

    def outgoing(self) -> bytes:
        """Return what is to be sent to the server."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def seal(self, octets: bytes | bytearray) -> bytes:
        """Return what is to be sent so that the server reads *octets*."""
        if octets:
            self._tls.write(octets)
        return self.outgoing()

    def feed(self, octets: bytes) -> bytes:
        """Return what *octets*, which came from the server, hold for us.

        Raises:
            TlsError: it is not to be believed, or speaks no TLS.
        """
        self._incoming.write(octets)
        if not self.is_open:
            self._shake_hands()
            if not self.is_open:
                return b""
        found = b""
        try:
            while piece := self._tls.read(_READ_OCTETS):
                found += piece
        except self._want:
            return found
        except self._error as exc:
            raise fault_of(exc) from exc
        # It said that nothing more comes; what came before that counts.
        self.is_ended = True
        return found

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except self._want:
            return
        except self._error as exc:
            raise fault_of(exc) from exc
        check_pins(self._tls.getpeercert(binary_form=True), self._pins)
        self.is_open = True

    def farewell(self) -> bytes:
        """Return what tells the server that nothing more comes."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        return self.outgoing()

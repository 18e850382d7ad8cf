"""One HTTP request and its response, over one connection that then ends.

Enough of HTTP/1.1 for pages that are read with GET: no body is taken, none is chunked,
and every connection carries one request, so that nothing of one can be taken for
another.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

#: A request line and the headers that browsers and scrapers send fit many times.
MAX_HEAD_OCTETS: Final = 8192
#: After the response: for the client to read it and to hang up.
_LINGER_S: Final = 1.0
_HEAD_ENDS: Final = (b"\r\n\r\n", b"\n\n")
_CHUNK_OCTETS: Final = 1 << 16


@dataclass(frozen=True)
class HttpRequest:
    """What the head of a request asks for; *path* is without its query string."""

    method: str
    path: str
    accept: str

    @classmethod
    def from_head(cls, head: bytes) -> HttpRequest | None:
        """Return the request that *head* makes, None for what is no HTTP."""
        lines = [line.rstrip("\r") for line in head.decode("latin-1").split("\n")]
        method, _, rest = lines[0].partition(" ")
        target, _, version = rest.rpartition(" ")
        if not (method.isalpha() and target and version.startswith("HTTP/1.")):
            return None
        fields = (line.partition(":") for line in lines[1:])
        accept = [
            value.strip() for name, _, value in fields if name.lower() == "accept"
        ]
        if "://" in target:  # what a proxy is asked
            target = "/" + target.partition("://")[2].partition("/")[2]
        return cls(method, target.partition("?")[0], ", ".join(accept))


@dataclass(frozen=True)
class Page:
    """One response."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


class HttpExchange:
    """The server's end of *sock*, from the first octet of the request to the end.

    *on_request* gets the request, None where it was none, once, and answers it with
    :meth:`respond`. *on_end* is called once, when the connection is gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        host: str,
        *,
        timeout_s: float,
        on_request: Callable[[HttpExchange, HttpRequest | None], None],
        on_end: Callable[[HttpExchange], None],
        on_late: Callable[[], None],
    ) -> None:
        """Read what is there at once, and the rest when it comes."""
        self.host = host
        self.is_answered = False
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._on_request = on_request
        self._on_end = on_end
        self._on_late = on_late
        self._head = bytearray()
        self._is_asked = False
        self._unsent = memoryview(b"")
        sock.setblocking(False)  # noqa: FBT003 - its signature
        self._timer = self._loop.call_later(timeout_s, self._late)
        self._loop.add_reader(sock, self._read)

    @property
    def unsent_octets(self) -> int:
        """What of the response the kernel has not taken yet."""
        return len(self._unsent)

    def start(self) -> None:
        """Look for a request that came together with the connection."""
        self._read()

    def respond(self, page: Page, *, is_head: bool = False) -> None:
        """Send *page*, or its headers alone, and hang up."""
        if self._socket.fileno() < 0:
            return
        headers = [
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if page.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append("Allow: GET, HEAD")
        head = "\r\n".join((*headers, "", "")).encode("latin-1")
        self._unsent = memoryview(head if is_head else head + page.body)
        self._write()

    def close(self) -> None:
        """Hang up, whatever is left to say."""
        if self._socket.fileno() < 0:
            return
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._unsent = memoryview(b"")
        self._socket.close()
        self._on_end(self)

    def _late(self) -> None:
        if not self.is_answered:
            self._on_late()
        self.close()

    def _read(self) -> None:
        try:
            octets = self._socket.recv(_CHUNK_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            octets = b""
        if self._is_asked or not octets:
            # Either a body, which nobody wants, or the client's end of file.
            if not octets:
                self._ended()
            return
        self._head += octets
        ends = [at for end in _HEAD_ENDS if (at := self._head.find(end)) >= 0]
        if not ends and len(self._head) <= MAX_HEAD_OCTETS:
            return
        head = bytes(self._head[: min(ends)]) if ends else b""
        self._head.clear()
        self._is_asked = True
        self._on_request(self, HttpRequest.from_head(head))

    def _ended(self) -> None:
        """Note that nothing more comes; whoever asked may still want the response."""
        if self._is_asked and not self.is_answered:
            self._loop.remove_reader(self._socket)
            return
        self.close()

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent[:_CHUNK_OCTETS])
                self._unsent = self._unsent[sent:]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._socket, self._write)
            return
        except OSError:
            self.close()
            return
        self._loop.remove_writer(self._socket)
        self.is_answered = True
        # Closed with octets unread, it would be reset, and the response lost.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER_S, self._late)
        self._loop.add_reader(self._socket, self._read)

"""HTTP for scrapers, probes and people: a thread a request, and no state of its own.

The loop accepts and makes every response; the thread only talks to the client, who may
be slow. Nothing here is secret to whoever can connect, and nothing can be changed.
"""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from dnsfront.supervisor.listeners import bind_error

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from dnsfront.config.address import SocketAddress

_CLIENT_TIMEOUT_S: Final = 10
_PAGE_WITHIN_S: Final = 10
#: Scrapers and probes are few; this bounds what idle connections can cost.
_MAX_REQUESTS: Final = 32
_METHODS: Final = ("GET", "HEAD")


@dataclass(frozen=True)
class Page:
    """One response."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


#: Makes a page for a client that sent this Accept header; runs in the loop.
PageMaker = Callable[[str], Page]


class AdminServer:
    """Serves *pages*, by path, at *address* until it is closed."""

    def __init__(
        self,
        address: SocketAddress,
        pages: dict[str, PageMaker],
        listening: socket.socket | None = None,
    ) -> None:
        """Bind and listen; the running loop takes connections from now on.

        *listening* does so already, and belongs to this object from now on.

        Raises:
            UnavailableError, PrivilegeError: the address is not to be had.
        """
        self._loop = asyncio.get_running_loop()
        self._pages = pages
        family = socket.AddressFamily(address.family)
        try:
            self._server = _Server(family, (address.host, address.port), listening)
        except OSError as exc:
            raise bind_error("admin.listen", str(address), "TCP", exc) from exc
        self._server.set_app(self._application)
        self.resume()

    def at(self, address: SocketAddress) -> AdminServer:
        """Return another one of the same pages, at *address*.

        Raises:
            UnavailableError, PrivilegeError: the address is not to be had.
        """
        return AdminServer(address, self._pages)

    def fileno(self) -> int:
        """Return the listening descriptor, for a successor."""
        return self._server.fileno()

    def pause(self) -> None:
        """Take no more connections; who connects waits."""
        self._loop.remove_reader(self._server)

    def resume(self) -> None:
        """Take connections, also those that waited."""
        self._loop.add_reader(self._server, self._server.handle_request)

    def close(self) -> None:
        """Take no more connections; responses on their way end with the process."""
        self.pause()
        self._server.server_close()

    def _application(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        page = self._page(environ)
        headers = [
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.body))),
            ("Cache-Control", "no-store"),
        ]
        if page.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", ", ".join(_METHODS)))
        start_response(f"{page.status.value} {page.status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [page.body]

    def _page(self, environ: WSGIEnvironment) -> Page:
        make = self._pages.get(environ.get("PATH_INFO", ""))
        if make is None:
            paths = " ".join(self._pages)
            return Page(f"want one of {paths}\n".encode(), status=HTTPStatus.NOT_FOUND)
        if environ["REQUEST_METHOD"] not in _METHODS:
            return Page(b"want GET or HEAD\n", status=HTTPStatus.METHOD_NOT_ALLOWED)
        accept = environ.get("HTTP_ACCEPT", "")

        async def in_loop() -> Page:
            return make(accept)

        made = asyncio.run_coroutine_threadsafe(in_loop(), self._loop)
        try:
            return made.result(_PAGE_WITHIN_S)
        except TimeoutError:
            made.cancel()
            return Page(b"busy\n", status=HTTPStatus.SERVICE_UNAVAILABLE)


class _RequestHandler(WSGIRequestHandler):
    """Quiet, and patient only for so long."""

    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Log nothing: who asks for metrics every second knows that it does."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """One thread a request, a bounded number of them, none of which delays the exit."""

    daemon_threads = True
    #: With the base class's 5, a sixth client at once waits a second for its next SYN.
    request_queue_size = 128
    #: With the loop telling when a client waits, there is nothing to wait for.
    timeout = 0

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int],
        listening: socket.socket | None,
    ) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(_MAX_REQUESTS)
        is_new = listening is None
        super().__init__(address, _RequestHandler, bind_and_activate=is_new)
        if listening is not None:
            self.socket.close()
            self.socket = listening
            self._name_itself()
        # A client that left before it was accepted must not block the loop.
        self.socket.setblocking(False)  # noqa: FBT003 - its signature

    def server_bind(self) -> None:
        """Bind without asking the DNS for a name of our own, as the base class does."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        socketserver.TCPServer.server_bind(self)
        self._name_itself()

    def _name_itself(self) -> None:
        host, self.server_port = self.socket.getsockname()[:2]
        self.server_name = host
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's types
        """Handle *request* in a thread, or close it when there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's types
        """Handle *request*; this runs in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's types
        """Say nothing of clients that hang up; the base class prints a traceback."""

"""HTTP for scrapers, probes and people, in the supervisor's own loop.

Nothing here can be changed, and a slow client costs nobody else: there is a bound on
connections, on what they leave unread and on the time of each, and the client that has
the most of them gives way first.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from dnsfront.config.address import SocketAddress
from dnsfront.supervisor.admin.http_exchange import HttpExchange, HttpRequest, Page
from dnsfront.supervisor.sockets.listeners import bind_error

__all__ = ["AdminCounts", "AdminServer", "Page", "PageMaker"]

_LOG = logging.getLogger(__name__)

#: From the connection to the last octet of the response.
TIMEOUT_S: Final = 10.0
#: Scrapers and probes are few; this bounds what the others can cost.
MAX_CONNECTIONS: Final = 64
MAX_UNSENT_OCTETS: Final = 4 << 20
_BACKLOG: Final = 1024
_ACCEPTED_AT_ONCE: Final = 32
_RETRY_S: Final = 0.5
_DENIAL_LOGGED_EVERY_S: Final = 60.0
_SHORT_OF: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

#: Made as soon as they are asked for; all other pages are made one a round.
_PROBES: Final = ("/healthz", "/readyz")

#: Makes a page for a client that sent this Accept header.
PageMaker = Callable[[str], Page]
Networks = Callable[[], Collection[str]]


@dataclass
class AdminCounts:
    """How often a bound of the endpoint took effect, whatever its address was."""

    reached: Counter[str] = field(
        default_factory=lambda: Counter(
            admin_connections=0, admin_unsent=0, admin_time=0, admin_allow=0
        )
    )


class AdminServer:
    """Serves *pages*, by path, at *address* until it is closed.

    *networks* returns who may see them, at this moment.
    """

    def __init__(
        self,
        address: SocketAddress,
        pages: Mapping[str, PageMaker],
        networks: Networks,
        counts: AdminCounts,
        listening: socket.socket | None = None,
        beside: socket.socket | None = None,
    ) -> None:
        """Bind and listen; the running loop takes connections from now on.

        *listening* does so already, and belongs to this object from now on. *beside* is
        a socket of ours that may stand in the way, and is to go afterwards.

        Raises:
            UnavailableError, PrivilegeError: the address is not to be had.
        """
        self._loop = asyncio.get_running_loop()
        self._pages = pages
        self._networks = networks
        self._counts = counts
        #: The oldest first.
        self._exchanges: dict[HttpExchange, None] = {}
        self._waiting: deque[tuple[HttpExchange, HttpRequest]] = deque()
        self._quiet_until = 0.0
        try:
            self._socket = (
                _bound_to(address, beside) if listening is None else listening
            )
            self._socket.listen(_BACKLOG)
            # A client that left before it was accepted must not block the loop.
            self._socket.setblocking(False)  # noqa: FBT003 - its signature
        except OSError as exc:
            raise bind_error("admin.listen", str(address), "TCP", exc) from exc
        self.resume()

    def at(self, address: SocketAddress) -> AdminServer:
        """Return another one of the same pages, at *address*, which may overlap ours.

        Raises:
            UnavailableError, PrivilegeError: the address is not to be had.
        """
        return AdminServer(
            *(address, self._pages, self._networks, self._counts), beside=self._socket
        )

    def fileno(self) -> int:
        """Return the listening descriptor, for a successor."""
        return self._socket.fileno()

    def pause(self) -> None:
        """Take no more connections; who connects waits."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        """Take connections, also those that waited."""
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def retire(self) -> None:
        """Take no more connections; those that there are end within their time."""
        self.pause()
        self._socket.close()

    def close(self) -> None:
        """Take no more connections, and hang up on whoever is still being served."""
        self.retire()
        for exchange in [*self._exchanges]:
            exchange.close()

    # -- connections

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno not in _SHORT_OF:
                    return  # that client left
                if not self._exchanges:
                    # Nothing of ours would help; look again, but not all the time.
                    self.pause()
                    self._loop.call_later(_RETRY_S, self.resume)
                    return
                self._displace("admin_connections", self._exchanges)
                continue
            self._take(sock, address[0])

    def _take(self, sock: socket.socket, host: str) -> None:
        exchange = HttpExchange(
            sock,
            host,
            timeout_s=TIMEOUT_S,
            on_request=self._asked,
            on_end=self._ended,
            on_late=lambda: self._count("admin_time"),
        )
        self._exchanges[exchange] = None
        if len(self._exchanges) > MAX_CONNECTIONS:
            self._displace("admin_connections", self._exchanges)
        exchange.start()

    def _ended(self, exchange: HttpExchange) -> None:
        self._exchanges.pop(exchange, None)

    def _displace(self, limit: str, among: Collection[HttpExchange]) -> None:
        """Hang up on the oldest of *among* of the client that has the most of them."""
        answered = next((x for x in among if x.is_answered), None)
        if answered is not None:
            answered.close()  # it loses nothing
            return
        counts = Counter(exchange.host for exchange in among)
        most = max(counts.values())
        self._count(limit)
        next(x for x in among if counts[x.host] == most).close()

    def _count(self, limit: str) -> None:
        self._counts.reached[limit] += 1

    # -- requests

    def _asked(self, exchange: HttpExchange, request: HttpRequest | None) -> None:
        if not self._may_see(exchange.host):
            self._deny(exchange)
        elif request is None:
            page = Page(b"want an HTTP request\n", status=HTTPStatus.BAD_REQUEST)
            exchange.respond(page)
        elif request.path in _PROBES:
            self._answer(exchange, request)
        else:
            self._waiting.append((exchange, request))
            if len(self._waiting) == 1:
                self._loop.call_soon(self._answer_next)

    def _answer_next(self) -> None:
        """Make one page that takes a while; the next after whatever else is due."""
        self._answer(*self._waiting.popleft())
        if self._waiting:
            self._loop.call_soon(self._answer_next)

    def _answer(self, exchange: HttpExchange, request: HttpRequest) -> None:
        if exchange not in self._exchanges:
            return  # hung up meanwhile
        exchange.respond(self._page(request), is_head=request.method == "HEAD")
        others = [x for x in self._exchanges if x.unsent_octets and x is not exchange]
        octets = sum(x.unsent_octets for x in (exchange, *others))
        if octets > MAX_UNSENT_OCTETS and others:
            self._displace("admin_unsent", others)

    def _page(self, request: HttpRequest) -> Page:
        make = self._pages.get(request.path)
        if make is None:
            paths = " ".join(self._pages)
            return Page(f"want one of {paths}\n".encode(), status=HTTPStatus.NOT_FOUND)
        if request.method not in {"GET", "HEAD"}:
            return Page(b"want GET or HEAD\n", status=HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return make(request.accept)
        except Exception:  # noqa: BLE001 - logged, and the client is told
            # A fault in one page must not cost the others, nor the front end.
            _LOG.exception("page_failed path=%s", request.path)
            return Page(b"failed\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)

    # -- access

    def _may_see(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        return any(address in ipaddress.ip_network(x) for x in self._networks())

    def _deny(self, exchange: HttpExchange) -> None:
        self._count("admin_allow")
        text = f"{exchange.host} is not in admin.allow\n"
        exchange.respond(Page(text.encode(), status=HTTPStatus.FORBIDDEN))
        if self._loop.time() >= self._quiet_until:
            self._quiet_until = self._loop.time() + _DENIAL_LOGGED_EVERY_S
            _LOG.warning("admin_denied client=%s key=admin.allow", exchange.host)


def _bound_to(address: SocketAddress, beside: socket.socket | None) -> socket.socket:
    """Return a socket bound to *address*, be it next to *beside* on the same port.

    Two sockets share a port if both want to, whenever they said so
    (`inet_csk_bind_conflict`, net/ipv4/inet_connection_sock.c).
    """
    sock = socket.socket(socket.AddressFamily(address.family), socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if beside is not None and beside.getsockname()[1] == address.port:
            for one in (beside, sock):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address.host, address.port))
    except OSError:
        sock.close()
        raise
    return sock

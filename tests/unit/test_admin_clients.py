"""Clients of the admin endpoint that are slow, many, greedy or not welcome."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus

import pytest

from dnsfront.config.address import SocketAddress
from dnsfront.supervisor.admin import http as admin
from dnsfront.supervisor.admin import http_exchange
from dnsfront.supervisor.admin.http import AdminCounts, AdminServer, Page
from tests.unit.supervisor_fakes import free_port
from tests.waiting import eventually

LARGE = b"dnsfront_metric 1\n" * 60_000
LOOPBACK = ("127.0.0.0/8", "::1/128")


class Endpoint:
    """An admin server in a loop of its own, and what can be seen of it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.counts = AdminCounts()
        self.networks: tuple[str, ...] = LOOPBACK
        self.server: AdminServer | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._in_loop(self._open)

    def _in_loop(self, do: Callable[[], None]) -> None:
        async def run() -> None:
            do()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _open(self) -> None:
        def fails(_accept: str) -> Page:
            raise RuntimeError("a fault of ours")

        pages = {
            "/healthz": lambda _accept: Page(b"ok\n"),
            "/metrics": lambda _accept: Page(LARGE),
            "/fault": fails,
        }
        self.server = AdminServer(
            SocketAddress("127.0.0.1", self.port),
            pages,
            lambda: self.networks,
            self.counts,
        )

    def close(self) -> None:
        assert self.server is not None
        self._in_loop(self.server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open(self) -> int:
        """The connections that the server holds."""
        assert self.server is not None
        return len(self.server._exchanges)

    def connect(self, first: bytes = b"", host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket()
        sock.settimeout(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind((host, 0))
        sock.connect(("127.0.0.1", self.port))
        sock.sendall(first)
        return sock

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


def rest_of(sock: socket.socket) -> bytes:
    """Return all that comes until the server hangs up."""
    octets = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(1 << 16):
            octets += more
    return octets


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("clients", [40, 400])
@pytest.mark.parametrize(
    ("first", "drip"),
    [
        pytest.param(b"", b"", id="that say nothing"),
        pytest.param(GET, b"X-Slow: 1\r\n", id="whose headers drip"),
        pytest.param(
            b"POST /healthz HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n",
            b"x",
            id="whose body drips",
        ),
        pytest.param(GET + b"\r\n", b"", id="that never read"),
    ],
)
def test_probes_and_scrapes_are_served_beside_slow_clients(
    endpoint: Endpoint, clients: int, first: bytes, drip: bytes
) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(endpoint.connect(first)) for _ in range(clients)]
        for _ in range(3):
            for sock in slow:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    sock.sendall(drip)

            assert endpoint.get("/healthz") == (200, b"ok\n")
            assert endpoint.get("/metrics") == (200, LARGE)
            assert endpoint.open <= admin.MAX_CONNECTIONS


def test_oldest_connection_of_the_greediest_client_goes_first(
    endpoint: Endpoint,
) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(endpoint.connect(host="127.0.0.2"))
        many = [
            stack.enter_context(endpoint.connect())
            for _ in range(admin.MAX_CONNECTIONS + 1)
        ]
        eventually(lambda: endpoint.counts.reached["admin_connections"] == 2)

        assert [rest_of(sock) for sock in many[:2]] == [b"", b""]
        for sock in (other, many[2], many[-1]):
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert rest_of(sock).endswith(b"\r\n\r\nok\n")


def test_what_clients_leave_unread_is_bounded(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "MAX_UNSENT_OCTETS", 1)
    # More than what the kernel keeps for a client that does not read.
    monkeypatch.setattr("tests.unit.test_admin_clients.LARGE", bytes(32 << 20))

    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(endpoint.connect(GET + b"\r\n"))
        eventually(lambda: endpoint.counts.reached["admin_unsent"] == 2, within_s=10)

        eventually(lambda: endpoint.open == 1)


def test_request_has_a_deadline_however_it_drips(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "TIMEOUT_S", 0.05)

    with endpoint.connect(GET) as sock:

        def is_hung_up_on() -> bool:
            sock.sendall(b"X-Slow: 1\r\n")
            return endpoint.counts.reached["admin_time"] == 1

        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            eventually(is_hung_up_on, within_s=10)
        assert rest_of(sock) == b""
    assert endpoint.counts.reached["admin_time"] == 1


def test_client_that_stays_after_its_response_is_hung_up_on(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "_LINGER_S", 0.01)

    with endpoint.connect(b"GET /healthz HTTP/1.1\r\n\r\n") as sock:
        assert rest_of(sock).startswith(b"HTTP/1.1 200 OK\r\n")
        eventually(lambda: endpoint.open == 0, within_s=10)

    assert not +endpoint.counts.reached


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", id="TLS"),
        pytest.param(b"\r\n\r\n", id="nothing"),
        pytest.param(b"GET /healthz\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 9000, id="without end"),
    ],
)
def test_what_is_no_request_is_told_so(endpoint: Endpoint, octets: bytes) -> None:
    with endpoint.connect(octets) as sock:
        assert rest_of(sock).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert endpoint.get("/healthz") == (200, b"ok\n")


@pytest.mark.parametrize(
    ("head", "accept", "path"),
    [
        (b"GET /a?b=/c HTTP/1.1\r\nACCEPT:  x/y \r\nAccept: z", "x/y, z", "/a"),
        (b"GET http://host:1/a HTTP/1.1", "", "/a"),
        (b"GET /a HTTP/1.0\nAccept: x", "x", "/a"),
    ],
)
def test_heads_are_read_as_clients_write_them(
    head: bytes, accept: str, path: str
) -> None:
    request = http_exchange.HttpRequest.from_head(head)

    assert request == http_exchange.HttpRequest("GET", path, accept)


def test_client_outside_the_access_list_is_told_so_counted_and_logged_once(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.networks = ("192.0.2.0/24",)

    with caplog.at_level(logging.WARNING):
        replies = [endpoint.get(path) for path in ("/healthz", "/metrics")]

    text = b"127.0.0.1 is not in admin.allow\n"
    assert replies == [(HTTPStatus.FORBIDDEN, text)] * 2
    assert endpoint.counts.reached["admin_allow"] == 2
    [record] = caplog.records
    assert record.message == "admin_denied client=127.0.0.1 key=admin.allow"
    endpoint.networks = LOOPBACK
    assert endpoint.get("/healthz")[0] == HTTPStatus.OK


def test_fault_in_one_page_is_told_and_costs_no_other(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    assert endpoint.get("/fault") == (HTTPStatus.INTERNAL_SERVER_ERROR, b"failed\n")

    assert endpoint.get("/healthz") == (200, b"ok\n")
    assert [record.message for record in caplog.records] == ["page_failed path=/fault"]

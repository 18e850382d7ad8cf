from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Callable
from http import HTTPStatus

import pytest

from dnsfront.config.address import SocketAddress
from dnsfront.errors import UnavailableError
from dnsfront.supervisor.admin.http import AdminCounts, AdminServer, Page
from dnsfront.supervisor.reports import page
from tests.unit.supervisor_fakes import free_port

ALL = ("0.0.0.0/0", "::/0")

Answer = tuple[int, dict[str, str], bytes]


def get(
    path: str,
    method: str = "GET",
    accept: str = "*/*",
    host: str = "127.0.0.1",
    meanwhile: Callable[[int], object] = lambda _port: None,
) -> Answer:
    """Return what a server with two pages answers."""
    port = free_port()
    pages = {
        "/hello": lambda accept: Page(f"for {accept}".encode()),
        "/sick": lambda _accept: Page(b"no\n", status=HTTPStatus.SERVICE_UNAVAILABLE),
    }

    def client() -> Answer:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        answer = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return answer

    async def run() -> Answer:
        server = AdminServer(
            SocketAddress(host, port), pages, lambda: ALL, AdminCounts()
        )
        try:
            await asyncio.to_thread(meanwhile, port)
            return await asyncio.to_thread(client)
        finally:
            server.close()

    return asyncio.run(run())


def test_a_page_is_made_for_what_the_client_accepts() -> None:
    status, headers, body = get("/hello", accept="text/x")

    assert (status, body) == (200, b"for text/x")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"


def test_a_query_string_is_no_part_of_the_path() -> None:
    assert get("/hello?x=1")[0] == 200


def test_head_gives_the_headers_alone() -> None:
    status, headers, body = get("/hello", "HEAD", accept="x")

    assert (status, headers["Content-Length"], body) == (200, "5", b"")


def test_a_page_may_have_another_status() -> None:
    assert get("/sick")[0] == 503


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    status, headers, _ = get("/hello", method)

    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_an_unknown_path_is_told_the_known_ones() -> None:
    assert get("/other")[::2] == (404, b"want one of /hello /sick\n")


def test_ipv6_is_served_alike() -> None:
    assert get("/hello", host="::1")[0] == 200


def test_a_client_that_says_nothing_delays_nobody() -> None:
    silent = []

    def connect(port: int) -> None:
        silent.append(socket.create_connection(("127.0.0.1", port)))

    status, _, _ = get("/hello", meanwhile=connect)

    assert status == 200
    silent[0].close()


def test_an_address_in_use_is_told_by_its_key() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        async def run() -> None:
            AdminServer(
                SocketAddress("127.0.0.1", port), {}, lambda: ALL, AdminCounts()
            )

        with pytest.raises(
            UnavailableError, match=rf"^admin\.listen 127.*:{port}: TCP"
        ):
            asyncio.run(run())


def test_the_page_shows_shares_and_escapes_what_it_shows() -> None:
    worker = {
        "name": "w1", "state": "up", "standby": False, "slots": 192, "share": 0.75,
        "queries": 10, "hit_ratio": 0.5, "backlog": 0, "restarts": 1,
    }  # fmt: skip
    other = {**worker, "name": "w2", "slots": 64, "share": 0.25, "hit_ratio": None}
    standby = {**worker, "name": "s1", "standby": True, "slots": 0, "share": 0}
    text = page.html(
        {
            "generation": 4,
            "listen": ["127.0.0.1:53"],
            "workers": [worker, other, standby],
            "upstreams": [
                {"address": "192.0.2.1:53", "up": False, "requests": 1, "failures": 1}
            ],
            "kernel": {"steering": "userspace", "reason": "no <CAP_BPF>"},
            "not_ready": ["worker w2 is <down>"],
            "config": {"notes": ["c:3: ring.<b>: unknown key"]},
        }
    ).decode()

    assert "w1 75.0%" in text
    assert "w2 25.0%" in text
    assert "no &lt;CAP_BPF&gt;" in text
    assert "worker w2 is &lt;down&gt;" in text
    assert "up, standby" in text
    assert "<td>50.0%" in text
    assert "<span class=bad>down</span>" in text
    assert "s1 0.0%" not in text


def test_a_front_end_without_upstreams_says_so() -> None:
    status = {
        "generation": 1, "listen": [], "workers": [], "upstreams": [], "not_ready": [],
        "config": {"path": "c", "refused": None, "notes": []},
        "kernel": {"steering": "ebpf", "reason": None},
    }  # fmt: skip

    assert b"No upstreams: zones only." in page.html(status)

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from dnsfront.config.address import SocketAddress
from dnsfront.config.sections import UpstreamServer as Configured
from dnsfront.errors import UnavailableError
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.supervisor.health import HealthChecker, is_answering
from dnsfront.supervisor.upstreams import UpstreamRegistry
from tests.unit.supervisor_fakes import eventually


@pytest.fixture
def registry() -> Iterator[UpstreamRegistry]:
    registry = UpstreamRegistry()
    yield registry
    registry.close()


def configured(*numbers: int) -> list[Configured]:
    return [
        Configured.model_validate({"address": f"192.0.2.{number}:53"})
        for number in numbers
    ]


def test_an_address_keeps_its_index_when_others_come_and_go(
    registry: UpstreamRegistry,
) -> None:
    registry.assign(configured(1, 2, 3))

    later = registry.assign(configured(3, 4))

    assert [server.index for server in later] == [2, 3]
    assert registry.texts()["192.0.2.2:53"] == 1


def test_too_many_upstreams_are_refused_and_none_is_taken_in(
    registry: UpstreamRegistry,
) -> None:
    registry.assign(configured(*range(1, 64)))

    with pytest.raises(UnavailableError, match="has met 63 upstreams"):
        registry.assign(configured(100, 101))

    assert registry.assign(configured(102))[0].index == 63


def test_upstreams_are_presumed_up(registry: UpstreamRegistry) -> None:
    [server] = registry.assign(configured(1))

    assert registry.is_up(server.index)
    registry.mark(server.index, is_up=False)
    assert not registry.is_up(server.index)


class Resolver(asyncio.DatagramProtocol):
    """Answers every query with *change* applied to it."""

    def __init__(self, change: object) -> None:
        self.change = change

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = bytearray(data)
        if self.change != "no QR":
            response[2] |= 0x80
        if self.change == "other id":
            response[0] ^= 1
        if self.change == "servfail":
            response[3] |= 2
        self.transport.sendto(response, addr)


async def probe(change: object) -> bool:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Resolver(change), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    try:
        return await is_answering(upstream(port), timeout_s=0.2)
    finally:
        transport.close()


def upstream(port: int) -> UpstreamServer:
    return UpstreamServer(0, "127.0.0.1", port, socket.AF_INET, 1)


@pytest.mark.parametrize(
    ("change", "is_up"),
    [("none", True), ("servfail", True), ("no QR", False), ("other id", False)],
)
def test_any_response_to_the_probe_means_up(change: str, *, is_up: bool) -> None:
    assert asyncio.run(probe(change)) is is_up


def test_a_closed_port_is_known_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]

    assert asyncio.run(is_answering(upstream(port), timeout_s=60)) is False


def test_the_first_silence_marks_an_upstream_down(
    registry: UpstreamRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    address = SocketAddress("127.0.0.1", closed_port())
    [server] = registry.assign([Configured.model_validate({"address": str(address)})])

    async def run() -> None:
        health = HealthChecker(registry)
        health.watch([server], timeout_s=60)
        await eventually(lambda: not registry.is_up(server.index))
        await health.close()

    asyncio.run(run())

    assert [record.getMessage() for record in caplog.records] == [
        f"upstream_down upstream={address} timeout_s=60"
    ]


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port

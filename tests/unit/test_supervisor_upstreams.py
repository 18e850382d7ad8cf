from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import dns.flags
import dns.message
import pytest

from dnsfront.config.address import SocketAddress
from dnsfront.config.sections.upstreams import ServerEntry
from dnsfront.ipc import stats
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import MAX_UPSTREAMS, Health, Upstream
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.front import Front
from dnsfront.supervisor.upstreams import health as health_module
from dnsfront.supervisor.upstreams.health import HealthChecker, is_answering
from dnsfront.supervisor.upstreams.probe import ProbeForm
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from tests.unit.supervisor_fakes import (
    PlayedProcess,
    eventually,
    play,
    played,
    write_config,
)

__all__ = ["played"]


@pytest.fixture
def page() -> Iterator[memoryview]:
    """What one worker counts."""
    fd = stats.create()
    words = stats.words(fd)
    yield words
    os.close(fd)


@pytest.fixture
def registry(page: memoryview) -> Iterator[UpstreamRegistry]:
    registry = UpstreamRegistry(lambda: [page])
    yield registry
    registry.close()


def configured(*numbers: int) -> list[ServerEntry]:
    return [
        ServerEntry.model_validate({"address": f"192.0.2.{number}:53"})
        for number in numbers
    ]


def test_an_address_keeps_its_index_when_others_come_and_go(
    registry: UpstreamRegistry,
) -> None:
    registry.assign(configured(1, 2, 3))

    later = registry.assign(configured(3, 4))

    assert [server.index for server in later] == [2, 3]
    assert texts(registry)["192.0.2.2:53"] == 1


def test_who_only_looks_assigns_nothing(
    played: type[PlayedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = 'upstreams: {servers: [{address: "192.0.2.1:53"}]}\n'

    async def story(front: Front, _reloader: Reloader) -> None:
        monkeypatch.delattr(UpstreamRegistry, "assign")

        [shown] = front.reports.status()["upstreams"]

        assert shown["address"] == "192.0.2.1:53"
        assert front.readiness.lacks() == []

    play(write_config(tmp_path, more=more), story)
    assert played.events


def texts(registry: UpstreamRegistry) -> dict[str, int]:
    """Return the index of every upstream of the default pool, by its address."""
    return {x.text: x.index for x in registry.known() if x.pool == "default"}


def test_looking_up_indices_changes_none(registry: UpstreamRegistry) -> None:
    registry.assign(configured(1, 2))
    before = list(texts(registry))

    assert registry.indices(configured(2, 1)) == [1, 0]

    assert list(texts(registry)) == before


def test_a_new_upstream_is_never_refused(registry: UpstreamRegistry) -> None:
    """64 at a time, 4,096 in all: each reload has others."""
    seen = set()
    for reload in range(64):
        numbers = range(64 * reload, 64 * reload + 64)
        servers = registry.assign(many(*numbers))
        assert len({server.index for server in servers}) == 64
        seen.update(server.index for server in servers)

    assert seen == set(range(MAX_UPSTREAMS))


def test_the_place_of_one_that_is_in_use_is_not_taken(
    registry: UpstreamRegistry,
) -> None:
    kept = registry.assign(many(*range(64)))

    for reload in range(1, 20):
        registry.assign(many(*range(64 * reload, 64 * reload + 64)))
        # Each reload begins from the config in force.
        assert registry.assign(many(*range(64))) == kept


def test_a_place_is_used_again_after_all_others(registry: UpstreamRegistry) -> None:
    registry.assign(many(*range(MAX_UPSTREAMS - 1)))
    [gone] = registry.assign(many(5000))
    registry.assign(many(*range(MAX_UPSTREAMS - 1)))

    [new] = registry.assign(many(5001))

    assert new.index == gone.index
    assert texts(registry).keys() >= {"10.0.19.137:53"}
    assert "10.0.19.136:53" not in texts(registry)


def test_who_takes_a_place_counts_from_zero(
    registry: UpstreamRegistry, page: memoryview
) -> None:
    registry.assign(many(*range(MAX_UPSTREAMS)))
    at = stats.upstream_at(0)
    page[at + Upstream.REQUESTS] = 5
    page[at + Upstream.FAILURES] = 2
    page[at + Upstream.DURATION] = 3
    registry.mark(0, Health.DOWN)

    [new] = registry.assign(many(5000))
    page[at + Upstream.REQUESTS] += 7

    assert new.index == 0
    assert registry.is_up(0)
    counts = registry.counts(0)
    assert counts[Upstream.REQUESTS] == 7
    assert sum(counts) == 7


def test_counts_are_those_of_all_workers(page: memoryview) -> None:
    other_fd = stats.create()
    other = stats.words(other_fd)
    os.close(other_fd)
    registry = UpstreamRegistry(lambda: [page, other])
    [server] = registry.assign(many(1))
    for number, words in enumerate((page, other), 1):
        words[stats.upstream_at(server.index) + Upstream.REQUESTS] = number

    assert registry.counts(server.index)[Upstream.REQUESTS] == 3
    registry.close()


def many(*numbers: int) -> list[ServerEntry]:
    return [
        ServerEntry.model_validate({"address": f"10.0.{n >> 8}.{n & 255}:53"})
        for n in numbers
    ]


def test_upstreams_are_presumed_up(registry: UpstreamRegistry) -> None:
    [server] = registry.assign(configured(1))

    assert registry.is_up(server.index)
    assert registry.why_down(server.index) is None
    registry.mark(server.index, Health.DOWN, reason="queries")
    assert not registry.is_up(server.index)
    found = registry.why_down(server.index)
    assert found is not None
    assert found[0] == "queries"
    registry.mark(server.index, Health.TRIAL, reason="queries")
    assert registry.why_down(server.index) == found


# Probes


def form(**changes: Any) -> ProbeForm:  # noqa: ANN401 - as the class has them
    usual = ProbeForm(
        name=".", type="NS", interval_s=0.02, rise=1, fall=2, timeout_s=0.2
    )
    return dataclasses.replace(usual, **changes)


class Resolver(asyncio.DatagramProtocol):
    """Answers every query with *change* applied to it, and keeps what it was asked."""

    def __init__(self, change: object) -> None:
        self.change = change
        self.asked: list[dns.message.Message] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        if self.change == "silence" or (
            self.change == "drops RD=0" and not query.flags & dns.flags.RD
        ):
            return
        response = bytearray(data)
        if self.change != "no QR":
            response[2] |= 0x80
        if self.change == "other id":
            response[0] ^= 1
        if self.change == "servfail":
            response[3] |= 2
        if self.change == "nxdomain":
            response[3] |= 3
        if self.change == "refused":
            response[3] |= 5
        self.transport.sendto(response, addr)


@asynccontextmanager
async def resolver(change: object) -> AsyncIterator[tuple[Resolver, UpstreamServer]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Resolver(change), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    try:
        yield protocol, upstream(port)
    finally:
        transport.close()


async def probe(change: object, wanted: ProbeForm) -> bool:
    async with resolver(change) as (_, server):
        return await is_answering(server, wanted, 0)


def upstream(port: int) -> UpstreamServer:
    return UpstreamServer(0, "127.0.0.1", port, socket.AF_INET, 1)


@pytest.mark.parametrize(
    ("change", "is_up"),
    [
        ("none", True),
        ("servfail", True),
        ("refused", True),
        ("no QR", False),
        ("other id", False),
        ("silence", False),
    ],
)
def test_any_response_to_the_probe_means_up(change: str, *, is_up: bool) -> None:
    assert asyncio.run(probe(change, form())) is is_up


@pytest.mark.parametrize(
    ("change", "is_up"),
    [("none", True), ("nxdomain", True), ("servfail", False), ("refused", False)],
)
def test_a_name_that_the_operator_chose_must_resolve(
    change: str, *, is_up: bool
) -> None:
    assert asyncio.run(probe(change, form(name="health.test", type="A"))) is is_up


def test_a_probe_asks_what_the_config_says() -> None:
    async def asked(wanted: ProbeForm, attempt: int) -> dns.message.Message:
        async with resolver("none") as (protocol, server):
            await is_answering(server, wanted, attempt)
            return protocol.asked[0]

    root = asyncio.run(asked(form(), 0))
    again = asyncio.run(asked(form(), 1))
    chosen = asyncio.run(asked(form(name="Health.test", type="AAAA"), 0))

    assert root.question[0].to_text() == ". IN NS"
    assert chosen.question[0].to_text() == "health.test. IN AAAA"
    wants_recursion = [bool(x.flags & dns.flags.RD) for x in (root, again, chosen)]
    assert wants_recursion == [False, True, True]


def test_a_closed_port_is_known_at_once() -> None:
    server = upstream(closed_port())

    assert asyncio.run(is_answering(server, form(timeout_s=60), 0)) is False


def test_the_first_silence_marks_an_upstream_down(
    registry: UpstreamRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    address = SocketAddress("127.0.0.1", closed_port())
    [server] = registry.assign([ServerEntry.model_validate({"address": str(address)})])

    async def run() -> None:
        health = HealthChecker(registry)
        health.watch([(server, form(timeout_s=60))])
        await eventually(lambda: not registry.is_up(server.index))
        await health.close()

    asyncio.run(run())

    assert [record.getMessage() for record in caplog.records] == [
        f"upstream_down upstream={address} pool=default reason=probes"
    ]
    assert not registry.is_heard(server.index)


def test_a_judgement_that_ends_by_a_fault_is_logged(
    registry: UpstreamRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def odd(*_probe: object) -> bool:
        raise RuntimeError("odd")

    monkeypatch.setattr(health_module, "is_answering", odd)
    [server] = registry.assign(configured(1))

    async def run() -> None:
        health = HealthChecker(registry)
        health.watch([(server, form())])
        await eventually(lambda: caplog.records)
        await health.close()

    asyncio.run(run())

    assert caplog.messages == ["task_failed task=health of upstream 0"]


def test_an_upstream_that_drops_queries_without_rd_is_up(
    registry: UpstreamRegistry,
) -> None:
    async def run() -> None:
        async with resolver("drops RD=0") as (protocol, server):
            health = HealthChecker(registry)
            health.watch([(server, form())])
            await eventually(lambda: not registry.is_up(server.index))
            await eventually(lambda: registry.is_up(server.index))
            assert len(protocol.asked) >= 2
            await health.close()

    asyncio.run(run())


def test_one_that_answers_probes_and_fails_queries_is_passed_over(
    registry: UpstreamRegistry,
    page: memoryview,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(health_module, "LOOK_EVERY_S", 0.02)

    def fail(count: int) -> None:
        at = stats.upstream_at(0)
        for word in (Upstream.REQUESTS, Upstream.FAILURES, Upstream.REFUSALS):
            page[at + word] += count
        page[at + Upstream.DURATION] += count

    async def run() -> None:
        async with resolver("none") as (_, server):
            health = HealthChecker(registry)
            health.watch([(server, form())])
            fail(100)
            await eventually(lambda: not registry.is_up(server.index))
            assert registry.is_heard(server.index)
            page[stats.upstream_at(0) + Upstream.DURATION] += 10_000
            await eventually(lambda: registry.is_up(server.index))
            await health.close()

    asyncio.run(run())

    assert "reason=queries" in caplog.records[0].getMessage()


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port

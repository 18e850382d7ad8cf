"""The upstreams of several pools: their indices, their counters, where names go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsfront.config.load import load
from dnsfront.config.sections.upstreams import ServerEntry
from dnsfront.ipc import stats
from dnsfront.ipc.stats import Health, Upstream, upstream_at
from dnsfront.supervisor.reports.lookup import Destined
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from tests.unit.supervisor_fakes import (
    PlayedProcess,
    everything_due,
    played,
    running,
    write_config,
)

__all__ = ["played"]

POOLS = """\
upstreams: {policy: ordered, servers: [{address: "192.0.2.1:53"}]}
pools:
  corp: {policy: ordered, servers: [{address: "192.0.2.2:53"}, {address: "192.0.2.1:53"}]}
  any: {policy: least_outstanding, servers: [{address: "192.0.2.3:53"}, {address: "192.0.2.4:53"}]}
  idle: {servers: [{address: "192.0.2.9:53"}]}
forward:
  Corp.Test.: corp
  any.test: any
  ads.test: nxdomain
  lab.example.test: corp
  1.10.in-addr.arpa: corp
  16.172.in-addr.arpa: corp
"""  # noqa: E501 - as an operator writes it


@pytest.fixture
def registry() -> Iterator[UpstreamRegistry]:
    fd = stats.create()
    page = stats.words(fd)
    os.close(fd)
    registry = UpstreamRegistry(lambda: [page])
    yield registry
    registry.close()


def entries(*hosts: int) -> list[ServerEntry]:
    return [
        ServerEntry.model_validate({"address": f"192.0.2.{host}:53"}) for host in hosts
    ]


def test_an_address_in_two_pools_is_two_upstreams(registry: UpstreamRegistry) -> None:
    assigned = registry.assign_all({"default": entries(1, 2), "corp": entries(2)})

    assert [x.index for x in assigned["default"]] == [0, 1]
    assert [x.index for x in assigned["corp"]] == [2]
    assert registry.indices(entries(2), "corp") == [2]
    registry.mark(2, Health.DOWN)
    assert registry.is_up(1)


@pytest.mark.parametrize(
    ("name", "to", "by", "server"),
    [
        ("www.example.test", "zone", "example.test", None),
        ("www.corp.test", "corp", "corp.test", "192.0.2.2:53"),
        ("www.any.test", "any", "any.test", None),
        ("x.ads.test", "nxdomain", "ads.test", None),
        ("www.test", "default", None, "192.0.2.1:53"),
        ("a.lab.example.test", "corp", "lab.example.test", "192.0.2.2:53"),
        ("2.10.in-addr.arpa", "zone", "10.in-addr.arpa", None),
        ("1.1.10.in-addr.arpa", "corp", "1.10.in-addr.arpa", "192.0.2.2:53"),
        ("a.16.172.in-addr.arpa", "corp", "16.172.in-addr.arpa", "192.0.2.2:53"),
    ],
)
def test_where_a_name_goes_is_told(
    tmp_path: Path, name: str, to: str, by: str | None, server: str | None
) -> None:
    config = load(write_config(tmp_path, more=POOLS))

    assert Destined(config).of(name) == {"to": to, "by": by, "server": server}


def test_a_server_that_is_down_is_not_where_a_name_goes(tmp_path: Path) -> None:
    config = load(write_config(tmp_path, more=POOLS))
    destined = Destined(config, lambda _pool, server: server.text != "192.0.2.2:53")

    assert destined.of("www.corp.test")["server"] == "192.0.2.1:53"


def test_names_go_nowhere_without_servers(tmp_path: Path) -> None:
    config = load(write_config(tmp_path))

    found = Destined(config).of("www.test")

    assert found == {"to": None, "by": None, "server": None}


def told(tmp_path: Path) -> tuple[dict[str, Any], str]:
    """Return status and metrics of a front end with pools, after some queries."""

    async def run() -> tuple[dict[str, Any], str]:
        async with running(write_config(tmp_path, more=POOLS)) as front:
            await everything_due()
            for worker in front.roster:
                page = front.roster.tallies.of(worker.name).words
                for index in range(5):
                    page[upstream_at(index) + Upstream.REQUESTS] += 1 + index
            for index in range(5):
                front.upstreams.mark(index, Health(index != 2))
            text, _type = front.expose("")
            return front.reports.status(), text.decode()

    return asyncio.run(run())


def test_status_and_metrics_tell_of_each_pool(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    status, text = told(tmp_path)

    assert played.events
    assert status["pools"] == [
        {"name": "default", "policy": "ordered", "suffixes": [], "servers": 1, "up": 1}
        | {"requests": 2, "failures": 0},
        {"name": "corp", "policy": "ordered", "servers": 2}
        | {"suffixes": [x for x, y in status["forward"].items() if y == "corp"]}
        | {"up": 1, "requests": 10, "failures": 0},
        {"name": "any", "policy": "least_outstanding", "suffixes": ["any.test"]}
        | {"servers": 2, "up": 2, "requests": 18, "failures": 0},
    ]
    assert len(status["forward"]) == 6
    assert status["forward"]["corp.test"] == "corp"
    lines = text.splitlines()
    for line in (
        'dnsfront_pool_requests_total{pool="corp"} 10.0',
        'dnsfront_pool_failures_total{pool="any"} 0.0',
        'dnsfront_pool_upstream_up{pool="default",upstream="192.0.2.1:53"} 1.0',
        'dnsfront_pool_upstream_up{pool="corp",upstream="192.0.2.1:53"} 0.0',
        'dnsfront_upstream_up{upstream="192.0.2.1:53"} 0.0',
        'dnsfront_upstream_requests_total{upstream="192.0.2.1:53"} 8.0',
    ):
        assert line in lines
    assert "192.0.2.9" not in text

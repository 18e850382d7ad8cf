"""Probes over TLS: what they find out, and what they cost the server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from dnsfront.ipc.spec import UpstreamServer, UpstreamTls
from dnsfront.supervisor.upstreams.probe import ProbeForm
from dnsfront.supervisor.upstreams.tls_probe import TlsProbe
from tests.unit.authority import NAME, Authority, Identity
from tests.unit.tls_peer import server_context

_AUTHORITY = Authority()
_OTHER = Authority("Somebody else")
_IDENTITY = _AUTHORITY.identity(NAME)
_FORM = ProbeForm(".", "NS", 1, 1, 2, 10)


@dataclass
class _Server:
    """Counts connections and queries; closes after so many queries."""

    most: int
    connections: int = 0
    queries: int = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        with suppress(EOFError, OSError):
            for _ in range(self.most):
                size = int.from_bytes(await reader.readexactly(2), "big")
                query = bytearray(await reader.readexactly(size))
                self.queries += 1
                query[2] |= 0x80
                writer.write(size.to_bytes(2, "big") + query)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def probed(
    identity: Identity, *pins: str, most: int = 100
) -> AsyncIterator[tuple[_Server, TlsProbe]]:
    server = _Server(most)
    listening = await asyncio.start_server(
        server.serve, "127.0.0.1", 0, ssl=server_context(identity)
    )
    port = listening.sockets[0].getsockname()[1]
    tls = UpstreamTls(NAME, (_AUTHORITY.pem,), pins)
    spec = UpstreamServer(0, "127.0.0.1", port, socket.AF_INET, 1, tls)
    with TlsProbe(spec) as probe:
        yield server, probe
    listening.close()
    await listening.wait_closed()


async def answers(
    identity: Identity, *pins: str, most: int = 100, times: int = 3
) -> tuple[list[bool], str | None, int]:
    """Return what came of some probes, the fault, and how many connections it took."""
    async with probed(identity, *pins, most=most) as (server, probe):
        found = [await probe.is_answered(_FORM, 0) for _ in range(times)]
        return found, probe.error and probe.error.fault, server.connections


def test_probes_share_a_connection() -> None:
    assert asyncio.run(answers(_IDENTITY)) == ([True] * 3, None, 1)


def test_server_that_closes_what_is_idle_is_up() -> None:
    assert asyncio.run(answers(_IDENTITY, most=1)) == ([True] * 3, None, 3)


@pytest.mark.parametrize(
    ("identity", "pins", "fault"),
    [
        (_AUTHORITY.identity(NAME, days=-1), (), "expired"),
        (_AUTHORITY.identity("other.example"), (), "name"),
        (_OTHER.identity(NAME), (), "authority"),
        (_AUTHORITY.identity(NAME), (_IDENTITY.pin,), "pin"),
    ],
    ids=["expired", "name", "authority", "pin"],
)
def test_server_that_is_not_believed_is_down_and_the_fault_has_a_name(
    identity: Identity, pins: tuple[str, ...], fault: str
) -> None:
    async def probe() -> tuple[list[bool], str | None, int]:
        async with probed(identity, *pins) as (server, over_tls):
            found = [await over_tls.is_answered(_FORM, 0) for _ in range(2)]
            return found, over_tls.error and over_tls.error.fault, server.queries

    assert asyncio.run(probe()) == ([False, False], fault, 0)


def test_server_that_is_not_there_is_down_and_no_liar() -> None:
    async def probe() -> tuple[bool, object]:
        async with probed(_IDENTITY) as (_server, over_tls):
            spec = over_tls._server
        gone = TlsProbe(spec)
        return await gone.is_answered(_FORM, 0), gone.error

    assert asyncio.run(probe()) == (False, None)

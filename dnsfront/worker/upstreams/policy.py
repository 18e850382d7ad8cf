"""In which order the upstreams are tried for a name (`upstreams.policy`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from dnsfront.ring import table
from dnsfront.ring.placement import Worker
from dnsfront.ring.qhash import qname_hash, slot_of

if TYPE_CHECKING:
    from dnsfront.ipc.spec import UpstreamServer
    from dnsfront.worker.upstreams.server import Server

Order = Callable[[bytes, "Sequence[Server]"], "list[Server]"]

#: Fewer than for workers: servers are few, and the table is built in every worker.
_SLOTS: Final = 4096
_VNODES: Final = 256


def order_of(policy: str, servers: Sequence[UpstreamServer], key: bytes) -> Order:
    """Return what orders *servers*, given in the same order, for a qname."""
    if policy == "least_outstanding":
        return _least_outstanding
    if policy == "chash" and len(servers) > 1:
        return _chash(servers, key)
    return _ordered


def _ordered(_qname: bytes, servers: Sequence[Server]) -> list[Server]:
    return list(servers)


def _least_outstanding(_qname: bytes, servers: Sequence[Server]) -> list[Server]:
    return sorted(servers, key=lambda server: server.outstanding / server.spec.weight)


def _chash(servers: Sequence[UpstreamServer], key: bytes) -> Order:
    """Return an order by the same ring as the workers', over the servers' addresses.

    So a resolver behind it sees the same names as long as it is there, and its cache is
    as little a copy of another's as a worker's is.
    """
    names = [f"{server.address}@{server.port}" for server in servers]
    workers = [
        Worker(name, server.weight) for name, server in zip(names, servers, strict=True)
    ]
    ring = table.build(workers, slots=_SLOTS, vnodes=_VNODES, seed="upstreams")
    places = {name: place for place, name in enumerate(names)}

    def order(qname: bytes, servers: Sequence[Server]) -> list[Server]:
        slot = slot_of(qname_hash(qname[:-1], key), _SLOTS)
        return [servers[places[name]] for name in ring.preference(slot)]

    return order

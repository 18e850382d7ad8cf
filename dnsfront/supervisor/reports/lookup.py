"""Where names belong: what `dnsfront lookup` shows, of a file or of a server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from dnsfront.config.model import Config
from dnsfront.config.sections.upstreams import ServerEntry
from dnsfront.dns.destinations import Destinations
from dnsfront.dns.names import is_under, qname_from_text, qname_to_text
from dnsfront.ipc.spec import DEFAULT_POOL, REFUSING
from dnsfront.ring.qhash import hash_key, qname_hash, slot_of
from dnsfront.ring.servers import ServerRing
from dnsfront.ring.table import SlotTable

#: Names that one request to a running server may hold, so that both lines fit.
MAX_NAMES: Final = 400


def look_up(
    name: str, table: SlotTable, key: bytes, live: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the slot of *name*, of how many, its owner, and its preference list.

    The owner is the first in the list, or with *live* the first that is in it, and
    None where nobody is.

    Raises:
        WireError: it is no name.
    """
    qname = qname_from_text(name)
    # The kernel stops at the root label, and hashes what stands before it.
    slot = slot_of(qname_hash(qname[:-1], key), table.slots)
    preference = table.preference(slot)
    able = [x for x in preference if live is None or x in live]
    return {
        "name": name,
        "slot": slot,
        "slots": table.slots,
        "owner": able[0] if able else None,
        "preference": list(preference),
    }


class Destined:
    """Where names go to: a zone, a pool and a server of it, or a word of `forward`.

    *is_up* takes a pool and a server, and returns whether the server is asked; of a
    file, nothing else is known. Which server a pool takes that goes by load or by time
    is not known ahead.
    """

    def __init__(
        self,
        config: Config,
        is_up: Callable[[str, ServerEntry], bool] = lambda _pool, _server: True,
    ) -> None:
        self._origins = [qname_from_text(zone.origin) for zone in config.zones]
        self._special = [qname_from_text(x) for x in config.special_names.in_force]
        self._pools = config.used_pools
        self._is_up = is_up
        self._destinations = Destinations(
            {qname_from_text(x): y for x, y in config.destinations.items()},
            default=DEFAULT_POOL,
            refusing=REFUSING,
        )
        key = hash_key(config.ring.seed)
        self._rings = {
            name: ServerRing(
                [server.text for server in pool.servers],
                [server.weight for server in pool.servers],
                key,
            )
            for name, pool in self._pools.items()
            if pool.policy == "chash"
        }

    def of(self, name: str, qtype: int = 1) -> dict[str, Any]:
        """Return where *name* goes to, what has it go there, and the server.

        Raises:
            WireError: it is no name.
        """
        qname = qname_from_text(name)
        canonical = qname + qtype.to_bytes(2, "big") + b"\0\1"
        suffix = self._destinations.suffix_of(canonical)
        above = [
            origin
            for origins, least in (
                (self._origins, len(suffix)),
                (self._special, len(suffix) + 1),
            )
            for origin in origins
            if len(origin) >= least and is_under(qname, origin)
        ]
        if above:
            origin = qname_to_text(max(above, key=len))
            return {"to": "zone", "by": origin, "server": None}
        destination = self._destinations.of(canonical)
        return {
            "to": destination if self._goes_somewhere(destination) else None,
            "by": qname_to_text(suffix) if suffix else None,
            "server": self._server(destination, qname),
        }

    def _goes_somewhere(self, destination: str) -> bool:
        pool = self._pools.get(destination)
        return pool is None or bool(pool.servers)

    def _server(self, destination: str, qname: bytes) -> str | None:
        pool = self._pools.get(destination)
        if pool is None or not pool.servers:
            return None
        servers = list(pool.servers)
        if pool.policy == "chash":
            order = self._rings[destination].order(qname)
            servers = [servers[position] for position in order]
        elif pool.policy != "ordered" and len(servers) > 1:
            return None
        up = [server for server in servers if self._is_up(destination, server)]
        return (up or servers)[0].text

"""Where names belong: what `dnsfront lookup` shows, of a file or of a server."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from dnsfront.dns.names import qname_from_text
from dnsfront.ring.qhash import qname_hash, slot_of
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

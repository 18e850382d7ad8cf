"""docs/limits.md has every bound, with the value that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from dnsfront.config.model import MAX_LISTEN
from dnsfront.config.sections.clients import Limits as LimitsSection
from dnsfront.dns import cache, residents, response, shape
from dnsfront.dns.zones import authority, compiling
from dnsfront.ipc import asking
from dnsfront.ipc.stats import MAX_UPSTREAMS, Counter, Limit
from dnsfront.ring.table import MAX_WORKERS
from dnsfront.supervisor.admin import http as admin
from dnsfront.supervisor.admin import http_exchange
from dnsfront.supervisor.admin.http import AdminCounts
from dnsfront.supervisor.reports import lookup
from dnsfront.supervisor.workers import tally, watchdog, worker
from dnsfront.supervisor.zones import child as zone_child
from dnsfront.supervisor.zones import files as zone_files
from dnsfront.worker.answering import failures
from dnsfront.worker.clients import gate
from dnsfront.worker.peers import transfer
from dnsfront.worker.process import reactor
from dnsfront.worker.transports import framed, streams
from tests.unit.worker_rig import Rig

ROOT = Path(__file__).parents[2]
#: Rows about constants: what the row begins with, and the value of its default.
CONSTANTS = {
    "failures remembered": failures.MAX_FAILURES,
    "queries of one connection under way": framed.MAX_OUTSTANDING,
    "octets of one connection not taken": framed.MAX_UNSENT_OCTETS,
    "queries served in one turn": framed.QUERIES_A_TURN,
    "queries served in one round": streams.QUERIES_A_ROUND,
    "an answer that does not come": streams.STUCK_S,
    "the client's side still open": streams.SILENT_S,
    "OPT records known": shape.MAX_OPTS,
    "heads of responses": shape.MAX_HEADS,
    "clients remembered as allowed": gate.MAX_REMEMBERED,
    "responses made from zones": residents.MAX_ZONE_ENTRIES,
    "distinct heads and TTL offsets": cache.MAX_SHARED,
    "octets of cache entries in one parcel": transfer.MAX_PARCEL_OCTETS,
    "faults of one descriptor": reactor.MAX_FAULTS,
    "time until a worker is ready": worker.READY_TIMEOUT_S,
    "time in which it takes nothing": watchdog.HUNG_AFTER_S,
    "time for a sign of life": watchdog.SILENT_AFTER_S,
    "HTTP connections": admin.MAX_CONNECTIONS,
    "octets of responses not taken": admin.MAX_UNSENT_OCTETS,
    "time for one HTTP exchange": admin.TIMEOUT_S,
    "octets of an HTTP request": http_exchange.MAX_HEAD_OCTETS,
    "octets of a line at the control socket": asking.MAX_LINE_OCTETS,
    "names of workers that are gone": tally.MAX_GONE,
    "names in a response that are long": response.MAX_ODD_NAMES,
    "records of a response that holds": response.MAX_ODD_RECORDS,
    "names in one `lookup --live` request": lookup.MAX_NAMES,
    "upstreams with counters": MAX_UPSTREAMS,
    "octets of a zone file": zone_child.MAX_FILE_OCTETS,
    "time to read a zone": zone_files.TIMEOUT_S,
    "memory to read a zone": zone_child.MEMORY_OCTETS,
    "octets of an RRset": compiling.MAX_RRSET_OCTETS,
    "addresses in `listen`": MAX_LISTEN,
    "workers": MAX_WORKERS,
    "CNAME records followed": authority.MAX_CHAIN,
}
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, " s": 1}


class Row(NamedTuple):
    name: str
    default: str
    effect: str
    limit: str


def rows() -> list[Row]:
    lines = (ROOT / "docs/limits.md").read_text("utf-8").splitlines()
    found = [
        Row(*(cell.strip() for cell in line.strip("|").split("|")))
        for line in lines
        if line.startswith("|") and not line.startswith(("| name |", "|---"))
    ]
    assert all(row.effect for row in found)
    return found


ROWS = rows()


def the_row(start: str) -> Row:
    [row] = [row for row in ROWS if row.name.startswith(start)]
    return row


def value_of(text: str) -> float:
    match = re.match(r"([\d.]+)( s|[KMG]iB)?", text)
    assert match, text
    return float(match[1]) * _UNITS[match[2] or ""]


def test_every_counted_limit_has_a_row_and_every_row_counts_what_there_is() -> None:
    counted = {limit.name.lower() for limit in Limit} | set(AdminCounts().reached)

    told = {row.limit.strip("`") for row in ROWS} - {""}

    assert told == counted


@pytest.mark.parametrize(
    "key",
    sorted(field.alias or name for name, field in LimitsSection.model_fields.items()),
)
def test_every_key_of_limits_has_a_row_with_its_default(key: str) -> None:
    document = yaml.safe_load((ROOT / "config.example.yaml").read_text("utf-8"))

    row = the_row(f"`limits.{key}`")

    assert row.default == str(document["limits"][key])
    assert row.limit == f"`{key}`"


@pytest.mark.parametrize("key", ["max_entries", "max_size", "max_entry_size"])
def test_every_bound_of_the_cache_has_a_row_with_its_default(key: str) -> None:
    document = yaml.safe_load((ROOT / "config.example.yaml").read_text("utf-8"))

    assert the_row(f"`cache.{key}`").default == str(document["cache"][key])


@pytest.mark.parametrize("start", CONSTANTS)
def test_row_of_a_constant_has_its_value(start: str) -> None:
    assert value_of(the_row(start).default) == CONSTANTS[start]


def test_failures_remembered_are_bounded_and_the_oldest_is_forgotten() -> None:
    with Rig() as rig:
        first, last = b"first", b"last"
        for exact in (first, b"second"):
            rig.answering.failures.remember(0, exact, 2)
        for number in range(failures.MAX_FAILURES - 2):
            rig.answering.failures.remember(0, b"%d" % number, 2)
        rig.answering.failures.remember(0, first, 2)
        assert rig.count(Limit.FAILURES) == 0

        rig.answering.failures.remember(0, last, 2)

        assert rig.answering.failures.find(0, b"second") is None
        assert rig.answering.failures.find(0, first) == (2, b"")
        assert rig.answering.failures.find(0, last) == (2, b"")
        assert rig.count(Limit.FAILURES) == 1
        assert rig.count(Counter.EXCEPTIONS) == 0

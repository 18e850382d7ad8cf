"""Entries for tests of the response cache, and questions to it."""

from __future__ import annotations

import gc
import struct
from typing import Any

import dns.message
import dns.rcode
import dns.rrset

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import ODD_ZONE, Entry
from dnsfront.dns.forgetting import Test, everything
from dnsfront.dns.response import Response, parse_response
from dnsfront.dns.sections import Sections
from dnsfront.dns.settings import CacheSettings

A, HTTPS, TYPE97 = 1, 65, 97
NAME = b"\3www\7example\4test\0"
DAY_S = 86400


def limits(**changes: Any) -> CacheSettings:  # noqa: ANN401 - as the record has them
    wanted = {
        "max_entries": 100,
        "max_size_octets": 64 << 20,
        "max_entry_size_octets": 64 << 10,
        "min_ttl_s": 0,
        "max_ttl_s": DAY_S,
        "serve_stale_s": DAY_S,
        "prefetch": True,
    }
    return CacheSettings(**(wanted | changes))


def tail_of(qtype: int) -> bytes:
    return struct.pack("!HH", qtype, 1)


def address(*ttls: int, mark: int = 1) -> Response:
    """Return a response of one address a TTL; *mark* tells it from others."""
    records = b"".join(
        b"\xc0\x0c"
        + struct.pack("!HHIHBBBB", A, 1, ttl, 4, 192, 0, mark >> 8, mark & 255)
        for ttl in ttls
    )
    header = struct.pack("!6H", 0, wire.QR, 1, len(ttls), 0, 0)
    return parse_response(header + b"\0\0\1\0\1" + records, 17)


def denial(ttl: int, minimum: int, *, rcode: int = wire.NXDOMAIN) -> Response:
    made = dns.message.make_response(dns.message.make_query("www.example.test", "A"))
    made.set_rcode(dns.rcode.Rcode(rcode))
    made.authority.append(
        dns.rrset.from_text(
            "example.test.", ttl, "IN", "SOA", f"a. b. 1 2 3 4 {minimum}"
        )
    )
    octets = made.to_wire()
    return parse_response(octets, wire.question_end(octets))


def zone_sections(rcode: int = 0) -> Sections:
    record = b"\xc0\x0c" + struct.pack("!HHIH4s", A, 1, 3600, 4, b"\xc0\0\2\1")
    return Sections(rcode, True, False, 1, 0, 0, record)  # noqa: FBT003 - plain data


def put(
    cache: Cache,
    response: Response,
    *,
    name: bytes = NAME,
    qtype: int = A,
    view: int = 1,
    now_s: int = 0,
) -> Entry:
    tail = tail_of(qtype)
    entry = cache.put(view, (name + tail).lower(), tail, response, now_s)
    assert entry is not None, "no zone is known"
    return entry


def get(
    cache: Cache, *, name: bytes = NAME, qtype: int = A, view: int = 1
) -> Entry | None:
    tail = tail_of(qtype)
    return cache.get(view, (name + tail).lower(), tail)


def ask(
    cache: Cache, now_s: int, *, name: bytes = NAME, qtype: int = A, view: int = 1
) -> list[int] | None:
    """Return the TTLs of the response that a client gets from the cache, if any."""
    entry = get(cache, name=name, qtype=qtype, view=view)
    if entry is None or not cache.fresh(entry, now_s):
        return None
    return ttls_of(entry.body, entry.ttl_offsets)


def ttls_of(body: bytes, offsets: tuple[int, ...]) -> list[int]:
    return [struct.unpack_from("!I", body, at)[0] for at in offsets]


def entries_alive() -> int:
    gc.collect()
    return sum(type(thing) is Entry for thing in gc.get_objects())


def name_of(number: int) -> bytes:
    text = str(number).encode()
    return bytes((len(text),)) + text + NAME


def flush(cache: Cache, test: Test = everything) -> int:
    """Forget what *test* takes, all in one go; return how many entries it was."""
    flushing = cache.flushing(test)
    while True:
        try:
            next(flushing)
        except StopIteration as end:
            count: int = end.value
            return count


def flush_zones(cache: Cache) -> None:
    for _ in cache.flushing(lambda entry: bool(entry.odd & ODD_ZONE)):
        pass


def trim(cache: Cache) -> None:
    """Bring *cache* within its bounds, as the rounds of a worker do."""
    while cache.trim():
        pass

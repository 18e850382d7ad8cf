"""Zone text to the image of a zone: every record checked, so that it can be served."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from dnsfront.dns.names import ancestors, is_under, qname_from_text, qname_to_text
from dnsfront.dns.wire import SOA
from dnsfront.dns.zones.image import (
    decode_single,
    encode,
    encode_rrset,
    hashed_owner,
    in_buckets,
    in_chain,
    is_hashed_owner,
)
from dnsfront.dns.zones.records import (
    CNAME,
    DNAME,
    NS,
    NSEC,
    NSEC3,
    NSEC3PARAM,
    RECORD_OCTETS,
    RRSIG,
    folded,
    kind_of,
    signature_of,
)
from dnsfront.dns.zones.text import Include, Record, read_records, type_text
from dnsfront.errors import WireError, ZoneError

#: A message has 65535; this leaves room for a question, a CNAME chain and OPT.
MAX_RRSET_OCTETS: Final = 60000
#: Each is a hash for each denial; validators have the same bound.
_MAX_ITERATIONS: Final = 150


def compile_zone(
    origin: str,
    text: str,
    path: str,
    give_way: Callable[[], object] = bool,
    include: Include | None = None,
) -> tuple[list[bytes | bytearray | memoryview], int]:
    """Return the image of the zone at *origin* that *text* describes.

    It comes in pieces, to be written one behind the other, with its number of records.

    *give_way* is called again and again, so that others get their turn. *path* is for
    messages only, *include* as for :func:`read_records`. An RRset whose records differ
    in TTL gets the least (RFC 2181, 5.2); a record that is written twice counts once.

    Raises:
        ZoneError: the first mistake, with the line it stands on.
    """
    try:
        apex = qname_from_text(origin)
    except WireError as exc:
        raise ZoneError(f"{path}: origin: {exc}") from exc
    records = _Records(apex)
    for record in read_records(apex, text, path, include):
        give_way()
        try:
            records.add(record)
        except ValueError as exc:
            owner = qname_to_text(record.owner)
            raise ZoneError(
                f"{record.path}:{record.line}: {owner} {type_text(record.rtype)}: {exc}"
            ) from exc
    try:
        records.check_whole()
        return records.image(give_way), records.count
    except ValueError as exc:
        raise ZoneError(f"{path}: {exc}") from exc


class _RRset:
    """The records of one owner and type, while they come."""

    __slots__ = ("rdatas", "size", "ttl_s")

    def __init__(self, rtype: int, ttl_s: int, rdata: bytes) -> None:
        self.ttl_s = ttl_s
        #: By what they have in common with those that only differ in case.
        self.rdatas = {folded(rtype, rdata): rdata}
        self.size = len(rdata) + RECORD_OCTETS


class _Records:
    """The names of a zone and what they have.

    Most names of large zones have one record: it is kept encoded, which takes a fifth
    of the memory. A name that gets another has its RRsets by type.
    """

    def __init__(self, apex: bytes) -> None:
        self._apex = apex
        self._nodes: dict[bytes, bytes | dict[int, _RRset]] = {}
        self._dnames: set[bytes] = set()
        self.count = 0

    def add(self, record: Record) -> None:
        """Take in a record.

        Raises:
            ValueError: it cannot stand where it stands.
        """
        _path, _line, owner, ttl_s, rtype, rdata = record
        self._check_place(owner, rtype)
        kind = kind_of(rtype, rdata)
        if rtype == NSEC3 or kind == signature_of(NSEC3):
            owner = hashed_owner(owner)
        _check_size(len(rdata) + RECORD_OCTETS)
        if rtype == NSEC3PARAM:
            _check_parameters(rdata)
        if rtype == DNAME:
            self._dnames.add(owner)
        node = self._nodes.get(owner)
        self.count += 1
        if node is None:
            self._nodes[owner] = encode_rrset(kind, ttl_s, (rdata,))
            return
        if isinstance(node, bytes):
            first_type, first_ttl_s, first = decode_single(node)
            node = {first_type: _RRset(first_type & 0xFFFF, first_ttl_s, first)}
            self._nodes[owner] = node
        rrset = node.get(kind)
        if rrset is None:
            if _is_beside_alias(kind, node):
                raise ValueError(
                    "CNAME and other records share an owner (RFC 1034, 3.6.2)"
                )
            node[kind] = _RRset(rtype, ttl_s, rdata)
            return
        rrset.ttl_s = min(rrset.ttl_s, ttl_s)
        common = folded(rtype, rdata)
        if common in rrset.rdatas:
            self.count -= 1
            return
        if rtype in {CNAME, DNAME, SOA}:
            raise ValueError("the owner has another record of this type, want one")
        rrset.rdatas[common] = rdata
        rrset.size += len(rdata) + RECORD_OCTETS
        _check_size(rrset.size)

    def check_whole(self) -> None:
        """Look for what every zone has.

        Raises:
            ValueError: what it lacks.
        """
        if not self._nodes:
            raise ValueError("the file holds no record")
        node = self._nodes.get(self._apex, b"")
        types = {decode_single(node)[0]} if isinstance(node, bytes) and node else node
        for mnemonic, rtype in (("SOA", SOA), ("NS", NS)):
            if rtype not in types:
                raise ValueError(
                    f"no {mnemonic} record at {qname_to_text(self._apex)}, want one"
                )

    def image(
        self, give_way: Callable[[], object]
    ) -> list[bytes | bytearray | memoryview]:
        """Return the image in pieces; nothing can be added after that.

        Raises:
            ValueError: a name is below one with a DNAME record.
        """
        nodes, apex, dnames = self._nodes, self._apex, self._dnames
        for name in list(nodes):
            give_way()
            if is_hashed_owner(name):
                continue
            if dnames:
                self._check_above(name)
            # RFC 4592, 2.2.2: a name with others below it exists, even if it is empty.
            parent = name
            while parent != apex:
                parent = parent[parent[0] + 1 :]
                if parent in nodes:
                    break
                nodes[parent] = b""
        return encode(
            apex, len(nodes), self._encoded(give_way), self.count, self._chain()
        )

    def _chain(self) -> list[bytes]:
        """Return the names that deny what is between them, in their order.

        With NSEC3PARAM these are owners of the NSEC3 records that it names.
        """
        parameters = self._rdatas(self._apex, NSEC3PARAM)
        if self._rdatas(self._apex, NSEC) or not parameters:
            chain = [x for x in self._nodes if self._rdatas(x, NSEC)]
        else:
            # Algorithm, iterations and salt; flags may differ.
            wanted = parameters[0][:1] + parameters[0][2:]
            chain = [
                name
                for name in self._nodes
                if is_hashed_owner(name)
                and any(
                    rdata[:1] + rdata[2 : len(parameters[0])] == wanted
                    for rdata in self._rdatas(name, NSEC3)
                )
            ]
        return sorted(chain, key=in_chain)

    def _rdatas(self, name: bytes, kind: int) -> list[bytes]:
        node = self._nodes.get(name)
        if not node:
            return []
        if isinstance(node, bytes):
            own, _ttl_s, rdata = decode_single(node)
            return [rdata] if own == kind else []
        return list(node[kind].rdatas.values()) if kind in node else []

    def _encoded(
        self, give_way: Callable[[], object]
    ) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield every name with what it has, in the order of an image."""
        for name in in_buckets(self._nodes):
            give_way()
            node = self._nodes[name]
            if isinstance(node, bytes):
                yield name, bool(node), node
            else:
                rrsets = [
                    encode_rrset(rtype, rrset.ttl_s, rrset.rdatas.values())
                    for rtype, rrset in node.items()
                ]
                yield name, len(rrsets), b"".join(rrsets)

    def _check_above(self, name: bytes) -> None:
        """Refuse what is below a DNAME record, or beside it and delegated."""
        above = self._dnames.intersection(ancestors(name))
        for owner in above - {name}:
            raise ValueError(
                f"{qname_to_text(name)} is below {qname_to_text(owner)}, which has a "
                "DNAME record, want no names there (RFC 6672, 2.4)"
            )
        node = self._nodes[name]
        if name != self._apex and above and not isinstance(node, bytes) and NS in node:
            raise ValueError(
                f"{qname_to_text(name)} has DNAME and NS records, want either "
                "(RFC 6672, 2.3)"
            )

    def _check_place(self, owner: bytes, rtype: int) -> None:
        apex = self._apex
        if not is_under(owner, apex):
            raise ValueError(f"the owner is outside the zone {qname_to_text(apex)}")
        if rtype == SOA and owner != apex:
            raise ValueError(f"the owner is not the origin {qname_to_text(apex)}")
        if rtype == NSEC3 and owner[owner[0] + 1 :] != apex:
            raise ValueError("the owner is not a hash and the origin (RFC 5155, 3)")
        if rtype == NS and owner.startswith(b"\1*"):
            raise ValueError("a wildcard cannot delegate (RFC 4592, 4.2)")


def _check_parameters(rdata: bytes) -> None:
    iterations = int.from_bytes(rdata[2:4], "big")
    if iterations > _MAX_ITERATIONS:
        raise ValueError(
            f"got {iterations} iterations, want at most {_MAX_ITERATIONS}: validators "
            "take more for unsigned (RFC 9276, 3.2)"
        )


def _is_beside_alias(kind: int, node: Collection[int]) -> bool:
    """Return whether a CNAME record would stand beside other data (RFC 4034, 2.5)."""
    if kind == CNAME:
        return not all(_is_of_signer(x) for x in node)
    return CNAME in node and not _is_of_signer(kind)


def _is_of_signer(kind: int) -> bool:
    return kind == NSEC or kind & 0xFFFF == RRSIG


def _check_size(octets: int) -> None:
    if octets > MAX_RRSET_OCTETS:
        raise ValueError(
            f"the records have {octets} octets, want at most {MAX_RRSET_OCTETS}"
        )

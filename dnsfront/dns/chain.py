"""Which records of an answer section belong to the question: it and its aliases.

Others may be noise, or an attempt to have us say what was not asked; resolvers that
forward to us would have to throw them away (RFC 2181, 5.4.1).
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.compression import Names
from dnsfront.dns.names import MAX_QNAME_OCTETS, ancestors
from dnsfront.dns.records import CNAME, DNAME, HOP_BY_HOP, RRSIG, SIG, expanded
from dnsfront.errors import WireError

#: Aliases followed in one answer; resolvers themselves give up far earlier.
MAX_ALIASES: Final = 64

_SIGNATURES: Final = frozenset((SIG, RRSIG))
_TOO_LONG: Final = "with its names in full, the response is too long"
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"
#: Type and class of CNAME and DNAME records.
_ALIAS: Final = b"\0\5\0\1"
_ENDING_ALIAS: Final = b"\0\x27\0\1"


class Chain:
    """What an answer section comes to.

    *kept* are the offsets of the records that belong to the question, in their order,
    and *owners* their owners; *has_foreign* tells whether there are others. *names* are
    the name of the question and those that it leads to. *target* is the last of them
    where the answer has nothing for it, else empty; *is_whole* whether the aliases come
    to an end at all.
    """

    __slots__ = ("has_foreign", "is_whole", "kept", "names", "owners", "target")

    def __init__(
        self,
        kept: list[int],
        owners: list[bytes],
        names: list[bytes],
        target: bytes,
        *,
        has_foreign: bool,
        is_whole: bool,
    ) -> None:
        self.owners = owners
        self.names = names
        self.kept = kept
        self.target = target
        self.has_foreign = has_foreign
        self.is_whole = is_whole


class _Aliases:
    """The CNAME and DNAME records of an answer, by owner in lower case."""

    __slots__ = ("cnames", "dnames", "used")

    def __init__(self) -> None:
        self.cnames: dict[bytes, bytes] = {}
        self.dnames: dict[bytes, bytes] = {}
        #: Owners of the DNAME records that a name of the chain is below.
        self.used: set[bytes] = set()

    def next(self, qname: bytes) -> bytes | None:
        """Return the name that *qname* is an alias of."""
        target = self.cnames.get(qname)
        if not self.dnames:
            return target
        for owner in islice(ancestors(qname), 1, None):
            ending = self.dnames.get(owner)
            if ending is not None:
                self.used.add(owner)
                below = qname[: len(qname) - len(owner)]
                if target is None and len(below) + len(ending) <= MAX_QNAME_OCTETS:
                    target = below + ending
        return target


def follow(octets: bytes, body_at: int) -> Chain:
    """Return what the answer section comes to; its records have been checked."""
    qname = octets[wire.HEADER_OCTETS : body_at - 4].lower()
    qtype = octets[body_at - 4] << 8 | octets[body_at - 3]
    names, aliases = Names(octets), _Aliases()
    records: list[tuple[int, bytes, int]] = []
    has_foreign = False
    # Declared, since what is unpacked has no type, which costs much where compiled.
    rtype: int
    rclass: int
    rdlength: int
    at = body_at
    for _ in range(octets[6] << 8 | octets[7]):
        begin = at
        owner, at = names.read(at)
        owner = owner.lower()
        rtype, rclass, _ttl, rdlength = wire.RECORD.unpack_from(octets, at)
        at += 10
        if rclass != wire.CLASS_IN:
            has_foreign = True
            at += rdlength
            continue
        if rtype == CNAME:
            aliases.cnames.setdefault(owner, names.read(at)[0].lower())
        elif rtype == DNAME:
            aliases.dnames.setdefault(owner, names.read(at)[0].lower())
        elif rtype in _SIGNATURES and rtype != qtype:
            rtype = -(octets[at] << 8 | octets[at + 1])  # the type that it covers
        records.append((begin, owner, rtype))
        at += rdlength
    chain, is_whole = _walk(qname, aliases)
    last = chain[-1]
    members = set(chain)
    kept = []
    owners = []
    has_end = False
    for begin, owner, rtype in records:
        kind = abs(rtype)
        if owner in members:
            if qtype != wire.ANY and kind not in (qtype, CNAME, DNAME):
                continue
            has_end = has_end or (owner == last and rtype == qtype)
        elif kind != DNAME or owner not in aliases.used:
            continue
        kept.append(begin)
        owners.append(owner)
    is_shuffled = len(chain) > 1 and _put_in_order(kept, owners, chain)
    is_open = is_whole and not has_end and len(chain) > 1
    return Chain(
        kept,
        owners,
        chain,
        last if is_open and qtype not in (CNAME, wire.ANY) else b"",
        has_foreign=has_foreign or is_shuffled or len(kept) != len(records),
        is_whole=is_whole,
    )


def _put_in_order(kept: list[int], owners: list[bytes], chain: list[bytes]) -> bool:
    """Sort records by where *chain* comes to their owners; return if they were not.

    Stub resolvers go through the answer once, and find no end that comes first.
    """
    rank_of = {name: 2 * index + 1 for index, name in enumerate(chain)}
    for owner in owners:
        if owner not in rank_of:
            # DNAME, ahead of the CNAME of the name that is below it.
            below = (rank for name, rank in rank_of.items() if name.endswith(owner))
            rank_of[owner] = next(below, 1) - 1
    ranks = [rank_of[owner] for owner in owners]
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    kept[:] = [kept[index] for index in order]
    owners[:] = [owners[index] for index in order]
    return order != list(range(len(order)))


def _walk(qname: bytes, aliases: _Aliases) -> tuple[list[bytes], bool]:
    """Return *qname* and the names it leads to, and whether they come to an end."""
    chain, met = [qname], {qname}
    while True:
        following = aliases.next(chain[-1])
        if following is None:
            return chain, True
        if following in met or len(chain) > MAX_ALIASES:
            return chain, False
        chain.append(following)
        met.add(following)


def scrubbed(octets: bytes, body_at: int, kept: list[int]) -> bytes:
    """Return the message with those records only in its answer that begin at *kept*.

    They stand in that order, all names are in full, and what :func:`_copied` leaves out
    is left out everywhere.

    Raises:
        WireError: with its names in full it would be too long for a message.
    """
    answers, authorities, additionals = wire.HEADER.unpack_from(octets)[3:]
    qname, names = octets[wire.HEADER_OCTETS : body_at - 4], Names(octets)
    wanted = {begin: index for index, begin in enumerate(kept)}
    first, at, answers = _copied(octets, names, body_at, answers, qname, wanted)
    second, at, authorities = _copied(octets, names, at, authorities, qname)
    third, _at, additionals = _copied(octets, names, at, additionals, qname)
    counts = wire.COUNTS.pack(answers, authorities, additionals)
    return _bounded(octets[:6] + counts + octets[12:body_at] + first + second + third)


def may_lead_on(octets: bytes) -> bool:
    """Return whether there may be an alias among records; no for nearly all."""
    # Python's `in` tries such octets for a number first, by way of an exception.
    return octets.find(_ALIAS) >= 0 or octets.find(_ENDING_ALIAS) >= 0


def ends_too_long(octets: bytes, body_at: int) -> bool:
    """Return whether the answer ends below a DNAME record that makes no name of it.

    Its records have been checked.
    """
    if _ENDING_ALIAS not in octets:
        return False
    chain = follow(octets, body_at)
    # Nothing but DNAME records is kept that is above a name. One above the last name
    # would have led on, if what it leads to was not too long.
    above = frozenset(islice(ancestors(chain.names[-1]), 1, None))
    owners = above.intersection(chain.owners).difference(chain.names)
    return chain.is_whole and bool(owners)


def ahead_of(octets: bytes, body_at: int, chain: Chain, index: int) -> bytes:
    """Return the message with no records but the aliases ahead of a name of *chain*.

    *index* is that of the name. DNAME records, whose owners are above names, stay.

    Raises:
        WireError: with its names in full it would be too long for a message.
    """
    ahead = frozenset(chain.names[:index])
    behind = frozenset(chain.names[index:])
    wanted = {
        begin: index
        for index, (begin, owner) in enumerate(
            zip(chain.kept, chain.owners, strict=True)
        )
        if owner in ahead or owner not in behind
    }
    qname, names = octets[wire.HEADER_OCTETS : body_at - 4], Names(octets)
    answers = octets[6] << 8 | octets[7]
    body, _at, answers = _copied(octets, names, body_at, answers, qname, wanted)
    counts = wire.COUNTS.pack(answers, 0, 0)
    return _bounded(octets[:6] + counts + octets[12:body_at] + body)


def joined(first: bytes, second: bytes) -> bytes:
    """Return the message *first* with what *second* says about where its aliases lead.

    *second* is a response to the name that *first* ends with. Flags, response code, and
    all behind the answer are those of *second*, but AD takes both.

    Raises:
        WireError: a question or record is malformed, or it would be too long.
    """
    body_at, second_at = wire.question_end(first), wire.question_end(second)
    if body_at < 0 or second_at < 0:
        raise WireError("no question to join")
    flags, _, answers = wire.HEADER.unpack_from(first)[1:4]
    said, _, more, authorities, additionals = wire.HEADER.unpack_from(second)[1:6]
    said &= flags | ~wire.AD
    qname = first[wire.HEADER_OCTETS : body_at - 4]
    body, _at, answers = _copied(first, Names(first), body_at, answers, qname)
    names = Names(second)
    added, at, more = _copied(second, names, second_at, more, qname)
    denied, at, authorities = _copied(second, names, at, authorities, qname)
    rest, _at, additionals = _copied(second, names, at, additionals, qname)
    header = wire.HEADER.pack(0, said, 1, answers + more, authorities, additionals)
    head = first[:2] + header[2:] + first[12:body_at]
    return _bounded(head + body + added + denied + rest)


def _copied(
    octets: bytes,
    names: Names,
    at: int,
    count: int,
    qname: bytes,
    wanted: dict[int, int] | None = None,
) -> tuple[bytes, int, int]:
    """Return the *wanted* of *count* records from *at*, their end, and their number.

    *wanted* has the index of each by where it begins; without it all stay. Names are in
    full; owners that are *qname* become a pointer to the question they are to stand
    behind. Left out are records of another class than IN, what is for the next hop
    alone, and what follows an OPT record, which nobody checked.
    """
    qname = qname.lower()
    room = wire.TCP_PAYLOAD_OCTETS
    pieces: list[tuple[int, bytes]] = []
    for number in range(count):
        begin = at
        fixed_at = names.end(at)
        rtype, rclass, _ttl, rdlength = wire.RECORD.unpack_from(octets, fixed_at)
        at = fixed_at + 10 + rdlength
        if rtype == wire.OPT:
            pieces.append((number, b"\0" + octets[fixed_at:at]))
            break
        if rclass != wire.CLASS_IN or rtype in HOP_BY_HOP:
            continue
        if wanted is None or begin in wanted:
            owner, rest = expanded(names, octets, begin)
            if owner.lower() == qname:
                owner = _POINTER_TO_QUESTION
            room -= len(owner) + len(rest)
            if room < 0:
                raise WireError(_TOO_LONG)
            index = number if wanted is None else wanted[begin]
            pieces.append((index, owner + rest))
    pieces.sort()
    return b"".join(piece for _index, piece in pieces), at, len(pieces)


def _bounded(message: bytes) -> bytes:
    if len(message) > wire.TCP_PAYLOAD_OCTETS:
        raise WireError(_TOO_LONG)
    return message

"""Where the aliases of an upstream's response lead: home, on to a name, or nowhere.

Pure: what is to be done is for the caller to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.chain import ahead_of, follow, joined, may_lead_on
from dnsfront.dns.response import NEVER_KEPT, Response, parse_response
from dnsfront.worker.upstreams.fetch import Fetch

#: Names asked for one after the other because each was an alias of the next.
_MAX_RESTARTS: Final = 11
#: The longest response whose aliases are followed: it is kept until they are.
_MAX_PARTIAL_OCTETS: Final = 4096
#: Types and class of questions whose answer is the alias itself: CNAME, ANY.
_NOT_FOLLOWED: Final = (b"\0\5\0\1", b"\0\xff\0\1")

#: Returns what a zone of ours says to a canonical question in a view, None where none
#: is asked.
LocalMessage = Callable[[int, bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Lead:
    """What the aliases of a response lead to.

    `response` has all of it, if that is known; it `is_lame` if the server had nothing
    to say at all. If it is not known, `target` is to be asked for, which the aliases of
    the response `octets` end with; empty, there is no such name: they lead back to each
    other, or are too many.
    """

    response: Response | None = None
    is_lame: bool = False
    target: bytes = b""
    octets: bytes = b""


_NOWHERE: Final = Lead()


def lead_of(
    fetch: Fetch,
    octets: bytes,
    response: Response,
    local_message: LocalMessage | None,
    is_elsewhere: Callable[[bytes, bytes], bool] | None,
) -> Lead:
    """Return what the aliases of the *response* to *fetch* lead to.

    Raises:
        WireError: what was joined is malformed or too long.
    """
    if local_message is not None and may_lead_on(octets):
        octets, response = _led_away(
            fetch, octets, response, local_message, is_elsewhere
        )
    if fetch.view & 1 == 0:
        return Lead(response)  # nobody wants recursion
    if response.is_lame:
        return Lead(response, is_lame=True)
    if fetch.partial:
        octets = joined(fetch.partial, octets)
        response = _parse_joined(fetch, octets, fetch.canonical)
        if fetch.is_of_zone:
            # RFC 1035, 4.1.1: AA belongs to the first owner name of the answer.
            flags = (response.head[0] | wire.AA >> 8, *response.head[1:])
            response.head = bytes(flags)
    target = response.target
    if target in (b"", fetch.asked[:-4]):
        is_endless = _leads_nowhere(fetch, octets, response)
        return _NOWHERE if is_endless else Lead(response)
    if fetch.restarts >= _MAX_RESTARTS or len(octets) > _MAX_PARTIAL_OCTETS:
        return _NOWHERE
    return Lead(target=target, octets=octets)


def _led_away(
    fetch: Fetch,
    octets: bytes,
    response: Response,
    local_message: LocalMessage,
    is_elsewhere: Callable[[bytes, bytes], bool] | None,
) -> tuple[bytes, Response]:
    """Return the *response*, from where its aliases lead to a zone of ours.

    What an upstream says of such a name is not what clients who ask for it get. Where
    they lead to a name that another pool is asked for, the response ends there.

    Raises:
        WireError: together they are too long.
    """
    asked = fetch.asked
    if asked[-4:] in _NOT_FOLLOWED:
        return octets, response
    body_at = wire.HEADER_OCTETS + len(asked)
    chain = follow(octets, body_at)
    for i, name in enumerate(chain.names[1:], 1):
        local = local_message(fetch.view, name + asked[-4:])
        if local is not None:
            octets = joined(ahead_of(octets, body_at, chain, i), local)
            return octets, _parse_joined(fetch, octets, asked)
        if is_elsewhere is not None and is_elsewhere(asked, name + asked[-4:]):
            octets = ahead_of(octets, body_at, chain, i)
            # The code was about what the aliases lead to.
            octets = octets[:3] + bytes((octets[3] & ~wire.RCODE_MASK,)) + octets[4:]
            return octets, _parse_joined(fetch, octets, asked)
    return octets, response


def _parse_joined(fetch: Fetch, octets: bytes, canonical: bytes) -> Response:
    """Return the response to *canonical* that was joined from several.

    It is kept if all of them may be.

    Raises:
        WireError: a record in it is cut or malformed.
    """
    response = parse_response(octets, wire.HEADER_OCTETS + len(canonical))
    if fetch.is_unsigned:
        response.ttl_s = NEVER_KEPT
    return response


def _leads_nowhere(fetch: Fetch, octets: bytes, response: Response) -> bool:
    """Return whether all there is are aliases that lead back to each other."""
    if response.ttl_s != NEVER_KEPT or not response.has_answers or response.rcode:
        return False
    body_at = wire.question_end(octets)
    return fetch.canonical[-4:] not in _NOT_FOLLOWED and not (
        follow(octets, body_at).is_whole
    )

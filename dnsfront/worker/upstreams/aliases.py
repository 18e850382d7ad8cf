"""Where the aliases of an upstream's response lead: home, on to a name, or nowhere."""

from __future__ import annotations

from typing import Final, Protocol

from dnsfront.dns import wire
from dnsfront.dns.chain import ahead_of, follow, joined, may_lead_on
from dnsfront.dns.response import NEVER_KEPT, Response, parse_response
from dnsfront.errors import WireError
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.outcomes import Outcomes
from dnsfront.worker.upstreams.server import Server

#: Names asked for one after the other because each was an alias of the next.
_MAX_RESTARTS: Final = 11
#: The longest response whose aliases are followed: it is kept until they are.
_MAX_PARTIAL_OCTETS: Final = 4096
#: Types and class of questions whose answer is the alias itself: CNAME, ANY.
_NOT_FOLLOWED: Final = (b"\0\5\0\1", b"\0\xff\0\1")


class Asking(Protocol):
    """The pool, as far as it is needed here."""

    def refused(self, fetch: Fetch, server: Server, response: Response) -> None:
        """Go on without a server that could not say."""

    def failed(self, fetch: Fetch) -> None:
        """Try the next server, or give up."""

    def give_up(self, fetch: Fetch) -> None:
        """Answer SERVFAIL, and remember it."""

    def restart(self, fetch: Fetch, octets: bytes, target: bytes) -> None:
        """Ask for the target that the aliases of a response end with."""


class Aliases:
    """Follows the aliases of responses, and has asked what they lack."""

    def __init__(self, asking: Asking, outcomes: Outcomes) -> None:
        self._asking = asking
        self._outcomes = outcomes

    def whole(
        self, fetch: Fetch, server: Server, octets: bytes, response: Response
    ) -> Response | None:
        """Return the *response* with all that its aliases lead to, if that is known.

        If not it is asked for, or, where *server* had nothing to say at all, another.
        """
        try:
            if self._outcomes.local_message is not None and may_lead_on(octets):
                octets, response = self._led_home(fetch, octets, response)
            if fetch.view & 1 == 0:
                return response  # nobody wants recursion
            if response.is_lame:
                self._asking.refused(fetch, server, response)
                return None
            if fetch.partial:
                octets = joined(fetch.partial, octets)
                response = _parse_joined(fetch, octets, fetch.canonical)
        except WireError:
            if server is fetch.server:
                self._asking.failed(fetch)
            return None
        return self._continued(fetch, octets, response)

    def _continued(
        self, fetch: Fetch, octets: bytes, response: Response
    ) -> Response | None:
        """Return the *response*, or ask for where its aliases lead, or give up."""
        target = response.target
        if target in (b"", fetch.asked[:-4]):
            if _leads_nowhere(fetch, octets, response):
                self._asking.give_up(fetch)
                return None
            return response
        if fetch.restarts >= _MAX_RESTARTS or len(octets) > _MAX_PARTIAL_OCTETS:
            self._asking.give_up(fetch)
            return None
        self._asking.restart(fetch, octets, target)
        return None

    def _led_home(
        self, fetch: Fetch, octets: bytes, response: Response
    ) -> tuple[bytes, Response]:
        """Return the *response*, from where its aliases lead to a zone of ours.

        What an upstream says of such a name is not what clients who ask for it get.

        Raises:
            WireError: together they are too long.
        """
        asked, local_message = fetch.asked, self._outcomes.local_message
        if local_message is None or asked[-4:] in _NOT_FOLLOWED:
            return octets, response
        body_at = wire.HEADER_OCTETS + len(asked)
        chain = follow(octets, body_at)
        for i, name in enumerate(chain.names[1:], 1):
            local = local_message(name + asked[-4:])
            if local is not None:
                octets = joined(ahead_of(octets, body_at, chain, i), local)
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

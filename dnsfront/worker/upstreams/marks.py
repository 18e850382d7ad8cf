"""What the queries to one server have that a forger would have to guess.

Pure: no socket, no clock.
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.worker.upstreams.cookies import Cookies
from dnsfront.worker.upstreams.letters import Letters

#: In the third octet of a message: there is more, to be asked for over TCP.
_TC: Final = 2


class Marks:
    """Letters, cookies, or both, on queries over UDP; at least one of them."""

    __slots__ = ("_cookies", "_letters")

    def __init__(self, letters: Letters | None, cookies: Cookies | None) -> None:
        self._letters = letters
        self._cookies = cookies

    def put_on(self, query: bytes, question: bytes, now_ns: int) -> bytes:
        """Return *query*, which asks *question* in small letters, with the marks."""
        if self._letters is not None:
            query = self._letters.spell(query, question, now_ns)
        if self._cookies is not None:
            query = self._cookies.put_into(query)
        return query

    def read(self, response: bytes, question: bytes, now_ns: int) -> bytes:
        """Return *response* to *question* in small letters, or cut off if doubtful."""
        is_proof = self._cookies is None or self._cookies.is_proof(response, now_ns)
        if self._letters is not None:
            is_proof &= self._letters.is_proof(response, question, now_ns)
            end = wire.HEADER_OCTETS + len(question)
            response = response[: wire.HEADER_OCTETS] + question + response[end:]
        if is_proof:
            return response
        return response[:2] + bytes((response[2] | _TC,)) + response[3:]

"""Those who wait for a response, whatever way their query came."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from dnsfront.dns.shape import Shape


class Waiter:
    """A query that waits for its response, and the way back to who asked.

    *question* is spelled as the client did, *shape* says how the response is to look,
    *received_at_ns* is monotonic. *is_to_answer* tells that this worker is to answer,
    whoever owns the name: the query was steered or handed over.
    """

    __slots__ = ("identity", "is_to_answer", "question", "received_at_ns", "shape")

    #: Whether the query came over a connection: its client's address is proven, and a
    #: response of any length has room.
    is_stream: ClassVar[bool] = False

    identity: bytes
    question: bytes
    shape: Shape
    received_at_ns: int
    is_to_answer: bool

    def is_at(self, listeners: Collection[object]) -> bool:
        """Return whether the response leaves through one of these UDP listeners."""
        del listeners
        return False

    def client(self) -> bytes:
        """Return what the client is counted under, nothing if that is not known."""
        return b""

    def address(self) -> bytes:
        """Return the packed address of the client, nothing if that is not known."""
        return b""

    def cookie_address(self) -> bytes:
        """Return the packed address that a cookie of the client is for."""
        return self.address()

    def is_wanted(self) -> bool:
        """Return whether a response is of use, as far as is known."""
        return True

    def respond(self, message: bytes) -> None:
        """Send *message*; if the client is gone, nothing happens."""
        raise NotImplementedError

    def hand_over(self, worker_id: int, octets: bytes) -> bool:
        """Pass the query *octets* to its owner; return whether it could be sent."""
        raise NotImplementedError

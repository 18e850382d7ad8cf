"""Proofs that something is not there, from the NSEC or NSEC3 records of a signed zone.

Whoever signed the zone made them; here the right ones are found (RFC 4035, 3.1.3;
RFC 5155, 7.2) and added to the authority section.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Final, Protocol

from dnsfront.dns.names import ancestors
from dnsfront.dns.zones.image import Image, Node, hashed_owner
from dnsfront.dns.zones.message import ZoneMessage
from dnsfront.dns.zones.records import NSEC, NSEC3, NSEC3PARAM

_WILDCARD: Final = b"\1*"


class Proofs(Protocol):
    """What proves that something is not in a zone, each added to a message."""

    def of_type(self, message: ZoneMessage, name: bytes, node: Node) -> None:
        """Prove that *name*, which has *node*, lacks the type."""

    def of_name(self, message: ZoneMessage, name: bytes, encloser: bytes) -> None:
        """Prove that there is no *name*, and no wildcard below its *encloser*."""

    def of_closer(self, message: ZoneMessage, name: bytes, encloser: bytes) -> None:
        """Prove that nothing is closer to *name* than the wildcard of *encloser*."""

    def of_wildcard_type(
        self, message: ZoneMessage, name: bytes, encloser: bytes, node: Node
    ) -> None:
        """Prove that the wildcard of *encloser*, which has *node*, lacks the type."""

    def of_signer(self, message: ZoneMessage, cut: bytes, node: Node) -> None:
        """Prove that a delegation, which has *node*, is without DS records."""


class ByName:
    """Denials by NSEC, which names the next name in the order of RFC 4034, 6.1."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def of_type(self, message: ZoneMessage, name: bytes, node: Node) -> None:
        """See :class:`Proofs`."""
        if NSEC in node:
            self._add(message, name, node)
        else:
            self._cover(message, name)  # it exists by those below it alone

    def of_name(self, message: ZoneMessage, name: bytes, encloser: bytes) -> None:
        """See :class:`Proofs`."""
        self._cover(message, name)
        self._cover(message, _WILDCARD + encloser)

    def of_closer(self, message: ZoneMessage, name: bytes, encloser: bytes) -> None:
        """See :class:`Proofs`."""
        del encloser
        self._cover(message, name)

    def of_wildcard_type(
        self, message: ZoneMessage, name: bytes, encloser: bytes, node: Node
    ) -> None:
        """See :class:`Proofs`."""
        self._cover(message, name)
        self.of_type(message, _WILDCARD + encloser, node)

    def of_signer(self, message: ZoneMessage, cut: bytes, node: Node) -> None:
        """See :class:`Proofs`."""
        self._add(message, cut, node)

    def _cover(self, message: ZoneMessage, name: bytes) -> None:
        owner, node = self._image.before(name)
        self._add(message, owner, node)

    def _add(self, message: ZoneMessage, owner: bytes, node: Node) -> None:
        rrset = node.get(NSEC)
        if rrset is not None:
            message.add_proof(owner, rrset, node)


class ByHash:
    """Denials by NSEC3, which does the same for hashes of names."""

    def __init__(self, image: Image, parameters: bytes) -> None:
        """Take the data of the zone's NSEC3PARAM record."""
        self._image = image
        self._apex = image.origin
        self._iterations = int.from_bytes(parameters[2:4], "big")
        self._salt = parameters[5:]

    def of_type(self, message: ZoneMessage, name: bytes, node: Node) -> None:
        """See :class:`Proofs`."""
        del node
        if not self._match(message, name):
            # RFC 5155, 7.2.4: below an opt-out the closest name is proved.
            self._closest(message, name, name)

    def of_name(self, message: ZoneMessage, name: bytes, encloser: bytes) -> None:
        """See :class:`Proofs`."""
        encloser = self._closest(message, name, encloser)
        self._cover(message, _WILDCARD + encloser)

    def of_closer(self, message: ZoneMessage, name: bytes, encloser: bytes) -> None:
        """See :class:`Proofs`."""
        self._cover(message, _next_closer(name, encloser))

    def of_wildcard_type(
        self, message: ZoneMessage, name: bytes, encloser: bytes, node: Node
    ) -> None:
        """See :class:`Proofs`."""
        del node
        self._closest(message, name, encloser)
        self._match(message, _WILDCARD + encloser)

    def of_signer(self, message: ZoneMessage, cut: bytes, node: Node) -> None:
        """See :class:`Proofs`."""
        self.of_type(message, cut, node)

    def _closest(self, message: ZoneMessage, name: bytes, encloser: bytes) -> bytes:
        """Prove which is the closest name above *name*, and return it."""
        for above in self._up_from(encloser):
            if above != name and self._match(message, above):
                self._cover(message, _next_closer(name, above))
                return above
        return encloser

    def _up_from(self, name: bytes) -> Iterator[bytes]:
        for above in ancestors(name):
            yield above
            if above == self._apex:
                return

    def _match(self, message: ZoneMessage, name: bytes) -> bool:
        owner = self._owner(name)
        node = self._image.get(hashed_owner(owner))
        if node is not None:
            self._add(message, owner, node)
        return node is not None

    def _cover(self, message: ZoneMessage, name: bytes) -> None:
        found, node = self._image.before(hashed_owner(self._owner(name)))
        self._add(message, found[1:], node)

    def _add(self, message: ZoneMessage, owner: bytes, node: Node) -> None:
        rrset = node.get(NSEC3)
        if rrset is not None:
            message.add_proof(owner, rrset, node)

    def _owner(self, name: bytes) -> bytes:
        """Return the owner of the NSEC3 record for *name* (RFC 5155, 5)."""
        salt = self._salt
        digest = hashlib.sha1(name + salt, usedforsecurity=False).digest()
        for _ in range(self._iterations):
            digest = hashlib.sha1(digest + salt, usedforsecurity=False).digest()
        label = base64.b32hexencode(digest).lower()
        return bytes((len(label),)) + label + self._apex


def _next_closer(name: bytes, encloser: bytes) -> bytes:
    """Return the name one label longer than *encloser*, on the way down to *name*."""
    closer = name
    for above in ancestors(name):
        if above == encloser:
            break
        closer = above
    return closer


def denial_of(image: Image, apex: Node) -> Proofs | None:
    """Return what proves denials in a zone whose origin has *apex*, None if unsigned.

    Of NSEC3 chains the one is taken that :data:`NSEC3PARAM` names first.
    """
    if not image.has_chain:
        return None
    parameters = apex.get(NSEC3PARAM)
    if NSEC in apex or parameters is None:
        return ByName(image)
    return ByHash(image, parameters.rdatas[0])

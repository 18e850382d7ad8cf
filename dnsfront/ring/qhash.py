"""From a query name to its slot, exactly as the kernel program computes it.

The hash is keyed, so that nobody who does not know the seed can aim names at one
worker. Its twin in BPF and this one are bound by ``tests/vectors/qhash.json``.
"""

from __future__ import annotations

import hashlib

from siphash24 import siphash13


def hash_key(seed: str) -> bytes:
    """Return the 16 octets that key the hash; equal seeds give equal keys."""
    return hashlib.blake2b(
        seed.encode(), digest_size=16, person=b"dnsfront-qhash"
    ).digest()


def qname_digest(qname: bytes, key: bytes) -> int:
    """Return SipHash-1-3 of *qname* under *key*, in 64 bits.

    *qname* is lower-case wire form without the root label: ``b""`` is the root.
    """
    digest: int = siphash13(qname, key=key).intdigest()
    return digest & 0xFFFFFFFFFFFFFFFF


def qname_hash(qname: bytes, key: bytes) -> int:
    """Return the low 32 bits of :func:`qname_digest`, which placement goes by.

    The kernel calls this function hsiphash on 64-bit machines.
    """
    return qname_digest(qname, key) & 0xFFFFFFFF


def slot_of(hash32: int, slots: int) -> int:
    """Return the slot of a hash: a multiplication, so *slots* may be any number."""
    return (hash32 * slots) >> 32

from __future__ import annotations

import json
import os
import random
import struct
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from dnsfront.kernel.loader import Job, Loading
from dnsfront.kernel.programs import Program
from dnsfront.ring.qhash import qname_hash, slot_of
from tests.kern.bpf import SCHED_CLS, run_program
from tests.kern.lab import HASH_KEY
from tests.kern.queries import QNAME_OCTETS_MAX, query, random_qname

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
QHASH = Program(_HERE / "qhash.bpf.c", numbers=("KEY0", "KEY1"))
VECTORS = json.loads((_HERE.parent / "vectors" / "qhash.json").read_text("utf-8"))
#: An EtherType for experiments: the kernel would want whole headers behind a known one.
ETHERNET_HEADER = bytes(12) + b"\x88\xb5"


@contextmanager
def hashing(key: bytes) -> Iterator[int]:
    """The kernel's hash under *key*, as a program to be run."""
    key0, key1 = struct.unpack("<QQ", key)
    fd = Loading(Job(QHASH, "qhash", {"KEY0": key0, "KEY1": key1}, SCHED_CLS)).wait(20)
    try:
        yield fd
    finally:
        os.close(fd)


def test_kernel_agrees_with_the_vectors() -> None:
    by_key = sorted(VECTORS, key=itemgetter("key_hex"))
    for key_hex, vectors in groupby(by_key, key=itemgetter("key_hex")):
        with hashing(bytes.fromhex(key_hex)) as fd:
            for vector in vectors:
                qname = bytes.fromhex(vector["name_hex"])
                in_kernel = run_program(fd, ETHERNET_HEADER + query(qname))
                assert in_kernel == vector["hash"], vector
                assert slot_of(in_kernel, vector["slots"]) == vector["slot"]


def test_kernel_agrees_with_the_model_at_every_length() -> None:
    rng = random.Random(6)
    with hashing(HASH_KEY) as fd:
        for octets in range(QNAME_OCTETS_MAX + 1):
            for _ in range(8):
                qname = random_qname(rng, octets)
                in_kernel = run_program(fd, ETHERNET_HEADER + query(qname))
                assert in_kernel == qname_hash(qname.lower(), HASH_KEY), qname


def test_every_octet_is_folded_as_in_the_model() -> None:
    with hashing(HASH_KEY) as fd:
        for octet in range(256):
            qname = bytes([9]) + bytes([octet]) * 9
            in_kernel = run_program(fd, ETHERNET_HEADER + query(qname))
            assert in_kernel == qname_hash(qname.lower(), HASH_KEY), octet


def test_what_follows_the_name_does_not_enter_the_hash() -> None:
    rng = random.Random(7)
    with hashing(HASH_KEY) as fd:
        for octets in (0, 2, 7, 8, 9, 17, 64, 254):
            qname = random_qname(rng, octets)
            frames = {
                query(qname, rest=rng.randbytes(rest)) for rest in (0, 1, 7, 8, 300)
            }
            hashes = {run_program(fd, ETHERNET_HEADER + frame) for frame in frames}
            assert hashes == {qname_hash(qname.lower(), HASH_KEY)}

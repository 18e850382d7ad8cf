"""The hash of names: against vectors, and against an implementation of its own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.ring.qhash import hash_key, qname_hash, slot_of
from tests.vectors import make_qhash

VECTORS = json.loads(make_qhash.PATH.read_text(encoding="ascii"))


def labels_of(name: bytes) -> list[bytes]:
    labels = []
    while name:
        length = name[0]
        assert 1 <= length <= 63
        assert len(name) > length
        labels.append(name[1 : 1 + length])
        name = name[1 + length :]
    return labels


@pytest.mark.parametrize(
    ("length", "hash32"),
    [
        (0, 0x050FC4DC),
        (1, 0x7D57CA93),
        (2, 0x4DC7D44D),
        (8, 0x8D299A8E),
        (15, 0x2A519956),
        (63, 0xB7BBB3A8),
    ],
)
def test_hash_is_the_one_the_kernel_tests_itself_with(length: int, hash32: int) -> None:
    # hsiphash() of the octets 0, 1, 2, ... in Linux, lib/siphash_kunit.c.
    assert qname_hash(bytes(range(length)), bytes(range(16))) == hash32


@given(data=st.binary(max_size=300), key=st.binary(min_size=16, max_size=16))
def test_hash_is_the_low_half_of_siphash_1_3(data: bytes, key: bytes) -> None:
    assert qname_hash(data, key) == make_qhash.siphash13(data, key) & 0xFFFFFFFF


def test_every_vector_holds() -> None:
    for vector in VECTORS:
        key = hash_key(vector["seed"])
        hash32 = qname_hash(bytes.fromhex(vector["name_hex"]).lower(), key)

        assert key.hex() == vector["key_hex"]
        assert hash32 == vector["hash"]
        assert slot_of(hash32, vector["slots"]) == vector["slot"]


def test_vectors_are_what_their_script_writes() -> None:
    assert make_qhash.vectors() == VECTORS


def test_vectors_cover_what_names_can_be() -> None:
    names = [bytes.fromhex(vector["name_hex"]) for vector in VECTORS]
    labels = [labels_of(name) for name in names]

    # A name of one octet does not exist: a label takes two.
    assert {len(name) for name in names} == {0, *range(2, 255)}
    assert {len(of_name) for of_name in labels} >= {0, 1, 2, 126, 127}
    assert {octet for of_name in labels for octet in b"".join(of_name)} == {*range(256)}
    assert {vector["slots"] for vector in VECTORS} >= {1, 1000, 55440, 65536, 1 << 20}
    assert len({vector["key_hex"] for vector in VECTORS}) == 5


@pytest.mark.parametrize("slots", [1, 2, 1000, 55440, 65536, 1 << 20])
def test_slots_span_the_whole_of_the_hash(slots: int) -> None:
    assert slot_of(0, slots) == 0
    assert slot_of(0xFFFFFFFF, slots) == slots - 1


def test_seed_changes_the_key() -> None:
    assert hash_key("a") != hash_key("b")
    assert len(hash_key("")) == 16

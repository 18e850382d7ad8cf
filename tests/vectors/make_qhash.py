"""Writes ``qhash.json``, which binds the two twins of the qname hash to each other.

    python -m tests.vectors.make_qhash

Nothing of the product is used here: the hash is written out from the paper, the key
and the slot from their definitions, so a mistake in one of them shows.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

PATH = Path(__file__).with_name("qhash.json")

_MASK = (1 << 64) - 1
_LONGEST_NAME = 254  # octets, without the root label
_SEEDS = ("", "any text", "lab", "Säntis ☃", "s" * 40)
_SLOTS = (65536, 55440, 1, 2, 1000, 65520, 1048576)


def siphash13(data: bytes, key: bytes) -> int:
    """Return SipHash-1-3-64 as Aumasson and Bernstein define it."""
    k0 = int.from_bytes(key[:8], "little")
    k1 = int.from_bytes(key[8:], "little")
    state = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    padding = bytes(7 - len(data) % 8) + bytes((len(data) & 0xFF,))
    padded = data + padding
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        state[3] ^= word
        state = _sip_round(*state)
        state[0] ^= word
    state[2] ^= 0xFF
    for _ in range(3):
        state = _sip_round(*state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip_round(v0: int, v1: int, v2: int, v3: int) -> list[int]:
    v0 = (v0 + v1) & _MASK
    v1 = _rotated(v1, 13) ^ v0
    v0 = _rotated(v0, 32)
    v2 = (v2 + v3) & _MASK
    v3 = _rotated(v3, 16) ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = _rotated(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = _rotated(v1, 17) ^ v2
    v2 = _rotated(v2, 32)
    return [v0, v1, v2, v3]


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK


def vectors() -> list[dict[str, str | int]]:
    """Return every vector; equal on every run."""
    return [_vector(number, name) for number, name in enumerate(_names())]


def _vector(number: int, name: bytes) -> dict[str, str | int]:
    seed = _SEEDS[number % len(_SEEDS)]
    slots = _SLOTS[number // len(_SEEDS) % len(_SLOTS)]
    key = hashlib.blake2b(
        seed.encode(), digest_size=16, person=b"dnsfront-qhash"
    ).digest()
    folded = bytes(octet + 32 if 65 <= octet <= 90 else octet for octet in name)
    hash32 = siphash13(folded, key) & 0xFFFFFFFF
    return {
        "seed": seed,
        "key_hex": key.hex(),
        "name_hex": name.hex(),
        "hash": hash32,
        "slots": slots,
        "slot": hash32 * slots // 2**32,
    }


def _names() -> list[bytes]:
    """Return names in wire form without the root label, letters in any case."""
    names = [b""]
    # Every length that a name can have, so every remainder of every word.
    names += [
        _of_length(length, letters=(length // 8 + length) % 2 == 0)
        for length in range(2, _LONGEST_NAME + 1)
    ]
    # Every octet, as the whole of a label and within one.
    for octet in range(256):
        names.append(_wire(bytes((octet,))))
        names.append(_wire(b"a" + bytes((octet,)) + b"z", b"example", b"test"))
    # Every mix of cases of a short name, and one name in the cases people use.
    for mix in range(1 << 5):
        cased = bytes(b"abcde"[bit] - 32 * (mix >> bit & 1) for bit in range(5))
        names.append(_wire(cased, b"test"))
    names += [
        _wire(b"www", b"example", b"test"),
        _wire(b"WWW", b"EXAMPLE", b"TEST"),
        _wire(b"wWw", b"eXaMpLe", b"TeSt"),
    ]
    # From one label to 127, the most there can be; labels as long as labels get.
    names += [_wire(*[b"x"] * labels) for labels in (1, 2, 3, 4, 63, 64, 126, 127)]
    names += [_wire(b"Q" * length) for length in range(1, 64)]
    names.append(_wire(b"L" * 63, b"m" * 63, b"N" * 63, b"o" * 61))
    # A zero octet within a label does not end the name.
    names += [_wire(b"\0"), _wire(b"a\0b", b"test"), _wire(*[b"\0" * 7] * 31)]
    return names


def _wire(*labels: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels)


def _of_length(length: int, *, letters: bool) -> bytes:
    """Return a name of *length* octets, made of letters or of any octets."""
    noise = hashlib.shake_128(b"%d %d" % (length, letters)).digest(length)
    if letters:
        alphabet = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
        noise = bytes(alphabet[octet % len(alphabet)] for octet in noise)
    labels = []
    while length:
        # A label takes two octets or more, so one may never be left over.
        taken = min(length, 2 + noise[length - 1] % 63)
        if length - taken == 1:
            taken += 1 if taken < 64 else -1
        labels.append(noise[length - taken : length - 1])
        length -= taken
    return _wire(*labels)


def main() -> None:
    lines = ",\n".join(json.dumps(vector) for vector in vectors())
    PATH.write_text(f"[\n{lines}\n]\n", encoding="ascii")


if __name__ == "__main__":
    main()

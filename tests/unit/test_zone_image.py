"""The image of a zone: what it holds, and what is refused as one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.zones.compiling import compile_zone
from dnsfront.dns.zones.image import LAYOUT, Image
from dnsfront.errors import ZoneError
from tests.unit.asking import HEAD

ORIGIN = qname_from_text("example.test")


def image_octets(text: str) -> bytes:
    pieces, _records = compile_zone("example.test", text, "z")
    return b"".join(pieces)


def test_an_image_knows_its_zone() -> None:
    octets = image_octets(f"{HEAD}a.b.c A 192.0.2.1\nns1 A 192.0.2.53\n")

    image = Image(memoryview(octets))

    assert (image.origin, image.records) == (ORIGIN, 4)
    names = ("example.test", "ns1.example.test", "a.b.c.example.test")
    between = ("b.c.example.test", "c.example.test")
    assert set(image) == {qname_from_text(name) for name in (*names, *between)}


@given(
    names=st.sets(
        st.lists(
            st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20),
            min_size=1,
            max_size=4,
        ).map(".".join),
        max_size=60,
    )
)
def test_every_name_is_found_and_no_other(names: set[str]) -> None:
    text = "".join(f"{name} TXT {name}\n" for name in names)
    image = Image(memoryview(image_octets(HEAD + text)))

    for name in names:
        node = image.get(qname_from_text(f"{name}.example.test"))
        rrset = node and node.get(16)
        assert rrset
        assert rrset.rdatas == (bytes((len(name),)) + name.encode(),)
        other = qname_from_text(f"{name}.{name}.example.test")
        assert (image.get(other) is None) == (other not in set(image))


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 100, id="something else"),
        pytest.param(image_octets(HEAD)[:-1], id="cut"),
        pytest.param(image_octets(HEAD) + b"x", id="too long"),
    ],
)
def test_what_is_no_image_is_refused(octets: bytes) -> None:
    with pytest.raises(ZoneError):
        Image(memoryview(octets))


def test_an_image_of_another_layout_is_refused_with_what_to_do() -> None:
    octets = bytearray(image_octets(HEAD))
    struct.pack_into("<I", octets, 8, LAYOUT + 1)

    with pytest.raises(ZoneError, match=rf"layout {LAYOUT + 1}, want {LAYOUT}; .*rest"):
        Image(memoryview(octets))


def test_a_damaged_image_ends_no_search() -> None:
    octets = bytearray(image_octets(HEAD))
    head = struct.unpack_from("<8s7I", octets)
    for at in range(head[7], len(octets)):
        octets[at] = 0

    with pytest.raises(ZoneError, match="damaged"):
        Image(memoryview(octets)).get(ORIGIN)

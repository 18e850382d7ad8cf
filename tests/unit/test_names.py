"""Names in wire form and as text."""

from __future__ import annotations

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import assume, given

from dnsfront.dns.names import MAX_QNAME_OCTETS, qname_from_text, qname_to_text
from dnsfront.errors import WireError
from tests.unit.queries import names

# Names


@given(names)
def test_qname_comes_back_from_its_text(qname: bytes) -> None:
    assert qname_from_text(qname_to_text(qname)) == qname.lower()


@given(names)
def test_text_of_a_qname_means_the_same_to_dnspython(qname: bytes) -> None:
    text = qname_to_text(qname)

    assert dns.name.from_text(text) == dns.name.from_wire(qname, 0)[0]


@given(names)
def test_dnspython_text_of_a_qname_is_understood(qname: bytes) -> None:
    text = dns.name.from_wire(qname, 0)[0].to_text()
    assume(text.isascii())

    assert qname_from_text(text) == qname.lower()


@pytest.mark.parametrize(
    ("text", "qname"),
    [
        (".", b"\0"),
        ("test", b"\4test\0"),
        ("TEST.", b"\4test\0"),
        (r"a\.b.c", b"\3a.b\1c\0"),
        (r"a\046b", b"\3a.b\0"),
        (r"\000\255", b"\2\0\xff\0"),
        (r"\\", b"\1\\\0"),
        (r"\"", b'\1"\0'),
        ("x" * 63, b"\x3f" + b"x" * 63 + b"\0"),
        (".".join(["x" * 63] * 3 + ["x" * 61]), None),
    ],
    ids=[
        "root",
        "one label",
        "capitals and a final dot",
        "escaped dot",
        "dot by number",
        "smallest and largest octet",
        "backslash",
        "quote",
        "longest label",
        "longest name",
    ],
)
def test_text_is_understood(text: str, qname: bytes | None) -> None:
    found = qname_from_text(text)

    if qname is None:
        assert len(found) == MAX_QNAME_OCTETS
    else:
        assert found == qname


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        ".test",
        "a..b",
        "a..",
        "x" * 64,
        ".".join(["x" * 63] * 3 + ["x" * 62]),
        "bücher.test",
        r"\256",
        r"a\1",
        r"a\12.test",
        "a\\",
    ],
    ids=[
        "empty",
        "two dots",
        "empty first label",
        "empty label",
        "empty last label",
        "label too long",
        "name too long",
        "not ASCII",
        "escape too large",
        "one digit",
        "two digits",
        "backslash at the end",
    ],
)
def test_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        qname_from_text(text)

"""Lists of names: what their text says, and what is found in their images."""

from __future__ import annotations

import random

import pytest

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.rules.names import (
    ACTION_BITS,
    ACTION_MASK,
    AS_RULED,
    DROP,
    NODATA,
    NXDOMAIN,
    PASS,
    NameList,
    NameListWriter,
    list_of,
)
from dnsfront.dns.rules.text import ReadList, read_list
from dnsfront.errors import ListError

POLICY = """\
$TTL 300
@ IN SOA rpz.example. hostmaster.example. (
    1 3600 ; within
    900 604800 60 )
  IN NS localhost.
nx.example CNAME .
*.nx.example 60 IN CNAME .
no.example CNAME *.
*.below.example CNAME .
good.below.example CNAME rpz-passthru.
drop.example CNAME rpz-drop.
absolute.example.rpz.example. CNAME .
data.example A 192.0.2.1
32.1.2.0.192.rpz-ip CNAME .
"""


def image_of(read: ReadList) -> NameList:
    return NameList(memoryview(b"".join(read.writer.pieces())))


def said(names: NameList, name: str) -> int:
    return names.find(qname_from_text(name)) & ACTION_MASK


def matched(names: NameList, name: str) -> str | None:
    """Return the name of the list that decides *name*."""
    found = names.find(qname_from_text(name))
    labels = (found >> ACTION_BITS, qname_from_text(name))
    return None if not found else labels[1][labels[0] :].hex()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("ads.example", ["ads.example"]),
        ("Ads.Example.", ["ads.example"]),
        ("  ads.example\r", ["ads.example"]),
        ("*.ads.example", ["ads.example"]),
        ("_x.ads-1.example # why", ["_x.ads-1.example"]),
        ("zip", ["zip"]),
        ("0.0.0.0 ads.example", ["ads.example"]),
        (
            "127.0.0.1\tads.example www.ads.example #x",
            ["ads.example", "www.ads.example"],
        ),
        (":: ads.example", ["ads.example"]),
        ("fe80::1%lo0 localhost ads.example", ["ads.example"]),
        ("||ads.example^", ["ads.example"]),
        ("||ads.example", ["ads.example"]),
        ("||ads.example^$important", ["ads.example"]),
    ],
)
def test_line_of_each_form_names(line: str, names: list[str]) -> None:
    read = read_list(f"# comment\n! comment\n\n{line}\n".encode())

    assert read.left_out == 0
    assert read.writer.names == len(names)
    assert [said(image_of(read), name) for name in names] == [AS_RULED] * len(names)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1.2.3.4", "want a name"),
        ("ads..example", "want a name, ||name^, or an address and names"),
        ("b\xfccher.example", "want a name, ||name^, or an address and names"),
        ("https://ads.example/x", "want a name, ||name^, or an address and names"),
        (f"{'a' * 64}.example", "want labels of at most 63 octets"),
        (f"{'a.' * 126}example", "want at most 255 octets"),
        ("||ads.example^$third-party", "want ||name^, for other rules are not about"),
        ("||ads*.example^", "want ||name^, for other rules are not about names"),
        ("0.0.0.0 a/b", "want a name behind the address"),
        ("example.com##.banner", "want a name, ||name^, or an address and names"),
    ],
)
def test_broken_line_is_left_out_and_told(line: str, reason: str) -> None:
    read = read_list(f"good.example\n{line}\nother.example\n".encode())

    assert (read.writer.names, read.left_out) == (2, 1)
    [told] = read.told
    assert told.startswith("line 2: got '")
    assert reason in told


def test_many_broken_lines_are_counted_and_the_first_told() -> None:
    read = read_list(b"good.example\n" + b"a b\n" * 100)

    assert read.left_out == 100
    assert len(read.told) == 5


def test_list_without_any_name_is_refused_if_it_has_lines() -> None:
    with pytest.raises(ListError, match="it has no names: line 1: got '<html>'"):
        read_list(b"<html>\n<body>\n")

    assert read_list(b"# nothing yet\n").writer.names == 0


def test_name_matches_itself_and_all_below_it_and_no_neighbour() -> None:
    names = list_of(
        [qname_from_text("ads.example"), qname_from_text("b.a.ads.example")]
    )

    assert [
        bool(said(names, name))
        for name in ("ads.example", "x.ads.example", "a.b.ads.example")
    ] == [True] * 3
    assert [
        bool(said(names, name))
        for name in ("example", "bads.example", "ads.example.com", "ads", ".")
    ] == [False] * 5
    assert matched(names, "x.y.ads.example") == qname_from_text("ads.example").hex()
    longest = matched(names, "c.b.a.ads.example")
    assert longest == qname_from_text("b.a.ads.example").hex()


def test_exception_of_adblock_passes_whatever_is_said_before_or_behind() -> None:
    lines = ["||ads.example^", "@@||good.ads.example^", "||good.ads.example^"]

    for order in (lines, lines[::-1]):
        names = image_of(read_list("\n".join(order).encode()))
        found = [said(names, x) for x in ("ads.example", "good.ads.example")]
        assert found == [AS_RULED, PASS]


def test_policy_zone_says_what_becomes_of_names_and_of_those_below() -> None:
    read = read_list(POLICY.replace("@ IN", "rpz.example. IN").encode())
    names = image_of(read)

    wanted = {
        "nx.example": NXDOMAIN,
        "a.nx.example": NXDOMAIN,
        "no.example": NODATA,
        "a.no.example": 0,
        "below.example": 0,
        "a.below.example": NXDOMAIN,
        "good.below.example": PASS,
        "drop.example": DROP,
        "absolute.example": NXDOMAIN,
        "a.absolute.example": 0,
    }
    assert {name: said(names, name) for name in wanted} == wanted
    assert read.left_out == 2
    assert [x.partition(":")[0] for x in read.told] == ["line 13", "line 14"]


def test_image_finds_what_a_set_finds() -> None:
    draw = random.Random(5)
    labels = [b"a", b"bb", b"ccc", b"d" * 63]

    def name() -> bytes:
        parts = draw.choices(labels, k=draw.randrange(1, 4))
        return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"

    listed = {name() for _ in range(40)}
    names = list_of(sorted(listed))

    for _ in range(2000):
        asked = name()
        starts = [0]
        while asked[starts[-1]]:
            starts.append(starts[-1] + asked[starts[-1]] + 1)
        wanted = next((at for at in starts if asked[at:] in listed), None)
        found = names.find(asked)
        assert (found >> ACTION_BITS if found else None) == wanted


def test_more_names_than_were_expected_find_room() -> None:
    writer = NameListWriter(1)
    wanted = [b"\5n%04d" % number for number in range(1000)]
    for name in wanted:
        writer.add(name, AS_RULED, AS_RULED)
    names = NameList(memoryview(b"".join(writer.pieces())))

    assert (writer.names, names.names) == (1000, 1000)
    assert all(names.find(name + b"\0") for name in wanted)
    assert not names.find(b"\5n1000\0")


def test_image_takes_eight_octets_a_name_beside_the_name() -> None:
    lines = [b"host%06d.example" % number for number in range(10_000)]

    pieces = read_list(b"\n".join(lines)).writer.pieces()

    # A length ahead of each label.
    octets = sum(len(line) + 1 for line in lines)
    assert sum(map(len, pieces)) < octets + 8.01 * len(lines)


@pytest.mark.parametrize(
    "damage",
    [
        lambda image: image[:10],
        lambda image: b"X" + image[1:],
        lambda image: image[:8] + b"\x63" + image[9:],
        lambda image: image[:-1],
        lambda image: image + b"x",
    ],
    ids=["cut head", "magic", "layout", "cut", "longer"],
)
def test_image_that_is_not_whole_is_refused(damage: object) -> None:
    writer = NameListWriter(1)
    writer.add(b"\1a", AS_RULED, AS_RULED)
    image = b"".join(writer.pieces())

    with pytest.raises(ListError):
        NameList(memoryview(damage(image)))  # type: ignore[operator]  # a function

"""Master files: what is read, and what is refused with its place."""

from __future__ import annotations

import contextlib

import dns.name
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfront.dns.zones.text import read_records
from dnsfront.errors import ZoneError
from tests.unit.asking import HEAD, ask, lines, load_zone


@pytest.mark.parametrize(
    ("record", "want"),
    [
        pytest.param("n\tin\ta\t192.0.2.1", "3600 IN A 192.0.2.1", id="lower case"),
        pytest.param("n IN 7 A 192.0.2.1", "7 IN A 192.0.2.1", id="class before TTL"),
        pytest.param("n 1h30m A 192.0.2.1", "5400 IN A 192.0.2.1", id="TTL with units"),
        pytest.param("n MX 1 @", "3600 IN MX 1 example.test.", id="@ in data"),
        pytest.param(
            "n SRV 1 2 3 ns1", "3600 IN SRV 1 2 3 ns1.example.test.", id="relative SRV"
        ),
        pytest.param(
            "n.example.test. CNAME a.b.", "3600 IN CNAME a.b.", id="absolute names"
        ),
        pytest.param(
            "$ORIGIN sub\n@ A 192.0.2.9\n$ORIGIN example.test.\nn PTR q",
            "3600 IN PTR q.example.test.",
            id="relative origin",
        ),
        pytest.param(
            "n TXT one \"two three\" 'four'",
            '3600 IN TXT "one" "two three" "\'four\'"',
            id="strings",
        ),
        pytest.param(
            r'n TXT "a;b(c)" "\"q\" \\ \065\200"',
            r'3600 IN TXT "a;b(c)" "\"q\" \\ A\200"',
            id="escapes in strings",
        ),
        pytest.param('n TXT ""', '3600 IN TXT ""', id="empty string"),
        pytest.param(
            'n TXT ( "a" ; one\n  "b"\n\n ) ; two', '3600 IN TXT "a" "b"', id="grouped"
        ),
        pytest.param(
            "n TXT(a b)", '3600 IN TXT "a" "b"', id="parentheses without blanks"
        ),
        pytest.param("n TXT bücher", r'3600 IN TXT "b\195\188cher"', id="UTF-8"),
        pytest.param(
            'n CAA 0 issue "ca.test; a=b"',
            '3600 IN CAA 0 issue "ca.test; a=b"',
            id="CAA",
        ),
        pytest.param(
            "n AAAA ::ffff:192.0.2.1",
            "3600 IN AAAA ::ffff:192.0.2.1",
            id="dotted quad in AAAA",
        ),
        pytest.param(
            'n NAPTR 1 2 "u" "E2U+sip" "!^.*$!sip:a@b.test!" .',
            '3600 IN NAPTR 1 2 "u" "E2U+sip" "!^.*$!sip:a@b.test!" .',
            id="NAPTR",
        ),
        pytest.param(
            "n HTTPS 1 ns1 port=443 alpn=h2,h3",
            '3600 IN HTTPS 1 ns1.example.test. alpn="h2,h3" port="443"',
            id="HTTPS parameters in order",
        ),
        pytest.param(
            "n SVCB 0 @", "3600 IN SVCB 0 example.test.", id="SVCB to the origin"
        ),
        pytest.param(
            "n SSHFP 4 9 0a 0B", "3600 IN SSHFP 4 9 0a0b", id="hex with blanks"
        ),
        pytest.param("n TLSA 3 1 0 0a", "3600 IN TLSA 3 1 0 0a", id="TLSA"),
        pytest.param(
            r"n TYPE65280 \# 3 01 0203", r"3600 IN TYPE65280 \# 3 010203", id="generic"
        ),
        pytest.param(
            r"n A \# 4 C0000201", "3600 IN A 192.0.2.1", id="generic form of A"
        ),
        pytest.param(r"n TYPE5 \# 1 00", "3600 IN CNAME .", id="generic form of CNAME"),
        pytest.param(r"n TXT \# 2 0161", '3600 IN TXT "a"', id="generic form of TXT"),
        pytest.param("n TYPE1 192.0.2.1", "3600 IN A 192.0.2.1", id="type by number"),
        pytest.param(
            "n 60 A 192.0.2.1\nn 30 A 192.0.2.1",
            "30 IN A 192.0.2.1",
            id="written twice",
        ),
        pytest.param("n A 192.0.2.1\r", "3600 IN A 192.0.2.1", id="CR LF"),
        pytest.param("n A 192.0.2.1\n   \n\t; x\n", "3600 IN A 192.0.2.1", id="blanks"),
    ],
)
def test_master_file(record: str, want: str) -> None:
    zone = load_zone("example.test", f"{HEAD}{record}\n", "z")

    _ttl, _class, rtype = want.split()[:3]
    answer = ask(zone, "n.example.test", rtype).answer
    assert lines(answer) == [f"n.example.test. {want}"]


def test_owner_and_ttl_are_taken_from_above() -> None:
    zone = load_zone(
        "example.test",
        "@ 77 SOA a b 1 2 3 4 5\n  NS ns1\nn A 192.0.2.1\n\n; x\n\tTXT x\n",
        "z",
    )

    assert ask(zone, "example.test", "NS").answer[0].ttl == 77
    assert lines(ask(zone, "n.example.test", "TXT").answer) == [
        'n.example.test. 77 IN TXT "x"'
    ]


@pytest.mark.parametrize(
    "label", [rb"\000", rb"\255\254", rb"a\.b", rb"\@", rb"\032", rb"\\", rb"\$x"]
)
def test_labels_are_octets(label: bytes) -> None:
    text = label.decode()
    zone = load_zone("example.test", f"{HEAD}{text} CNAME x.{text}\n", "z")

    response = ask(zone, rf"{text}.example.test", "CNAME")

    target = response.answer[0][0].target
    assert target == dns.name.from_text(rf"x.{text}.example.test")


LABEL_64 = "a" * 64
LONG_STRING = "a" * 255 + " "
LONG_NAME = ".".join(["a" * 60] * 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "z: the file holds no record", id="empty"),
        pytest.param("; x\n\n", "z: the file holds no record", id="only comments"),
        pytest.param("$TTL 1\n@ NS a", "z: no SOA record at example.test", id="no SOA"),
        pytest.param(
            "@ 1 SOA a b 1 2 3 4 5", "z: no NS record at example.test", id="no NS"
        ),
        pytest.param(
            f"{HEAD}@ SOA ns1 x 2 2 3 4 5",
            "z:5: example.test SOA: the owner has another record",
            id="two SOA",
        ),
        pytest.param(
            f"{HEAD}www SOA ns1 x 2 2 3 4 5",
            "z:5: www.example.test SOA: the owner is not the origin",
            id="SOA elsewhere",
        ),
        pytest.param(
            f"{HEAD}\nwww.other. A 192.0.2.1",
            "z:6: www.other A: the owner is outside the zone example.test",
            id="out of zone",
        ),
        pytest.param(
            f"{HEAD}badexample.test. A 192.0.2.1", "z:5: badexample.test", id="suffix"
        ),
        pytest.param(
            f"{HEAD}a A 192.0.2.1\na CNAME b",
            "z:6: a.example.test CNAME: CNAME and other",
            id="CNAME behind other data",
        ),
        pytest.param(
            f"{HEAD}a CNAME b\na A 192.0.2.1",
            "z:6: a.example.test A: CNAME and other",
            id="other data behind CNAME",
        ),
        pytest.param(
            f"{HEAD}a CNAME b\na CNAME c", "z:6: a.example.test CNAME", id="two CNAME"
        ),
        pytest.param(f"{HEAD}*.w NS a", "z:5: *.w.example.test NS", id="wildcard NS"),
        pytest.param(f"{HEAD}a A 192.0.2", "z:5: a.example.test A", id="short A"),
        pytest.param(f"{HEAD}a A 192.0.2.256", "z:5: a.example.test A", id="bad A"),
        pytest.param(f"{HEAD}a A 192.0.2.1 x", "behind the data", id="long data"),
        pytest.param(f"{HEAD}a A", "the data end too early", id="no data"),
        pytest.param(f"{HEAD}a AAAA 2001:db8:1", "z:5: a.example", id="short AAAA"),
        pytest.param(f"{HEAD}a AAAA 1::2::3", "z:5: a.example.test", id="bad AAAA"),
        pytest.param(f"{HEAD}a AAAA fe80::1%1", "without", id="scope in AAAA"),
        pytest.param(f"{HEAD}a MX mail", "got 'mail', want a number", id="bad MX"),
        pytest.param(f"{HEAD}a MX 65536 b", "z:5: a.example.test MX", id="range"),
        pytest.param(f"{HEAD}a DS 1 2 3 0g", "z:5: a.example.test DS", id="bad hex"),
        pytest.param(f"{HEAD}a DS 1 2 3", "the data end too early", id="no hex"),
        pytest.param(f"{HEAD}a TXT {'x' * 256}", "256 octets", id="long string"),
        pytest.param(f"{HEAD}a TXT {300 * LONG_STRING}", "76812 octets", id="size"),
        pytest.param(f"{HEAD}a TXT \\256", "want at most \\255", id="bad escape"),
        pytest.param(f"{HEAD}a CAA 0 i-d x", "want letters", id="bad CAA tag"),
        pytest.param(f"{HEAD}a CAA 256 issue x", "a.example.test CAA", id="bad CAA"),
        pytest.param(
            f"{HEAD}a HTTPS 1 . foo=1", "a.example.test HTTPS", id="bad HTTPS"
        ),
        pytest.param(f"{HEAD}a HTTPS 1 . port=1 port=2", "given twice", id="twice"),
        pytest.param(
            f"{HEAD}a A \\# 3 c00002", "z:5: a.example.test A", id="short generic A"
        ),
        pytest.param(f"{HEAD}a TYPE5 \\# 2 0000", "z:5: a.example", id="long generic"),
        pytest.param(f"{HEAD}a MX \\# 4 0001c00c", "z:5: a.exam", id="compression"),
        pytest.param(f"{HEAD}a TYPE999 \\# 2 00", "want 2", id="generic length"),
        pytest.param(f"{HEAD}a TYPE999 00", "write its data as \\#", id="no form"),
        pytest.param(f"{HEAD}a FOO 00", "z:5: a.example.test FOO", id="no such type"),
        pytest.param(f"{HEAD}a ANY 00", "cannot stand in a zone", id="meta type"),
        pytest.param(f"{HEAD}a OPT 00", "cannot stand in a zone", id="OPT"),
        pytest.param(f"{HEAD}a DNAME b\nx.a A 1.2.3.4", "below a.ex", id="DNAME"),
        pytest.param(f"{HEAD}a DNAME b\na DNAME c", "want one", id="two DNAMEs"),
        pytest.param(f"{HEAD}a DNAME b\na NS c", "want either", id="DNAME and NS"),
        pytest.param(f"{HEAD}a RRSIG b", "z:5: a.example.test RRSIG", id="RRSIG"),
        pytest.param(
            f"{HEAD}a CH A 192.0.2.1", "z:5: got class CH, want IN", id="class"
        ),
        pytest.param(f"{HEAD}a", "z:5: the record has no type", id="no type"),
        pytest.param(f"{HEAD}a..b A 192.0.2.1", "z:5: ", id="empty label"),
        pytest.param(f"{HEAD}bücher A 192.0.2.1", "xn--", id="not ASCII"),
        pytest.param(f"{HEAD}{LABEL_64} A 192.0.2.1", "z:5: ", id="long label"),
        pytest.param(f"{HEAD}{LONG_NAME} A 192.0.2.1", "want at most 255", id="name"),
        pytest.param(f"{HEAD}a CNAME {LONG_NAME}", "want at most 255", id="target"),
        pytest.param(f"{HEAD}a 2147483648 A 192.0.2.1", "want at most", id="TTL"),
        pytest.param("$TTL x\n", "z:1: got 'x', want seconds", id="bad $TTL"),
        pytest.param("$TTL 1 2\n", "z:1: got 2 values after $TTL", id="two TTLs"),
        pytest.param("@ SOA a b 1 2 3 4 5", "z:1: the record has no TTL", id="no TTL"),
        pytest.param(" 1 A 192.0.2.1", "z:1: the record has no owner", id="no owner"),
        pytest.param("$INCLUDE x", "z:1: $INCLUDE: no file", id="include"),
        pytest.param("$WHAT x", "z:1: got $WHAT, want $ORIGIN,", id="no directive"),
        pytest.param(f"{HEAD}$generate 1-2 a A 1", "z:5: $GENERATE: a.", id="bad data"),
        pytest.param(f"{HEAD}$GENERATE 2-1 a A 1", "'2-1', want a START", id="range"),
        pytest.param(f"{HEAD}$GENERATE 1-2 $$TTL A 1", "want a record", id="directive"),
        pytest.param(f"{HEAD}$GENERATE 1-2 a${{-2}} A 1", "makes -1", id="negative"),
        pytest.param(f"{HEAD}$GENERATE 1-2 a${{x}} A 1", "got ${x}", id="modifier"),
        pytest.param(f"{HEAD}$GENERATE 0-1048576 a TXT x", "want at most", id="many"),
        pytest.param(f'{HEAD}a TXT "x\ny"', "z:5: the quoted text", id="open quote"),
        pytest.param(f"{HEAD}a TXT (x\ny", "z:5: '(' is not closed", id="open group"),
        pytest.param(f"{HEAD}a TXT x)", "z:5: ')' closes nothing", id="stray )"),
        pytest.param(f"{HEAD}a TXT x\\\n", "z:5: nothing follows", id="last backslash"),
        pytest.param(f"{HEAD}a TXT \\", "z:5: nothing follows", id="backslash at end"),
    ],
)
def test_mistake_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ZoneError) as caught:
        load_zone("example.test", text, "z")

    assert str(caught.value).startswith("z:")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_origin_is_a_zone_error() -> None:
    with pytest.raises(ZoneError, match="z: origin: "):
        load_zone("a..b", HEAD, "z")


WORDS = (
    "$TTL", "$ORIGIN", "@", "a", "1h", "IN", "A", "AAAA", "TXT", "MX", "SOA", "NS",
    "SRV", "NAPTR", "DS", "CAA", "HTTPS", "SVCB", "TLSA", "TYPE9", "\\#", "192.0.2.1",
    "::1", "10", "00", "(", ")", '"', ";", ".", "alpn=h2", "ipv4hint=1", "key9=x",
    "port=", "mandatory=alpn", " ", "\n",
)  # fmt: skip


PLAIN_LINES = st.lists(
    st.tuples(
        st.sampled_from(["", "n", "a.b", "N.example.test.", "*", "x_/-", "$TTL", "@"]),
        st.sampled_from(["", "60", "0", "2147483648", "1h"]),
        st.sampled_from(["", "IN", "in", "CH"]),
        st.sampled_from(["A", "AAAA", "NS", "CNAME", "PTR", "MX", "TXT", "mx"]),
        st.sampled_from(
            [
                "192.0.2.1", "192.0.2.01", "1.2.3.256", "::1", "::ffff:192.0.2.1",
                "1::2::3", "n", "a.b.", "10 n", "65535 a.", "65536 n", "010 n", "word",
                '"two words"', '""', "a;b", "#x", LONG_STRING, f'"{LONG_STRING}"',
                LONG_NAME, f"{LONG_NAME}.", "x" * 256, "a b", "", "@", ".", "a..b",
            ]
        ),
    ).map(" ".join),
    max_size=8,
).map("\n".join)  # fmt: skip


@given(text=PLAIN_LINES)
@settings(max_examples=1000)
def test_plain_lines_mean_the_same_on_both_ways(text: str) -> None:
    def records(*, is_plain_fast: bool) -> list[object]:
        found: list[object] = []
        try:
            found.extend(
                read_records(
                    b"\7example\4test\0", text, "z", is_plain_fast=is_plain_fast
                )
            )
        except ZoneError as exc:
            found.append(str(exc))
        return found

    assert records(is_plain_fast=True) == records(is_plain_fast=False)


@given(
    text=st.text(max_size=200)
    | st.text('$@()";\\ \n\t.*ab0123456789ATXMSRVDHPINCLUGE#=', max_size=200)
    | st.lists(
        st.sampled_from(WORDS),
        max_size=20,
    ).map(" ".join)
)
@settings(max_examples=500)
def test_any_text_loads_or_is_a_zone_error(text: str) -> None:
    with contextlib.suppress(ZoneError):
        load_zone("example.test", HEAD + text, "z")


@pytest.mark.parametrize(
    ("record", "want"),
    [
        pytest.param(
            "mandatory=port,alpn alpn=h2 port=8443",
            "0000000400010003 00010003 026832 0003000220fb",
            id="mandatory is sorted",
        ),
        pytest.param(
            r"key667=hello\210qoo", "029b0009 68656c6c6fd2716f6f", id="octets"
        ),
        pytest.param(
            r'alpn="f\\\\oo\\,bar,h2"',
            "0001000c 08665c6f6f2c626172 026832",
            id="commas in a value",
        ),
        pytest.param('alpn="h2,h3"', "00010006 026832 026833", id="quoted list"),
        pytest.param('port="8443"', "0003000220fb", id="quoted port"),
        pytest.param(
            "alpn=h2 dohpath=/q{?dns}",
            "00010003026832 00070008 2f717b3f646e737d",
            id="dohpath",
        ),
        pytest.param("ech=AAQAAAAA", "00050006 000400000000", id="ech"),
        pytest.param(
            "ipv6hint=::ffff:192.0.2.1",
            "00060010 00000000000000000000ffffc0000201",
            id="IPv4-mapped hint",
        ),
    ],
)
def test_service_parameters_are_served_as_rfc_9460_says(record: str, want: str) -> None:
    text = f"{HEAD}n HTTPS 1 . {record}\n"

    [rdata] = [r.rdata for r in read_records(b"\0", text, "z") if r.rtype == 65]

    assert rdata == bytes.fromhex("000100" + want)


@pytest.mark.parametrize(
    "parameters",
    [
        "1 . mandatory=port alpn=h2",
        "1 . alpn=h2 alpn=h3",
        "1 . alpn=",
        "1 . alpn",
        "0 . alpn=h2",
        "1 . no-default-alpn",
        "1 . key3=443",
        r"1 . key3=\001\187x",
        '1 . key3="443"',
        "1 . port=443 key2=x alpn=h2",
    ],
)
def test_malformed_service_parameters_are_refused_with_their_line(
    parameters: str,
) -> None:
    with pytest.raises(ZoneError, match=r"^z:5: n\.example\.test HTTPS: "):
        load_zone("example.test", f"{HEAD}n HTTPS {parameters}\n", "z")

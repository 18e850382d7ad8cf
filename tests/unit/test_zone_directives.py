"""What stands for other lines of a master file: $INCLUDE and $GENERATE; and DNAME."""

from __future__ import annotations

import dns.flags
import dns.rcode
import pytest

from dnsfront.dns.wire import NXDOMAIN, YXDOMAIN
from dnsfront.dns.zones.compiling import compile_zone
from dnsfront.dns.zones.text import Include, Record, read_records
from dnsfront.errors import ZoneError
from tests.unit.asking import HEAD, ask, lines, load_zone

APEX = b"\7example\4test\0"


def records(text: str, include: Include | None = None) -> list[Record]:
    return list(read_records(APEX, f"$TTL 60\n{text}", "z", include))


def owners(text: str, include: Include | None = None) -> list[bytes]:
    return [record.owner.removesuffix(APEX) for record in records(text, include)]


def folder(**texts: str) -> Include:
    return lambda name: (f"/{name}", texts[name])


# $INCLUDE


def test_records_of_an_included_file_stand_in_its_place() -> None:
    found = owners("a A 1.1.1.1\n$INCLUDE f\nc A 1.1.1.1\n", folder(f="b A 1.1.1.1"))

    assert found == [b"\1a", b"\1b", b"\1c"]


def test_origin_and_owner_are_as_they_were_behind_an_included_file() -> None:
    files = folder(f="$ORIGIN x\nb A 1.1.1.1\n", g="@ A 1.1.1.1")

    found = owners("a A 1.1.1.1\n$INCLUDE f sub\n A 1.1.1.2\n$INCLUDE g\n", files)

    assert found == [b"\1a", b"\1b\1x\3sub", b"\1a", b""]


def test_ttl_of_an_included_file_holds_behind_it() -> None:
    found = records("$INCLUDE f\na A 1.1.1.1\n", folder(f="$TTL 5\n"))

    assert [record.ttl_s for record in found] == [5]


def test_included_file_has_no_owner_from_above() -> None:
    with pytest.raises(ZoneError, match="/f:1: the record has no owner"):
        records("a A 1.1.1.1\n$INCLUDE f\n", folder(f=" A 1.1.1.2"))


def test_mistake_in_an_included_file_is_named_with_its_place() -> None:
    def include(name: str) -> tuple[str, str]:
        return name, "\nother.example. 1 A 192.0.2.1\n"

    with pytest.raises(ZoneError, match=r"f:2: other\.example"):
        compile_zone("example.test", "$INCLUDE f", "z", bool, include)


def test_file_that_includes_itself_is_refused() -> None:
    with pytest.raises(ZoneError, match=r"/f:1: .*does it include itself"):
        records("$INCLUDE f\n", folder(f="$INCLUDE f"))


# $GENERATE


@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param("1-3 h$ A 192.0.2.$", ["h1", "h2", "h3"], id="numbers"),
        pytest.param("0-9/4 h$ A 192.0.2.$", ["h0", "h4", "h8"], id="steps"),
        pytest.param("1-2 ${7} A 192.0.2.$", ["8", "9"], id="offset"),
        pytest.param("9-10 h${-1,3} A 192.0.2.1", ["h008", "h009"], id="width"),
        pytest.param("10-11 ${0,0,x} A 192.0.2.1", ["a", "b"], id="hexadecimal"),
        pytest.param("8-9 ${0,3,o} A 192.0.2.1", ["010", "011"], id="octal"),
        pytest.param("1-1 ${0,7,n} A 192.0.2.1", ["1.0.0.0"], id="nibbles"),
        pytest.param(r"1-1 a\$$ A 192.0.2.1", [r"a\0361"], id="dollar"),
        pytest.param("1-1 a$$b A 192.0.2.1", [r"a\036b"], id="two dollars"),
    ],
)
def test_generate_stands_for_records(line: str, want: list[str]) -> None:
    zone = load_zone("example.test", f"{HEAD}$GENERATE {line}\n", "z")

    for name in want:
        assert ask(zone, f"{name}.example.test", "A").answer, name
    assert ask(zone, "h77.example.test", "A").rcode() == NXDOMAIN


def test_generate_has_ttl_class_and_any_data() -> None:
    zone = load_zone(
        "example.test",
        f'{HEAD}$GENERATE 5-6 $ 7 IN TXT "n $" \\$\n$GENERATE 1-1 m MX $ h$\n',
        "z",
    )

    assert lines(ask(zone, "6.example.test", "TXT").answer) == [
        '6.example.test. 7 IN TXT "n 6" "$"'
    ]
    assert lines(ask(zone, "m.example.test", "MX").answer) == [
        "m.example.test. 3600 IN MX 1 h1.example.test."
    ]


# DNAME

ENDING = (
    HEAD
    + f"""\
from    60 DNAME To
host.to A 192.0.2.7
out     DNAME elsewhere.test.
long    DNAME {".".join(3 * ["x" * 60])}.y.test.
alias   CNAME a.host.from
"""
)


def test_name_below_a_dname_is_an_alias() -> None:
    zone = load_zone("example.test", ENDING, "z")

    response = ask(zone, "host.from.example.test", "A")

    assert response.flags & dns.flags.AA
    assert lines(response.answer) == [
        "from.example.test. 60 IN DNAME To.example.test.",
        "host.from.example.test. 60 IN CNAME host.To.example.test.",
        "host.To.example.test. 3600 IN A 192.0.2.7",
    ]


def test_dname_does_not_redirect_its_owner() -> None:
    zone = load_zone("example.test", ENDING, "z")

    assert not ask(zone, "from.example.test", "A").answer
    assert len(ask(zone, "from.example.test", "DNAME").answer) == 1


@pytest.mark.parametrize("rtype", ["CNAME", "ANY"])
def test_alias_made_by_a_dname_can_be_asked_for(rtype: str) -> None:
    zone = load_zone("example.test", ENDING, "z")

    response = ask(zone, "host.from.example.test", rtype)

    assert [rrset.rdtype for rrset in response.answer] == [39, 5]


def test_dname_leads_out_of_the_zone() -> None:
    zone = load_zone("example.test", ENDING, "z")

    answer = lines(ask(zone, "a.b.out.example.test", "A").answer)

    assert answer[1:] == ["a.b.out.example.test. 3600 IN CNAME a.b.elsewhere.test."]


def test_dname_that_makes_too_long_a_name_is_yxdomain() -> None:
    zone = load_zone("example.test", ENDING, "z")

    response = ask(zone, f"{'z' * 63}.{'z' * 10}.long.example.test", "A")

    assert response.rcode() == YXDOMAIN
    assert [rrset.rdtype for rrset in response.answer] == [39]


def test_chain_is_denied_at_its_end_behind_a_dname() -> None:
    zone = load_zone("example.test", ENDING, "z")

    response = ask(zone, "alias.example.test", "A")

    assert response.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.rdtype for rrset in response.answer] == [5, 39, 5]


# Case


def test_names_in_data_keep_their_case() -> None:
    zone = load_zone(
        "example.test",
        f"{HEAD}a CNAME Ns1\nm MX 1 MAIL.Example.Test.\ns SRV 1 2 3 Host\n"
        "$ORIGIN Sub.Example.TEST.\nb PTR x\n",
        "z",
    )

    assert lines(ask(zone, "a.example.test", "A").answer) == [
        "a.example.test. 3600 IN CNAME Ns1.example.test.",
        "Ns1.example.test. 3600 IN A 192.0.2.53",
    ]
    mail = ask(zone, "m.example.test", "MX").answer[0]
    assert mail[0].exchange.to_text() == "MAIL.Example.Test."
    service = ask(zone, "s.example.test", "SRV").answer[0]
    assert service[0].target.to_text() == "Host.example.test."
    pointer = ask(zone, "b.sub.example.test", "PTR").answer[0]
    assert pointer[0].target.to_text() == "x.Sub.Example.TEST."


def test_records_that_differ_in_case_alone_are_one() -> None:
    zone = load_zone("example.test", f"{HEAD}m MX 1 ns1\nm MX 1 NS1\n", "z")

    assert len(ask(zone, "m.example.test", "MX").answer) == 1

"""The OPT record of ours, and Extended DNS Errors."""

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

from dnsfront.dns import edns, wire
from tests.unit.queries import QUESTION, judged, message


@pytest.mark.parametrize("is_dnssec_ok", [False, True])
@pytest.mark.parametrize("nsid", [b"", b"w1", bytes(range(256))])
def test_opt_record_of_ours_reads_as_made(*, is_dnssec_ok: bool, nsid: bytes) -> None:
    record = edns.opt_record(
        is_dnssec_ok=is_dnssec_ok, options=edns.option(edns.OPTION_NSID, nsid)
    )

    read = judged(message(flags=wire.QR, counts=(1, 0, 0, 1), rest=QUESTION + record))

    assert read.payload == wire.UDP_PAYLOAD_OCTETS
    assert bool(read.ednsflags & dns.flags.DO) == is_dnssec_ok
    [option] = read.options
    assert option.otype == dns.edns.OptionType.NSID
    assert option.to_wire() == nsid


def test_extended_errors_add_up_behind_other_options() -> None:
    record = edns.opt_record(options=edns.option(edns.OPTION_NSID, b"w1"))

    record = edns.with_error(record, edns.EDE_STALE_ANSWER)
    record = edns.with_error(record, edns.EDE_NO_REACHABLE_AUTHORITY)

    read = judged(message(flags=wire.QR, counts=(1, 0, 0, 1), rest=QUESTION + record))
    assert [option.code for option in read.extended_errors()] == [3, 22]
    assert read.options[0].otype == dns.edns.OptionType.NSID


def test_error_text_that_is_no_utf8_is_left_out_and_its_code_stays() -> None:
    good = edns.option(edns.OPTION_EDE, b"\0\x06" + "bogus: é".encode())
    bad = edns.option(edns.OPTION_EDE, b"\0\x07stale \xed")

    errors = edns.errors_in(good + bad, 0, len(good + bad))

    assert errors == good + edns.option(edns.OPTION_EDE, b"\0\x07")


def test_without_edns_there_is_no_place_for_an_extended_error() -> None:
    assert edns.with_error(b"", edns.EDE_STALE_ANSWER) == b""

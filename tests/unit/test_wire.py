"""Queries in wire form: dnspython writes them, or reads what we wrote."""

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
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns import wire
from dnsfront.dns.names import MAX_QNAME_OCTETS
from tests.unit.queries import names


@given(st.binary(max_size=80))
def test_name_is_skipped_as_dnspython_skips_it(octets: bytes) -> None:
    end = wire.skip_name(octets, 0)

    if end < 0:
        with pytest.raises(dns.exception.DNSException):
            dns.name.from_wire(octets, 0)
    elif max(octets) < 0xC0 and end <= MAX_QNAME_OCTETS:
        assert dns.name.from_wire(octets, 0)[1] == end


@given(names, st.binary(max_size=40))
def test_end_of_a_question_is_found_at_any_offset(qname: bytes, before: bytes) -> None:
    question = qname + b"\0\1\0\1"
    octets = before + question + b"more"

    end = wire.question_end(octets, len(before))

    assert end == len(before) + len(question)

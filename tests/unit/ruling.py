"""Rules for tests: as a spec has them, in force at once, and what they say."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.message
import dns.rcode

from dnsfront.dns.rules.names import NameList
from dnsfront.ipc.spec import Action, ListImage, RuleSettings
from dnsfront.worker.answering.ruling import rules_of
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import Rig

SOA = "SOA localhost. nobody.invalid. 1 3600 1200 604800 60"
NAMES = ("ads.example.com", "example.org")


def rule(
    action: Action,
    names: tuple[str, ...] = NAMES,
    **others: Any,  # noqa: ANN401
) -> RuleSettings:
    keys: dict[str, Any] = {
        "number": 1,
        "clients": (),
        "transport": None,
        "types": (),
        "image": None,
        "addresses": (),
        "target": None,
        "ttl_s": 60,
        "error": 15,
    }
    return RuleSettings(action=action, names=names, **{**keys, **others})


def no_image(_image: ListImage) -> NameList:
    raise AssertionError


def put_in_force(rig: Rig, *rules: RuleSettings) -> None:
    """Have *rules* in force, as a reload does it."""
    made = rules_of(rules, no_image)
    rig.gate.rule(made.is_client if made.has_personal else None)
    list(rig.answering.change_rules(made))


def ask(rig: Rig, name: str, rtype: str = "A") -> dns.message.Message:
    return rig.ask_for(query_for(name, rtype, payload=1232))


def said(response: dns.message.Message) -> tuple[str, list[str], list[int]]:
    """Return rcode, records and Extended DNS Errors of a response."""
    records = [rrset.to_text() for rrset in [*response.answer, *response.authority]]
    errors = [
        int(option.code)
        for option in response.options
        if isinstance(option, dns.edns.EDEOption)
    ]
    return dns.rcode.to_text(response.rcode()), records, errors

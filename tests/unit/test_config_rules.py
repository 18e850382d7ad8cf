"""What is told about mistakes in `rules` and in `special_names`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.mistaken import GOOD, mistakes


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        pytest.param(
            "special_names: {off: [home.arpa, example]}",
            'special_names.off[1]: got "example", want a special name: localhost, '
            "invalid, onion, alt, local, test, one of private addresses like "
            "10.in-addr.arpa, or private for all of those",
            id="name that is not special",
        ),
        pytest.param(
            "special_names: {off: [local, alt, local.]}",
            'special_names.off[2]: got "local" twice, want each name once',
            id="special name given twice",
        ),
        pytest.param(
            "special_names: {off: [local], on: [local]}",
            'special_names.on[0]: got "local", which off has too, want it in one of '
            "them",
            id="special name that is to be on and off",
        ),
        pytest.param(
            "rules: [{action: block}]",
            'rules[0].action: got "block", want nxdomain, nodata, refuse, drop, tc, '
            "address, cname, no_cache or pass",
            id="unknown action of a rule",
        ),
        pytest.param(
            "rules: [{match: {types: [A, AAAAA]}, action: drop}]",
            'rules[0].match.types[1]: got "AAAAA", want a type like AAAA, or TYPE and '
            "a number to 65535",
            id="unknown type in a rule",
        ),
        pytest.param(
            "rules: [{match: {suffixes: []}, action: drop}]",
            "rules[0].match.suffixes: want a list of names, or a file, and not both",
            id="suffixes of nothing",
        ),
        pytest.param(
            "rules: [{action: address}]",
            "rules[0].action: got address, want addresses too",
            id="address without addresses",
        ),
        pytest.param(
            "rules: [{action: drop, target: a.example}]",
            "rules[0].target: want action: cname with it, or none",
            id="target without cname",
        ),
        pytest.param(
            "rules: [{action: tc, match: {transport: tcp}}]",
            "rules[0].match.transport: got tcp, want udp, since tc sends clients to "
            "TCP",
            id="tc over TCP",
        ),
        pytest.param(
            'rules: [{action: no_cache, match: {clients: ["10.0.0.0/8"]}}]',
            "rules[0].match.clients: want none with no_cache: the cache is for "
            "everybody",
            id="no_cache for some clients",
        ),
        pytest.param(
            "rules: [{name: a, action: drop}, {name: a, action: pass}]",
            'rules[1].name: got "a" again, want a name for one rule only',
            id="name of two rules",
        ),
    ],
)
def test_one_mistake_is_told(tmp_path: Path, line: str, mistake: str) -> None:
    assert mistakes(tmp_path, f"{GOOD}{line}\n") == [f"3: {mistake}"]

"""What is told about `pools` and `forward`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfront.config.load import load
from tests.unit.mistaken import GOOD, mistakes

POOLS = GOOD + 'pools: {corp: {servers: [{address: "192.0.2.54:53"}]}}\n'
WORDS = "corp, default, refuse, nxdomain, local"


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        (
            "forward: {corp.example: crop}",
            '4: forward.corp.example: got "crop", want corp',
        ),
        (
            "forward: {corp.example: refused}",
            '4: forward.corp.example: got "refused", want refuse',
        ),
        (
            "forward: {corp.example: elsewhere}",
            f'4: forward.corp.example: got "elsewhere", want one of {WORDS}',
        ),
        (
            "forward: {corp.example: }",
            "4: forward.corp.example: got nothing, want text (in quotes)",
        ),
        (
            "forward: {a..b: corp}",
            (
                '4: forward.a..b: got "a..b", want a domain name '
                "('a..b': got a label of 0 octets, want 1 to 63)"
            ),
        ),
        (
            "forward: {corp.example: corp, Corp.Example.: refuse}",
            "4: forward.Corp.Example.: got corp.example again, want it once",
        ),
        ("forward: [corp]", "4: forward: got a list of 1, want a mapping of names"),
    ],
)
def test_mistakes_of_forward(tmp_path: Path, line: str, mistake: str) -> None:
    assert mistakes(tmp_path, f"{POOLS}{line}\n") == [mistake]


@pytest.mark.parametrize(
    ("name", "keys", "mistake"),
    [
        (
            "refuse",
            'servers: [{address: "192.0.2.1:53"}]',
            'got "refuse", want another name: in forward this word is no pool',
        ),
        (
            "default",
            'servers: [{address: "192.0.2.1:53"}]',
            'got "default", want another name: this is what upstreams is called',
        ),
        (
            "a b",
            'servers: [{address: "192.0.2.1:53"}]',
            'got "a b", want text of 1 to 32 letters, digits or any of _ . -',
        ),
        ("a", "polcy: ordered", "polcy: unknown key, want policy"),
        (
            "a",
            'servers: [{adress: "192.0.2.1:53", address: "192.0.2.1:53"}]',
            "servers[0].adress: unknown key, want address",
        ),
        (
            "a",
            'servers: [{address: "127.0.0.1:53"}]',
            (
                "servers[0].address: got 127.0.0.1:53, where we listen ourselves, want "
                "another resolver (queries would go in circles)"
            ),
        ),
        (
            "a",
            "policy: ordered",
            (
                "servers: got none, want a server (names without a pool: forward has "
                "words)"
            ),
        ),
    ],
)
def test_mistakes_of_pools(tmp_path: Path, name: str, keys: str, mistake: str) -> None:
    found = mistakes(tmp_path, f'{GOOD}pools:\n  "{name}": {{{keys}}}\n')

    separator = ": " if mistake.startswith("got") else "."
    assert f"4: pools.{name}{separator}{mistake}" in found


def test_a_pool_that_is_mistaken_is_not_unknown_too(tmp_path: Path) -> None:
    text = f"{GOOD}pools: {{a: {{timeout: 5}}}}\nforward: {{b: a}}\n"

    assert [line.split(" ")[1] for line in mistakes(tmp_path, text)] == [
        "pools.a.timeout:",
        "pools.a.servers:",
    ]


def test_default_wants_a_server(tmp_path: Path) -> None:
    text = """\
listen: ["127.0.0.1:53"]
pools: {corp: {servers: [{address: "192.0.2.54:53"}]}}
forward: {corp.example: corp, www.corp.example: default}
"""
    assert mistakes(tmp_path, text) == [
        (
            "3: forward.www.corp.example: got default, want a server in "
            "upstreams.servers for that"
        )
    ]


def test_a_pool_alone_is_enough_to_serve_from(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    text = POOLS.replace(GOOD.splitlines()[1] + "\n", "")
    path.write_text(f"{text}forward: {{corp.example: corp}}\n")

    assert [*load(path).used_pools] == ["default", "corp"]


def test_servers_of_all_pools_are_bounded(tmp_path: Path) -> None:
    servers = ", ".join(f'{{address: "10.0.0.{n}:53"}}' for n in range(1, 61))
    pools = "".join(f"  p{n}: {{servers: [{servers}]}}\n" for n in range(5))

    assert mistakes(tmp_path, f"{GOOD}pools:\n{pools}") == [
        "3: pools: got 301 servers in all pools together, want at most 256"
    ]


def test_what_is_hardly_meant_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    (tmp_path / "zone").touch()
    path.write_text(
        f"{POOLS}zones: [{{origin: example.test, file: zone}}]\n"
        "forward: {Example.Test: refuse, lab.example.test: refuse}\n"
    )

    told = [(x.key, x.text) for x in load(path).told if x.key != "ring.seed"]

    assert told == [
        (
            "pools.corp",
            "no name in forward goes to it, so nothing is asked of its servers",
        ),
        (
            "forward.Example.Test",
            "the zone example.test goes before, so this is for no name",
        ),
    ]

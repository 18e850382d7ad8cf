"""What is told about one key that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.mistaken import GOOD, mistakes

DURATION = "want a whole number with its unit, like 250ms, 1s, 5m, 2h or 1d"
NAME = "want text of 1 to 32 letters, digits or any of _ . -"
NETWORK = "want a network like 192.0.2.0/24 or 2001:db8::/32"


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        pytest.param(
            "rings: {}", "rings: unknown key, want ring", id="unknown section"
        ),
        pytest.param(
            "ring: {methd: ring}",
            "ring.methd: unknown key, want method",
            id="unknown key that resembles another",
        ),
        pytest.param(
            "log: {colour: red}",
            "log.colour: unknown key, want one of level",
            id="unknown key that resembles none",
        ),
        pytest.param(
            "ring: {workers: }",
            "ring.workers: got nothing, want 1 to 64, or a list of workers",
            id="count or list of nothing",
        ),
        pytest.param(
            "log: {level: }",
            "log.level: got nothing, want debug, info, warning or error",
            id="value of nothing",
        ),
        pytest.param(
            "cache: [1, 2]",
            "cache: got a list of 2, want a mapping of keys",
            id="list for a section",
        ),
        pytest.param(
            "ring: {seed: 42}",
            "ring.seed: got 42, want text (in quotes)",
            id="number for text",
        ),
        pytest.param(
            "ring: {method: jump}",
            'ring.method: got "jump", want ring or exact',
            id="unknown method",
        ),
        pytest.param(
            "pools: {a: {bounded_load: 0.5, servers: [{address: '192.0.2.1:53'}]}}",
            "pools.a.bounded_load: got 0.5, want 0 or at least 1",
            id="bound that lets nothing through",
        ),
        pytest.param(
            "edns: {udp_size: 511}",
            "edns.udp_size: got 511, want at least 512",
            id="too small a datagram",
        ),
        pytest.param(
            "edns: {udp_size: 4097}",
            "edns.udp_size: got 4097, want at most 4096",
            id="too large a datagram",
        ),
        pytest.param(
            f"identity: {{id: {'x' * 181}}}",
            "identity.id: got 181 octets, want at most 180",
            id="too long a name for a server",
        ),
        pytest.param(
            "ring: {slots: 255}",
            "ring.slots: got 255, want at least 256",
            id="too few slots",
        ),
        pytest.param(
            "ring: {slots: 1048577}",
            "ring.slots: got 1048577, want at most 1048576",
            id="too many slots",
        ),
        pytest.param(
            'ring: {vnodes: "7"}',
            'ring.vnodes: got "7", want a whole number',
            id="text for a number",
        ),
        pytest.param(
            "ring: {vnodes: 1.5}",
            "ring.vnodes: got 1.5, want a whole number",
            id="fraction for a whole number",
        ),
        pytest.param(
            "ring: {vnodes: true}",
            "ring.vnodes: got true, want a whole number",
            id="boolean for a number",
        ),
        pytest.param(
            "ring: {bounded_load: 0.5}",
            "ring.bounded_load: got 0.5, want 0 or at least 1",
            id="valve always shut",
        ),
        pytest.param(
            "ring: {bounded_load: -1}",
            "ring.bounded_load: got -1, want 0 or at least 1",
            id="negative bound",
        ),
        pytest.param(
            "ring: {workers: 0}",
            "ring.workers: got 0, want 1 to 64, or a list of workers",
            id="no worker",
        ),
        pytest.param(
            "ring: {workers: 65}",
            "ring.workers: got 65, want 1 to 64, or a list of workers",
            id="too many workers",
        ),
        pytest.param(
            "ring: {workers: true}",
            "ring.workers: got true, want 1 to 64, or a list of workers",
            id="boolean for workers",
        ),
        pytest.param(
            "ring: {workers: []}",
            "ring.workers: got a list of 0, want 1 to 64, or a list of workers",
            id="empty list of workers",
        ),
        pytest.param(
            f"ring: {{workers: [{', '.join(f'{{name: w{i}}}' for i in range(65))}]}}",
            "ring.workers: got a list of 65, want at most 64 entries",
            id="too long a list of workers",
        ),
        pytest.param(
            "ring: {workers: [{name: a b}]}",
            f'ring.workers[0].name: got "a b", {NAME}',
            id="worker name with a space",
        ),
        pytest.param(
            f"ring: {{workers: [{{name: {'w' * 33}}}]}}",
            f'ring.workers[0].name: got "{"w" * 33}", {NAME}',
            id="worker name too long",
        ),
        pytest.param(
            "ring: {workers: [{name: 1}]}",
            f"ring.workers[0].name: got 1, {NAME}",
            id="worker name that is a number",
        ),
        pytest.param(
            "ring: {workers: [{name: a}, {name: b}, {name: a}]}",
            'ring.workers[2].name: got "a" again, want a name of its own',
            id="two workers of one name",
        ),
        pytest.param(
            "ring: {workers: [{name: a, standby: yes}]}",
            'ring.workers[0].standby: got "yes", want true or false',
            id="yes for true",
        ),
        pytest.param(
            "ring: {workers: [{name: a, weight: 0}]}",
            "ring.workers[0].weight: got 0, want at least 1",
            id="no weight",
        ),
        pytest.param(
            "ring: {method: exact, slots: 1000}",
            "ring.slots: got 1000 slots, but method exact with 12 places needs 27720 "
            "or more",
            id="too few slots for the exact method",
        ),
        pytest.param(
            "ring: {method: exact, workers: [{name: a1}, {name: b1}]}",
            "ring.workers: workers a1 and b1 both take place 1",
            id="two workers in one place",
        ),
        pytest.param(
            "ring: {vnodes: 16384, workers: [{name: a, weight: 100}, "
            "{name: b, weight: 100}, {name: c, weight: 100}]}",
            "ring.workers: got 4915200 points (vnodes times all weights), want "
            "4194304 or fewer",
            id="too many points",
        ),
        pytest.param(
            "zones: [{origin: a..b, file: conf.yaml}]",
            "zones[0].origin: got \"a..b\", want a domain name ('a..b': got a label of "
            "0 octets, want 1 to 63)",
            id="empty label",
        ),
        pytest.param(
            f"zones: [{{origin: {'x' * 64}, file: conf.yaml}}]",
            f'zones[0].origin: got "{"x" * 59}..., want a domain name '
            f"('{'x' * 64}': got a label of 64 octets, want 1 to 63)",
            id="label too long",
        ),
        pytest.param(
            "zones: [{origin: ., file: conf.yaml}]",
            'zones[0].origin: got ".", want a zone below the root, which would hide '
            "all other names",
            id="zone at the root",
        ),
        pytest.param(
            "zones: [{origin: a, file: conf.yaml}, {origin: A., file: conf.yaml}]",
            "zones[1].origin: got a again, want each zone once",
            id="one zone twice",
        ),
        pytest.param(
            "zones: [{file: conf.yaml}]",
            "zones[0].origin: missing, want: Its name, like example.test.",
            id="zone without origin",
        ),
        pytest.param(
            "cache: {max_ttl: 3600}",
            f"cache.max_ttl: got 3600, {DURATION}",
            id="duration without unit",
        ),
        pytest.param(
            "cache: {max_ttl: 1 day}",
            f'cache.max_ttl: got "1 day", {DURATION}',
            id="duration in words",
        ),
        pytest.param(
            "cache: {max_ttl: false}",
            f"cache.max_ttl: got false, {DURATION}",
            id="boolean for a duration",
        ),
        pytest.param(
            "cache: {max_ttl: 366d}",
            'cache.max_ttl: got "366d", want a duration from 0s to 365d',
            id="TTL of over a year",
        ),
        pytest.param(
            "cache: {min_ttl: 1500ms}",
            'cache.min_ttl: got "1500ms", want whole seconds, as DNS counts TTLs',
            id="TTL in fractions of a second",
        ),
        pytest.param(
            "cache: {min_ttl: 2h, max_ttl: 60m}",
            "cache.min_ttl: got 2h, want at most max_ttl, which is 1h",
            id="least TTL over the largest",
        ),
        pytest.param(
            "cache: {max_entries: 0}",
            "cache.max_entries: got 0, want at least 1",
            id="cache of nothing",
        ),
        pytest.param(
            "kernel_cache: {interfaces: [eth0, lo, eth0]}",
            'kernel_cache.interfaces[2]: got "eth0" twice, want each interface once',
            id="interface named twice",
        ),
        pytest.param(
            "kernel_cache: {max_size: 1KiB}",
            "kernel_cache.max_size: got 1KiB, want a size from 64KiB to 256MiB",
            id="hardly anything in the kernel",
        ),
        pytest.param(
            "kernel_cache: {max_answer: 4KiB}",
            "kernel_cache.max_answer: got 4KiB, want a size from 512B to 1232B",
            id="answers of the kernel that few links carry",
        ),
        pytest.param(
            "kernel_cache: {interfaces: [a/b]}",
            'kernel_cache.interfaces[0]: got "a/b", want the name of a network '
            "interface, like eth0",
            id="no interface name",
        ),
        pytest.param(
            "admin: {allow: []}",
            "admin.allow: got an empty list, want a network (nobody could read the "
            "metrics)",
            id="metrics for nobody",
        ),
        pytest.param(
            "access: {allow: [10.1.2.3/8]}",
            'access.allow[0]: got "10.1.2.3/8", want no bits behind the prefix, as in '
            "10.0.0.0/8",
            id="network with host bits",
        ),
        pytest.param(
            "access: {allow: [10.0.0.0/255.0.0.0]}",
            f'access.allow[0]: got "10.0.0.0/255.0.0.0", {NETWORK}',
            id="network with a mask",
        ),
        pytest.param(
            "access: {allow: ['::ffff:1.2.3.4/128']}",
            'access.allow[0]: got "::ffff:1.2.3.4/128", want 1.2.3.4/32 '
            "(no client has such an address)",
            id="IPv4 address dressed as IPv6",
        ),
        pytest.param(
            "admin: {allow: ['::ffff:10.0.0.0/104']}",
            'admin.allow[0]: got "::ffff:10.0.0.0/104", want 10.0.0.0/8 '
            "(no client has such an address)",
            id="IPv4 network dressed as IPv6",
        ),
        pytest.param(
            "access: {allow: [localhost]}",
            f'access.allow[0]: got "localhost", {NETWORK}',
            id="network by name",
        ),
        pytest.param(
            "access: {allow: []}",
            "access.allow: got an empty list, want a network (all clients would be "
            "refused)",
            id="nobody allowed",
        ),
        pytest.param(
            "admin: {listen: '127.0.0.1:53'}",
            "admin.listen: got 127.0.0.1:53, which listen serves, want another port",
            id="admin where queries go",
        ),
        pytest.param(
            "admin: {listen: '0.0.0.0:53'}",
            "admin.listen: got 0.0.0.0:53, which listen serves, want another port",
            id="admin on a wildcard where queries go",
        ),
        pytest.param(
            "log: {level: loud}",
            'log.level: got "loud", want debug, info, warning or error',
            id="unknown log level",
        ),
    ],
)
def test_one_mistake_is_told(tmp_path: Path, line: str, mistake: str) -> None:
    assert mistakes(tmp_path, f"{GOOD}{line}\n") == [f"3: {mistake}"]


@pytest.mark.parametrize(
    ("health", "mistake"),
    [
        ("interval: 1ms", 'interval: got "1ms", want a duration from 100ms to 1h'),
        ("type: DS", 'type: got "DS", want A, AAAA, CNAME, MX, NS, SOA or TXT'),
        ("fall: 0", "fall: got 0, want at least 1"),
        ("rise: 0", "rise: got 0, want at least 1"),
    ],
    ids=["probes too often", "type", "none to fall", "none to rise"],
)
def test_a_mistake_about_probes_is_told(
    tmp_path: Path, health: str, mistake: str
) -> None:
    text = f'listen: ["127.0.0.1:53"]\nupstreams: {{health: {{{health}}}}}\n'

    assert mistakes(tmp_path, text) == [f"2: upstreams.health.{mistake}"]

"""What is told about addresses and files, and about several keys together."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfront.config.load import load
from tests.unit.mistaken import GOOD, mistakes

IP_PORT = "want IP:port, with IPv6 in brackets as in [::1]:53"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        pytest.param("9.9.9.9:", IP_PORT, id="no port behind the colon"),
        pytest.param("9.9.9.9", "want a port too, as in 9.9.9.9:53", id="no port"),
        pytest.param("::1:53", IP_PORT, id="IPv6 without brackets"),
        pytest.param("[::1]", IP_PORT, id="IPv6 without port"),
        pytest.param("[127.0.0.1]:53", IP_PORT, id="IPv4 in brackets"),
        pytest.param("dns.example:53", IP_PORT, id="host name"),
        pytest.param("010.0.0.1:53", IP_PORT, id="octal IPv4"),
        pytest.param("1.1.1.1:0", "want a port from 1 to 65535", id="port 0"),
        pytest.param("1.1.1.1:65536", "want a port from 1 to 65535", id="port 65536"),
        pytest.param("1.1.1.1:-1", IP_PORT, id="negative port"),
        pytest.param(
            "[::ffff:1.2.3.4]:53", "want 1.2.3.4:53", id="IPv4 dressed as IPv6"
        ),
        pytest.param(
            "[fe80::1%eth0]:53",
            "want an address without a scope (the part after %)",
            id="scope",
        ),
        pytest.param(
            "224.0.0.251:5353",
            "want the address of one host, not of a multicast group",
            id="multicast",
        ),
    ],
)
def test_addresses_are_ip_and_port(tmp_path: Path, address: str, wanted: str) -> None:
    text = f"""\
listen: ["127.0.0.1:53", "{address}"]
upstreams:
  servers:
    - address: "192.0.2.53:53"
    - address: "{address}"
"""

    assert mistakes(tmp_path, text) == [
        f'1: listen[1]: got "{address}", {wanted}',
        f'5: upstreams.servers[1].address: got "{address}", {wanted}',
    ]


@pytest.mark.parametrize(
    ("listen", "server", "wanted"),
    [
        pytest.param(
            "127.0.0.1:53",
            "127.0.0.1:53",
            "where we listen ourselves, want another resolver "
            "(queries would go in circles)",
            id="our own address",
        ),
        pytest.param(
            "[::]:53",
            "[0::1]:53",
            "where we listen ourselves, want another resolver "
            "(queries would go in circles)",
            id="loopback under our wildcard",
        ),
        pytest.param(
            "127.0.0.1:53",
            "0.0.0.0:5301",
            "want the address of one host",
            id="a wildcard",
        ),
    ],
)
def test_upstreams_are_other_hosts(
    tmp_path: Path, listen: str, server: str, wanted: str
) -> None:
    text = f"listen: ['{listen}']\nupstreams: {{servers: [{{address: '{server}'}}]}}\n"

    (mistake,) = mistakes(tmp_path, text)

    assert mistake.startswith("2: upstreams.servers[0].address: got ")
    assert mistake.endswith(wanted)


def test_an_upstream_beside_our_wildcard_is_no_loop(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(
        "listen: ['0.0.0.0:53']\n"
        "upstreams: {servers: [{address: '127.0.0.1:54'}, {address: '[::1]:53'}]}\n"
    )

    assert len(load(path).upstreams.servers) == 2


def test_addresses_are_given_once(tmp_path: Path) -> None:
    text = """\
listen: ["127.0.0.1:53", "[::1]:53", "[0:0::1]:53"]
upstreams:
  servers:
    - {address: "192.0.2.53:53"}
    - {address: "192.0.2.53:53", weight: 2}
"""

    assert mistakes(tmp_path, text) == [
        "1: listen[2]: got [::1]:53 again, want it once",
        (
            "5: upstreams.servers[1].address: "
            "got 192.0.2.53:53 again, want it once, with a weight"
        ),
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("none.zone", "No such file or directory", id="missing"),
        pytest.param("a/none.zone", "No such file or directory", id="no directory"),
        pytest.param("conf.yaml/x", "Not a directory", id="below a file"),
    ],
)
def test_zone_file_must_be_there(tmp_path: Path, name: str, reason: str) -> None:
    text = f"{GOOD}zones: [{{origin: a.test, file: {name}}}]\n"

    assert mistakes(tmp_path, text) == [
        f'3: zones[0].file: got "{name}", want a zone file, {tmp_path}/{name}: {reason}'
    ]


def test_zone_file_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()

    (mistake,) = mistakes(tmp_path, f"{GOOD}zones: [{{origin: a.test, file: zones}}]\n")

    assert mistake.endswith(f"want a zone file, {tmp_path}/zones is something else")


def test_control_socket_must_fit_the_kernel(tmp_path: Path) -> None:
    socket = f"/{'x' * 107}"

    (mistake,) = mistakes(tmp_path, f"{GOOD}admin: {{socket: {socket}}}\n")

    assert mistake.startswith("3: admin.socket: got ")
    assert mistake.endswith(
        f"want a path of at most 107 octets, {socket} has 108 (see unix(7))"
    )


def test_listen_is_the_one_key_without_default(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, GOOD.splitlines()[1])

    assert mistake.startswith("1: listen: missing, want: Addresses to serve")


def test_listen_is_not_empty(tmp_path: Path) -> None:
    text = GOOD.replace('["127.0.0.1:53"]', "[]")

    assert mistakes(tmp_path, text) == [
        "1: listen: got an empty list, want at least one IP:port"
    ]


def test_there_is_something_to_answer_from(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, "listen: ['127.0.0.1:53']\n")

    assert mistake == (
        "1: upstreams.servers: got none and no zones either, want a server or a zone "
        "to answer from"
    )


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = """\
listen:
  - nonsense
  - "127.0.0.1:53"
  - "127.0.0.1:53"
ring:
  seed: a
  seed: b
  workers:
    - {nam: w1}
    - {name: w2, weight: -1}
    - {name: w3}
    - {name: w3}
upstreams:
  servers:
    - {address: "9.9.9.9:"}
    - {address: "127.0.0.1:53"}
cache: {min_ttl: 2d}
"""

    found = mistakes(tmp_path, text)

    assert [": ".join(mistake.split(": ")[:2]) for mistake in found] == [
        "2: listen[0]",
        "4: listen[2]",
        "7: ring.seed",
        "9: ring.workers[0].name",
        "9: ring.workers[0].nam",
        "10: ring.workers[1].weight",
        "12: ring.workers[3].name",
        "15: upstreams.servers[0].address",
        "16: upstreams.servers[1].address",
        "17: cache.min_ttl",
    ]


def test_a_mistake_hides_no_others_but_its_own_consequences(tmp_path: Path) -> None:
    text = "listen: nonsense\nupstreams: {servers: [{address: x}]}\nzones: 7\n"

    assert [mistake.split(": ")[1] for mistake in mistakes(tmp_path, text)] == [
        "listen",
        "upstreams.servers[0].address",
        "zones",
    ]


def test_long_values_are_cut_in_messages(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, f"{GOOD}log: {{level: {'x' * 5000}}}\n")

    assert len(mistake) < 150


def test_more_addresses_than_descriptors_allow_are_refused(tmp_path: Path) -> None:
    listen = [f"127.0.0.1:{port}" for port in range(5000, 5061)]

    text = f"listen: {listen}\nupstreams: {{servers: [{{address: '192.0.2.53:53'}}]}}\n"

    assert mistakes(tmp_path, text) == ["1: listen: got 61 addresses, want at most 60"]

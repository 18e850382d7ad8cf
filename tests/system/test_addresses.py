"""Every listen address serves, and answers leave from the address that was asked."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, ask_all, nsid_of, nsid_query, summary
from tests.system.front import DEMO_ZONE, Address, FrontEnd, free_address
from tests.system.metrics import responded, steered
from tests.system.processes import ROOT, needed, output_of
from tests.system.streams import Stream

#: Addresses of this network beside those that lo has of itself.
_OTHERS = ("192.0.2.77", "2001:db8::77")
_CLIENTS = ["127.0.0.0/8", "192.0.2.0/24", "::1/128", "2001:db8::/32"]
NAMES = [f"name{number}.example.test" for number in range(100)]


@pytest.fixture(scope="module", autouse=True)
def _addresses(network: None) -> None:
    """Put the other addresses on an interface that is not lo."""
    del network
    ip = needed("ip")
    output_of(ip, "link", "add", "here", "type", "veth", "peer", "name", "there")
    for host in _OTHERS:
        output_of(ip, "address", "add", host, "dev", "here", *nodad(host))
    for interface in ("here", "there"):
        output_of(ip, "link", "set", interface, "up")


def nodad(host: str) -> list[str]:
    """Return what makes an IPv6 address usable at once."""
    return ["nodad"] if ":" in host else []


@pytest.fixture(scope="module")
def several(folder: Path) -> Iterator[tuple[FrontEnd, list[Address]]]:
    """A front end on addresses of both families, and on two ports of one address."""
    listen = [
        free_address(host) for host in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "::1")
    ]
    listen += [free_address(host) for host in _OTHERS]
    with FrontEnd(
        folder,
        listen=[str(address) for address in listen],
        access={"allow": _CLIENTS},
        zones=[DEMO_ZONE],
    ) as made:
        yield made, listen


@pytest.mark.parametrize("at", range(6))
def test_each_of_several_addresses_steers_names_alike(
    several: tuple[FrontEnd, list[Address]], at: int
) -> None:
    front, listen = several
    preferences = front.lookup(NAMES)

    with front.counting(
        steered(len(NAMES)) + responded(len(NAMES), "zone", "NXDOMAIN")
    ):
        responses = ask_all(listen[at], [qname_of(name) for name in NAMES])

    assert [nsid_of(x) for x in responses] == [preferences[x][0] for x in NAMES]


@pytest.mark.parametrize("at", range(6))
def test_each_of_several_addresses_serves_tcp(
    several: tuple[FrontEnd, list[Address]], at: int
) -> None:
    front, listen = several
    preferences = front.lookup(["www.example.test"])

    response = ask(listen[at], "www.example.test", over_tcp=True)

    assert str(response.answer[0][0]) == "192.0.2.80"
    assert nsid_of(response) == preferences["www.example.test"][0]


@pytest.mark.parametrize("over_tcp", [False, True], ids=["UDP", "TCP"])
@pytest.mark.parametrize("program", ["dig", "kdig"])
@pytest.mark.parametrize("at", [0, 3, 5], ids=["IPv4", "IPv6", "IPv6, no loopback"])
def test_tools_get_an_answer_and_the_name_of_the_owner(
    several: tuple[FrontEnd, list[Address]], program: str, at: int, *, over_tcp: bool
) -> None:
    front, listen = several
    host, port = listen[at]
    how = ["+tcp"] if over_tcp else []

    printed = output_of(
        *(needed(program), f"@{host}", "-p", str(port)),
        *("www.example.test", "AAAA", "+nsid", *how),
    )

    assert "2001:db8::80" in printed
    [owner, *_] = front.lookup(["www.example.test"])["www.example.test"]
    assert f'"{owner}"' in printed


def test_example_config_serves_as_it_stands(tmp_path: Path) -> None:
    front = FrontEnd(tmp_path)
    example = (ROOT / "config.example.yaml").read_text("utf-8")
    # /run belongs to the machine, and the zone's path is relative to the config.
    example = example.replace("/run/dnsfront/control.sock", str(front.control))
    example = example.replace("deploy/", f"{ROOT}/deploy/")
    front.path.write_text(example, encoding="utf-8")
    front.admin = Address("127.0.0.1", 9353)

    with front:
        for host in ("127.0.0.1", "::1"):
            for over_tcp in (False, True):
                address = Address(host, 5353)
                response = ask(address, "www.example.test", over_tcp=over_tcp)
                assert str(response.answer[0][0]) == "192.0.2.80"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a front end on every address of IPv4 and of IPv6."""
    listen = free_address("::")
    with FrontEnd(
        tmp_path_factory.mktemp("everywhere"),
        listen=[str(listen), f"0.0.0.0:{listen.port}"],
        access={"allow": _CLIENTS},
        zones=[DEMO_ZONE],
    ):
        yield listen.port


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "192.0.2.77", "::1", "2001:db8::77"]
)
def test_wildcard_listener_answers_from_the_address_that_was_asked(
    port: int, host: str
) -> None:
    address = Address(host, port)
    queries = [nsid_query(qname_of(name), at) for at, name in enumerate(NAMES)]

    # Hits leave by another way than misses, so everything is asked twice.
    with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        for query in queries + queries:
            sock.sendto(query, address)
            octets, sender = sock.recvfrom(1500)
            assert octets[:2] == query[:2]
            assert Address(*sender[:2]) == address


@pytest.mark.parametrize("host", ["127.0.0.2", "192.0.2.77", "2001:db8::77"])
def test_wildcard_listener_serves_tcp(port: int, host: str) -> None:
    address = Address(host, port)

    for _ in range(4):
        response = ask(address, "www.example.test", over_tcp=True)
        assert str(response.answer[0][0]) == "192.0.2.80"


def test_clients_that_are_not_allowed_are_refused(tmp_path: Path) -> None:
    address = free_address("192.0.2.77")
    with FrontEnd(
        tmp_path,
        listen=[str(address)],
        access={"allow": ["::1/128"]},
        zones=[DEMO_ZONE],
    ) as front:
        refused = {"refused_queries": 1, "responses REFUSED": 1}

        with front.counting(steered(1) + Counter(refused)):
            response = ask(address, "www.example.test")
        with front.counting({"tcp_refused_connections": 1, "steering connection": 1}):
            stream = Stream(address)
            assert stream.receive() == b""
            stream.close()

    assert summary(response) == ("REFUSED", [18])

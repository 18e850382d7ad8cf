"""The programs at real interfaces: lo, and one end of a cable to another network."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest

from dnsfront.kernel.hook import Hook
from dnsfront.kernel.maps import XDP, load_program
from dnsfront.supervisor.host.routes import routes
from tests.kern.answering import OPT, RECORD, entry_for, message_for, now_s
from tests.kern.packets import IP, IPV6, PORT, Packet, answer_to
from tests.kern.queries import qname_of
from tests.namespaces import OtherNetwork, ip
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dnsfront.dns.entry import Entry
    from dnsfront.kernel.hook import HookMode
    from tests.kern.answering import AnswerLab

QUESTION: Final = qname_of("www.Example.test") + b"\0\0\1\0\1"
QUERY: Final = message_for(QUESTION)
WITH_OPT: Final = message_for(QUESTION, opt=OPT)
WITH_OPTION: Final = WITH_OPT[:-2] + b"\0\4\0\3\0\0"
#: What a packet socket says of packets that leave, PACKET_OUTGOING.
_OUTGOING: Final = 4
#: The protocol of a packet socket that gets all packets, ETH_P_ALL.
_EVERYTHING: Final = 3
#: r0 = XDP_PASS; exit
PASS: Final = bytes.fromhex("b700000002000000 9500000000000000")
OURS: Final = {IP: "10.80.0.1", IPV6: "fd00:80::1"}
THEIRS: Final = {IP: "10.80.0.2", IPV6: "fd00:80::2"}
LOOPBACK: Final = {IP: "127.0.0.1", IPV6: "::1"}
FAMILIES: Final = (IP, IPV6)


@dataclass(frozen=True)
class Wire:
    """Where clients and a server are, which gets what is not answered before it."""

    network: OtherNetwork | None
    addresses: dict[socket.AddressFamily, str]
    links: tuple[bytes, bytes] = (b"", b"")  # theirs, ours

    @contextlib.contextmanager
    def client(self, family: socket.AddressFamily) -> Iterator[socket.socket]:
        """A connected socket on the other side."""
        with self.network.inside() if self.network else contextlib.nullcontext():
            sock = socket.socket(family, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(10)
            sock.connect((self.addresses[family], PORT))
            yield sock

    @contextlib.contextmanager
    def server(self, family: socket.AddressFamily) -> Iterator[socket.socket]:
        """A plain socket at the address that is answered."""
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.bind((self.addresses[family], PORT))
            yield sock

    def put(self, *packets: Packet) -> None:
        """Send packets from the other side as they are."""
        assert self.network
        with (
            self.network.inside(),
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw,
        ):
            raw.bind(("dnsf-theirs", 0))
            for packet in packets:
                raw.send(self.packet(packet).to_wire())

    def packet(self, packet: Packet) -> Packet:
        """Return the packet with the addresses of the two ends, if it has none."""
        family = socket.AddressFamily(packet.family)
        return replace(
            packet,
            source=packet.source or THEIRS[family],
            target=OURS[family],
            client_link=self.links[0],
            our_link=self.links[1],
        )

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Callable[[], bytes]]:
        """Give what the other side got of our port, one packet a call, b"" for none."""
        assert self.network
        with self.network.inside():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind(("dnsf-theirs", _EVERYTHING))

        def received() -> bytes:
            while True:
                try:
                    octets, address = raw.recvfrom(4096, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return b""
                if octets[23:24] == b"\x11" and address[2] != _OUTGOING:
                    return octets

        with raw:
            yield received


def hardware_address(interface: str) -> bytes:
    """Return the octets of an interface's address in the network of the thread."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        return bytes(raw.getsockname()[4])


@pytest.fixture(scope="module")
def cable() -> Iterator[Wire]:
    """A cable to a network of clients."""
    with OtherNetwork() as network:
        network.link("dnsf-ours", "dnsf-theirs")
        for family, bits in ((IP, "24"), (IPV6, "64")):
            more = ["nodad"] if family == IPV6 else []
            ip("address", "add", f"{OURS[family]}/{bits}", "dev", "dnsf-ours", *more)
            with network.inside():
                theirs = f"{THEIRS[family]}/{bits}"
                ip("address", "add", theirs, "dev", "dnsf-theirs", *more)
        ours = hardware_address("dnsf-ours")
        with network.inside():
            theirs_link = hardware_address("dnsf-theirs")
            # Without it the driver of our end throws away what is sent from there.
            program = load_program("pass", PASS, XDP)
            peer = Hook("dnsf-theirs", "xdp", program)
        yield Wire(network, OURS, (theirs_link, ours))
        peer.close()
        os.close(program)
        ip("link", "delete", "dnsf-ours")


@contextlib.contextmanager
def answered_at(answering: AnswerLab, interface: str, mode: HookMode) -> Iterator[Hook]:
    """Have the program at an interface while the body runs."""
    answering.answers.set_addresses(
        {
            (address, PORT, family): False
            for addresses in (OURS, LOOPBACK)
            for family, address in addresses.items()
        }
    )
    answering.serve(["0.0.0.0/0", "::/0"], routes())
    answering.keep(entry_for(QUESTION))
    hook = answering.answers.attach(interface, mode)
    try:
        yield hook
    finally:
        hook.close()


@pytest.fixture(
    params=["lo-xdp_generic", "lo-tc", "veth-xdp", "veth-xdp_generic", "veth-tc"]
)
def wire(
    request: pytest.FixtureRequest, answering: AnswerLab, cable: Wire
) -> Iterator[Wire]:
    """A place to ask from, while the program answers there."""
    interface, _, mode = request.param.partition("-")
    name = "dnsf-ours" if interface == "veth" else "lo"
    with answered_at(answering, name, mode):
        yield cable if interface == "veth" else Wire(None, LOOPBACK)


@pytest.fixture(params=["xdp", "xdp_generic", "tc"])
def veth(
    request: pytest.FixtureRequest, answering: AnswerLab, cable: Wire
) -> Iterator[Wire]:
    """The cable, while the program answers at our end."""
    with answered_at(answering, "dnsf-ours", request.param):
        yield cable


def responses(answering: AnswerLab, query: bytes, entry: Entry) -> list[bytes | None]:
    """Return what a worker says to *query* about now."""
    return [
        answering.response(query, entry, at_s)
        for at_s in range(now_s() - 1, now_s() + 1)
    ]


@pytest.mark.parametrize("family", FAMILIES, ids=["ipv4", "ipv6"])
def test_client_has_its_answer_and_the_server_hears_nothing(
    answering: AnswerLab, wire: Wire, family: socket.AddressFamily
) -> None:
    with wire.server(family) as server, wire.client(family) as client:
        for octets in range(1, 40):
            question = bytes([octets]) + b"x" * octets + b"\0\0\1\0\1"
            body = RECORD * (octets % 9)
            offsets = tuple(6 + len(RECORD) * n for n in range(octets % 9))
            entry = entry_for(question, body=body, ttl_offsets=offsets, age_s=1)
            answering.keep(entry)
            opt = OPT if octets % 2 else b""
            query = message_for(question.upper(), opt=opt, message_id=octets)

            with answering.counting(answered=1, is_alone=False):
                client.send(query)
                response = client.recv(4096)

            assert response in responses(answering, query, entry)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.recv(1)


@pytest.mark.parametrize("family", FAMILIES, ids=["ipv4", "ipv6"])
def test_server_hears_what_is_not_answered(
    answering: AnswerLab, wire: Wire, family: socket.AddressFamily
) -> None:
    absent = message_for(qname_of("other.test") + b"\0\0\1\0\1")
    short = [b"", QUERY[:11]]
    odd = [WITH_OPTION, QUERY + b"\0", QUERY[:-1], bytes(12), bytes(300), bytes(1200)]
    with wire.server(family) as server, wire.client(family) as client:
        with answering.counting(absent=1, unusual=len(odd), is_alone=False):
            for message in (absent, *short, *odd):
                client.send(message)
                received, address = server.recvfrom(4096)
                assert received == message
        with answering.counting(is_alone=False):
            server.sendto(b"pong", address)
            assert client.recv(4096) == b"pong"


@pytest.mark.parametrize("family", FAMILIES, ids=["ipv4", "ipv6"])
def test_query_that_lies_in_pages_is_answered(
    answering: AnswerLab, wire: Wire, family: socket.AddressFamily
) -> None:
    # Spliced, all but the headers stands beside the packet, as some drivers have it.
    reader, writer = os.pipe()
    try:
        with (
            wire.client(family) as client,
            answering.counting(answered=1, is_alone=False),
        ):
            os.write(writer, WITH_OPT)
            os.splice(reader, client.fileno(), len(WITH_OPT))
            assert client.recv(4096)[12:].startswith(QUESTION)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("family", FAMILIES, ids=["ipv4", "ipv6"])
def test_large_datagram_arrives_whole(wire: Wire, family: socket.AddressFamily) -> None:
    message = QUERY + bytes(20_000)
    with wire.server(family) as server, wire.client(family) as client:
        client.send(message)
        assert server.recv(1 << 16) == message


#: What a cable brings, this host's stack accepts and the program does not, and how it
#: counts that.
ACCEPTED: Final = {
    "ip-options": (Packet(IP, QUERY, ip_options=b"\1\1\1\1"), 0),
    "padding": (Packet(IP, QUERY, padding=bytes(5)), 0),
    "from-port-53": (Packet(IP, QUERY, source_port=53), 1),
    "from-our-port": (Packet(IP, QUERY, source_port=PORT), 1),
    "from-port-0": (Packet(IP, QUERY, source_port=0), 1),
    "ipv6-padding": (Packet(IPV6, QUERY, padding=bytes(5)), 0),
    "ipv6-from-port-0": (Packet(IPV6, QUERY, source_port=0), 1),
}


@pytest.mark.parametrize(("packet", "unusual"), ACCEPTED.values(), ids=ACCEPTED)
def test_odd_packet_gets_to_the_server(
    answering: AnswerLab, veth: Wire, packet: Packet, unusual: int
) -> None:
    with (
        veth.server(socket.AddressFamily(packet.family)) as server,
        answering.counting(unusual=unusual, is_alone=False),
    ):
        veth.put(packet)
        assert server.recv(4096) == QUERY


def test_fragments_get_to_the_server_as_one(veth: Wire) -> None:
    udp = veth.packet(Packet(IP, QUERY)).to_wire()[34:]
    with veth.server(IP) as server:
        veth.put(
            Packet(IP, b"", fragment=0x2000, ip_payload=udp[:16]),
            Packet(IP, b"", fragment=2, ip_payload=udp[16:]),
        )
        assert server.recv(4096) == QUERY


def test_extension_header_gets_to_the_server(veth: Wire) -> None:
    udp = veth.packet(Packet(IPV6, QUERY)).to_wire()[54:]
    padding = bytes((socket.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0))
    with veth.server(IPV6) as server:
        veth.put(Packet(IPV6, b"", protocol=60, ip_payload=padding + udp))
        assert server.recv(4096) == QUERY


def test_wrong_checksum_gets_no_answer_and_nothing_else(
    answering: AnswerLab, veth: Wire
) -> None:
    with veth.server(IP) as server, answering.counting(unusual=2, is_alone=False):
        veth.put(Packet(IP, QUERY, checksum=0x1234))
        # The stack takes it away after the program; what comes next does arrive.
        veth.put(Packet(IP, WITH_OPTION, source_port=53))
        assert server.recv(4096) == WITH_OPTION


@pytest.mark.parametrize("family", FAMILIES, ids=["ipv4", "ipv6"])
def test_who_says_to_be_us_is_not_answered(
    answering: AnswerLab, veth: Wire, family: socket.AddressFamily
) -> None:
    # What then becomes of it is for the stack to say, which is laxer with IPv6.
    liar = Packet(family, QUERY, source=OURS[family])
    with (
        veth.client(family) as client,
        answering.counting(client=1, answered=1, is_alone=False),
    ):
        veth.put(liar)
        client.send(QUERY)
        assert client.recv(4096)


@pytest.mark.parametrize("checksum", ["true", "none"])
def test_answer_to_a_whole_checksum_has_one(veth: Wire, checksum: str) -> None:
    with veth.receiving() as received:
        packet = Packet(IP, WITH_OPT, checksum=checksum)
        veth.put(packet)
        made = eventually(received)
    back = answer_to(veth.packet(packet), made[42:])
    assert made == back.to_wire()

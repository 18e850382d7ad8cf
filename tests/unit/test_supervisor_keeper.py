"""The process that keeps zones: what it takes from a primary, and when a zone ends."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dnsfront.supervisor.zones import keeper as zone_keeper
from dnsfront.supervisor.zones.keeper import KeptZone, _Keeper
from dnsfront.supervisor.zones.secondaries import Secondaries


class Primary:
    """A primary that says what a test lets it say, over UDP and TCP."""

    def __init__(self) -> None:
        self.serial = 1
        self.rcode = dns.rcode.NOERROR
        self.flags = dns.flags.AA
        self.asked: list[str] = []
        self.has_history = False
        self.udp, self.tcp = self._servers()
        self.port = self.udp.server_address[1]
        for server in (self.udp, self.tcp):
            threading.Thread(
                target=server.serve_forever, args=(0.01,), daemon=True
            ).start()

    def _servers(self) -> tuple[socketserver.UDPServer, socketserver.TCPServer]:
        """Return both at one port, which somebody may have over the other transport."""
        while True:
            tcp = socketserver.TCPServer(("127.0.0.1", 0), _over_tcp(self))
            try:
                return socketserver.UDPServer(tcp.server_address, _over_udp(self)), tcp
            except OSError:
                tcp.server_close()

    def response(self, octets: bytes) -> bytes:
        query = dns.message.from_wire(octets, keyring=False)
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append(kind)
        query.tsig = None
        response = dns.message.make_response(query)
        response.flags |= self.flags
        response.set_rcode(self.rcode)
        if self.rcode == dns.rcode.NOERROR:
            response.answer = list(self._answer(kind))
        return response.to_wire()

    def _answer(self, kind: str) -> Iterator[dns.rrset.RRset]:
        def soa(serial: int) -> dns.rrset.RRset:
            text = f"ns1.moved.test. host.moved.test. {serial} 2 1 10 60"
            return dns.rrset.from_text("moved.test.", 60, "IN", "SOA", text)

        def record(name: str, rtype: str, text: str) -> dns.rrset.RRset:
            return dns.rrset.from_text(name, 60, "IN", rtype, text)

        yield soa(self.serial)
        if kind == "IXFR" and self.has_history:
            yield soa(self.serial - 1)
            yield soa(self.serial)
            yield record("new.moved.test.", "A", "192.0.2.9")
            yield soa(self.serial)
        elif kind != "SOA":
            yield record("moved.test.", "NS", "ns1.moved.test.")
            yield record("www.moved.test.", "A", f"192.0.2.{self.serial}")
            yield soa(self.serial)

    def close(self) -> None:
        for server in (self.udp, self.tcp):
            server.shutdown()
            server.server_close()


def _over_udp(primary: Primary) -> Any:  # noqa: ANN401 - a class
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            octets, sock = self.request
            sock.sendto(primary.response(octets), self.client_address)

    return Handler


def _over_tcp(primary: Primary) -> Any:  # noqa: ANN401 - a class
    class Handler(socketserver.StreamRequestHandler):
        timeout = 5

        def handle(self) -> None:
            size = int.from_bytes(self.rfile.read(2), "big")
            octets = primary.response(self.rfile.read(size))
            self.wfile.write(struct.pack("!H", len(octets)) + octets)

    return Handler


@pytest.fixture
def primary() -> Iterator[Primary]:
    made = Primary()
    yield made
    made.close()


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(30)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def keeper(
    primary: Primary, tmp_path: Path, channel: tuple[socket.socket, socket.socket]
) -> _Keeper:
    path = str(tmp_path / "moved.zone")
    zone = KeptZone("moved.test", path, "127.0.0.1", primary.port, None)
    return _Keeper(zone, channel[0])


def test_zone_is_transferred_and_written(
    keeper: _Keeper, primary: Primary, tmp_path: Path
) -> None:
    keeper._refresh()

    assert "www.moved.test. 60 IN A 192.0.2.1" in (tmp_path / "moved.zone").read_text()
    assert json.loads((tmp_path / "moved.zone.state").read_text())["refreshed_at"]
    assert primary.asked == ["SOA", "AXFR"]


def test_equal_serial_is_no_transfer(keeper: _Keeper, primary: Primary) -> None:
    keeper._refresh()
    keeper._refresh()

    assert primary.asked == ["SOA", "AXFR", "SOA"]


@pytest.mark.parametrize("has_history", [True, False])
def test_newer_serial_is_transferred_by_its_differences(
    keeper: _Keeper, primary: Primary, tmp_path: Path, *, has_history: bool
) -> None:
    keeper._refresh()
    primary.serial, primary.has_history = 2, has_history

    keeper._refresh()

    assert primary.asked[2:] == ["SOA", "IXFR"]
    text = (tmp_path / "moved.zone").read_text()
    assert ("new.moved.test" in text) == has_history
    assert ("192.0.2.2" in text) != has_history


def test_older_serial_is_no_transfer(keeper: _Keeper, primary: Primary) -> None:
    primary.serial = 5
    keeper._refresh()
    primary.serial = 4

    keeper._refresh()

    assert primary.asked == ["SOA", "AXFR", "SOA"]


def test_primary_that_refuses_changes_nothing(
    keeper: _Keeper, primary: Primary, tmp_path: Path
) -> None:
    keeper._refresh()
    before = (tmp_path / "moved.zone").read_text()
    primary.rcode, primary.serial = dns.rcode.REFUSED, 2

    with pytest.raises(ValueError, match="it says REFUSED"):
        keeper._refresh()

    assert (tmp_path / "moved.zone").read_text() == before


def test_primary_without_authority_is_not_believed(
    keeper: _Keeper, primary: Primary
) -> None:
    primary.flags = dns.flags.RA

    with pytest.raises(ValueError, match="no authority"):
        keeper._refresh()


def test_unsigned_responses_are_not_believed_where_there_is_a_key(
    primary: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_keeper, "_ASK_S", 0.2)
    monkeypatch.setattr(zone_keeper, "_ASK_AGAIN_S", 0.2)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    key = ("k.test", "hmac-sha256", "c2VjcmV0")
    order = KeptZone("moved.test", str(tmp_path / "z"), "127.0.0.1", primary.port, key)
    with ours, theirs:
        keeper = _Keeper(order, ours)

        with pytest.raises((dns.exception.DNSException, ValueError)):
            keeper._refresh()

    assert not (tmp_path / "z").exists()


def test_zone_ends_when_it_was_not_refreshed_for_too_long(
    keeper: _Keeper, tmp_path: Path
) -> None:
    keeper._refresh()

    keeper._expire()
    assert (tmp_path / "moved.zone").exists()
    keeper._refreshed_at = time.time() - 11
    keeper._expire()

    assert not (tmp_path / "moved.zone").exists()
    assert (tmp_path / "moved.zone.expired").exists()


def test_what_became_of_each_try_is_told(
    keeper: _Keeper, primary: Primary, channel: tuple[socket.socket, socket.socket]
) -> None:
    def told() -> dict[str, Any]:
        message = json.loads(channel[1].recv(65536))
        assert isinstance(message, dict)
        return message

    primary.rcode = dns.rcode.REFUSED
    keeper.start()
    first = told()
    primary.rcode = dns.rcode.NOERROR
    while (second := told()) == first:
        pass
    keeper.stop()

    assert (first["state"], first["reason"]) == ("expired", "it says REFUSED")
    assert (second["state"], second["serial"]) == ("fresh", 1)


def test_a_fault_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    secondaries = Secondaries()
    caplog.set_level("INFO")
    stale = {"origin": "a.test", "state": "stale", "serial": 1, "reason": "REFUSED"}
    fresh = {**stale, "state": "fresh", "reason": ""}

    for told in (fresh, stale, stale, fresh, {**fresh, "serial": 2}):
        secondaries._note(told)

    assert [record.levelname for record in caplog.records] == [
        "INFO", "WARNING", "INFO", "INFO",
    ]  # fmt: skip
    assert "zone_transferred origin=a.test serial=2" in caplog.text

"""The process that keeps copies of zones as their primaries have them.

It asks each primary for its serial as the zone's SOA record says (RFC 1034, 4.3.5),
has what changed transferred (RFC 1995, RFC 5936), and writes the zone to its file: the
supervisor sees that file as any other that was saved. Which zones these are comes as
JSON over a socket, and what became of them goes back. It has the user that owns the
directory of the files.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.serial
import dns.tsig
import dns.xfr
import dns.zone

_MAX_PACKET_OCTETS: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1
#: For an answer over UDP, and then over TCP.
_ASK_S: Final = 2.0
_ASK_AGAIN_S: Final = 5.0
_TRANSFER_S: Final = 600.0
_SILENCE_S: Final = 30.0
#: How long to wait at most where there is no SOA record yet to say so.
_BLIND_RETRY_S: Final = 60.0
_FASTEST_S: Final = 1.0
_SLOWEST_S: Final = 86400.0
#: What a primary, a network or a disk may do to us.
_FAULTS: Final = (dns.exception.DNSException, OSError, EOFError, ValueError)


@dataclass(frozen=True)
class KeptZone:
    """One zone to be kept, and where from; *key* is name, algorithm and secret."""

    origin: str
    path: str
    host: str
    port: int
    key: tuple[str, str, str] | None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> KeptZone:
        """Return what the supervisor wrote."""
        key = data.pop("key")
        return cls(**data, key=None if key is None else tuple(key))


class _Keeper(threading.Thread):
    """Keeps one zone; *tell* is told what became of each try."""

    def __init__(self, order: KeptZone, channel: socket.socket) -> None:
        super().__init__(daemon=True)
        self.order = order
        self._channel = channel
        self._origin = dns.name.from_text(order.origin)
        self._path = Path(order.path)
        self._state = Path(f"{order.path}.state")
        self._soa: dns.rdtypes.ANY.SOA.SOA | None = None
        self._refreshed_at = 0.0
        self._stopped = threading.Event()
        self._keyring: Any = None
        if order.key is not None:
            name, algorithm, secret = order.key
            self._keyring = dns.tsig.Key(name, secret, algorithm)

    def stop(self) -> None:
        """Keep the zone no more."""
        self._stopped.set()

    def run(self) -> None:
        """Refresh the zone whenever it is time for that."""
        with contextlib.suppress(*_FAULTS):
            self._note(self._load())
            self._refreshed_at = self._path.stat().st_mtime
            state = json.loads(self._state.read_text("ascii"))
            self._refreshed_at = float(state["refreshed_at"])
        wait_s = 0.0
        while not self._stopped.wait(wait_s):
            try:
                self._refresh()
            except _FAULTS as exc:
                self._expire()
                self._tell("expired" if self._soa is None else "stale", _reason(exc))
                wait_s = min(2 * wait_s, _BLIND_RETRY_S)
                if self._soa is not None:
                    wait_s = self._soa.retry
            else:
                self._tell("fresh", "")
                assert self._soa is not None, "it was refreshed"
                wait_s = self._soa.refresh
            wait_s = min(max(wait_s, _FASTEST_S), _SLOWEST_S)

    def _refresh(self) -> None:
        serial = self._ask_serial()
        if self._soa is None or dns.serial.Serial(serial) > self._soa.serial:
            zone = self._transferred()
            # A file that nobody asks for any more is not written.
            if self._stopped.is_set():
                return
            self._write(zone)
            self._note(zone)
        self._refreshed_at = time.time()
        temporary = self._draft_of(self._state)
        temporary.write_text(json.dumps({"refreshed_at": self._refreshed_at}))
        temporary.replace(self._state)

    def _ask_serial(self) -> int:
        order = self.order
        query = dns.message.make_query(self._origin, "SOA")
        query.flags &= ~dns.flags.RD
        if self._keyring is not None:
            query.use_tsig(self._keyring)
        try:
            response, _is_tcp = dns.query.udp_with_fallback(
                query, order.host, _ASK_S, order.port
            )
        except dns.exception.Timeout:
            response = dns.query.tcp(query, order.host, _ASK_AGAIN_S, order.port)
        if response.rcode() != dns.rcode.NOERROR:
            raise ValueError(f"it says {dns.rcode.to_text(response.rcode())}")
        if self._keyring is not None and not response.had_tsig:
            raise ValueError("its response is not signed")
        rrset = response.get_rrset(
            response.answer, self._origin, dns.rdataclass.IN, dns.rdatatype.SOA
        )
        if rrset is None or not response.flags & dns.flags.AA:
            raise ValueError("it has no authority for the zone")
        return int(rrset[0].serial)

    def _transferred(self) -> dns.zone.Zone:
        """Return the zone as the primary has it, from what changed if that can be."""
        if self._soa is not None:
            with contextlib.suppress(*_FAULTS):
                return self._transfer(self._load())
        return self._transfer(dns.zone.Zone(self._origin, relativize=False))

    def _transfer(self, zone: dns.zone.Zone) -> dns.zone.Zone:
        order = self.order
        query, _serial = dns.xfr.make_query(zone, keyring=self._keyring)
        dns.query.inbound_xfr(
            order.host, zone, query, order.port, _SILENCE_S, _TRANSFER_S
        )
        zone.check_origin()
        return zone

    def _load(self) -> dns.zone.Zone:
        return dns.zone.from_file(
            str(self._path), self._origin, relativize=False, allow_include=False
        )

    def _note(self, zone: dns.zone.Zone) -> None:
        soa = zone.get_soa()
        assert isinstance(soa, dns.rdtypes.ANY.SOA.SOA)
        self._soa = soa

    def _write(self, zone: dns.zone.Zone) -> None:
        temporary = self._draft_of(self._path)
        with temporary.open("wb") as file:
            zone.to_file(file, relativize=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def _draft_of(self, path: Path) -> Path:
        """Return where what becomes *path* is written: nobody else writes there.

        While one front end takes over from another, both keep the zone.
        """
        return Path(f"{path}.{os.getpid()}.{id(self):x}")

    def _expire(self) -> None:
        """Serve the zone no more if it could not be refreshed for too long."""
        soa = self._soa
        if soa is not None and time.time() - self._refreshed_at > soa.expire:
            self._soa = None
            with contextlib.suppress(OSError):
                self._path.replace(f"{self._path}.expired")

    def _tell(self, state: str, reason: str) -> None:
        if self._stopped.is_set():
            return
        serial = None if self._soa is None else self._soa.serial
        message = {
            "origin": self.order.origin,
            "state": state,
            "serial": serial,
            "reason": reason,
            "refreshed_at": self._refreshed_at or None,
        }
        with contextlib.suppress(OSError):
            self._channel.send(json.dumps(message).encode())


def _reason(exc: Exception) -> str:
    text = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
    return text[:500]


def main() -> None:
    """Keep what is ordered until the supervisor is gone; the descriptor is given."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    keepers: dict[str, _Keeper] = {}
    while octets := channel.recv(_MAX_PACKET_OCTETS):
        # Whoever forked this process may have had no time to end before.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        orders = [KeptZone.from_json(data) for data in json.loads(octets)]
        wanted = {order.origin: order for order in orders}
        for origin in [x for x in keepers if wanted.get(x) != keepers[x].order]:
            keepers.pop(origin).stop()
        for order in orders:
            if order.origin not in keepers:
                _become_owner(Path(order.path).parent)
                keepers[order.origin] = _Keeper(order, channel)
                keepers[order.origin].start()


def _become_owner(folder: Path) -> None:
    """Be the user that owns *folder*, where root's rights are not needed."""
    with contextlib.suppress(OSError):
        status = folder.stat()
        if os.geteuid() == 0 and status.st_uid:
            os.setgroups([])
            os.setgid(status.st_gid)
            os.setuid(status.st_uid)


if __name__ == "__main__":
    main()

"""nsd, which serves zone files too: what it says about them is compared with ours."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
from pathlib import Path
from typing import Final, Self

import dns.message

from tests.system.front import free_address
from tests.system.processes import Program, needed
from tests.waiting import eventually

SERVER: Final = """\
server:
  ip-address: {address.host}@{address.port}
  zonesdir: "{folder}"
  database: ""
  zonelistfile: "{folder}/zone.list"
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  username: ""
  server-count: 1
  minimal-responses: yes
  refuse-any: no
remote-control:
  control-enable: no
"""
_ZONE: Final = """\
zone:
  name: {origin}
  zonefile: "{zone}"
"""


class Nsd:
    """One nsd with one zone, for as long as the context lasts."""

    def __init__(self, folder: Path, origin: str, text: str) -> None:
        self.address = free_address()
        zone = folder / "nsd.zone"
        zone.write_text(text, encoding="utf-8")
        config = folder / "nsd.conf"
        config.write_text(
            SERVER.format(address=self.address, folder=folder)
            + _ZONE.format(origin=origin, zone=zone),
            encoding="ascii",
        )
        self._program = Program(
            needed("nsd"), "-d", "-c", str(config), log=folder / "nsd.log"
        )
        self._stream: socket.socket | None = None

    def __enter__(self) -> Self:
        self._stream = eventually(self._connected, within_s=10)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._stream is not None:
            self._stream.close()
        self._program.end()

    def _connected(self) -> socket.socket | None:
        assert self._program.exit_code is None, self._program.output()
        with contextlib.suppress(ConnectionError):
            address = (self.address.host, self.address.port)
            return socket.create_connection(address, 5)
        return None

    def ask(self, qname: str, rdtype: str, *, is_dnssec_ok: bool = False) -> bytes:
        """Return the response, as it came over TCP."""
        assert self._stream is not None
        query = dns.message.make_query(
            qname, rdtype, want_dnssec=is_dnssec_ok
        ).to_wire()
        self._stream.sendall(struct.pack("!H", len(query)) + query)
        (size,) = struct.unpack("!H", self._take(2))
        return self._take(size)

    def _take(self, size: int) -> bytes:
        assert self._stream is not None
        octets = b""
        while len(octets) < size:
            piece = self._stream.recv(size - len(octets))
            assert piece, self._program.output()
            octets += piece
        return octets


def refusal(folder: Path, origin: str, text: str) -> str | None:
    """Return what nsd has against the zone file *text*, None for nothing."""
    path = folder / "checked.zone"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [needed("nsd-checkzone"), origin, str(path)],
        capture_output=True,
        check=False,
        text=True,
    )
    return done.stdout + done.stderr if done.returncode else None

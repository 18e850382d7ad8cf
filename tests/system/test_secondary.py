"""Zones that come from a primary, which is a real nsd, with TSIG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.system.front import DEMO_ZONE, Address, FrontEnd, free_address
from tests.system.nsd import SERVER
from tests.system.processes import Program, needed
from tests.waiting import eventually

SECRET: Final = "c2VjcmV0IG9mIGEgdGVzdCwgb2YgMzIgb2N0ZXRzLi4="  # noqa: S105 - of a test
CONFIG: Final = """\
key:
  name: transfer.test
  algorithm: hmac-sha256
  secret: "{secret}"
zone:
  name: moved.test
  zonefile: "{folder}/moved.zone"
  provide-xfr: 127.0.0.1 transfer.test
"""


def zone_text(serial: int, address: str, expire: int = 1000) -> str:
    return (
        f"$TTL 60\n@ SOA ns1 hostmaster {serial} 1 1 {expire} 60\n@ NS ns1\n"
        f'ns1 A 192.0.2.53\nwww A {address}\nText TXT "a \\"b\\" \\200"\n'
    )


class Primary:
    """An nsd with the zone moved.test."""

    def __init__(self, folder: Path) -> None:
        self.address = free_address()
        self._folder = folder
        self._program: Program | None = None
        text = SERVER.format(address=self.address, folder=folder)
        text += CONFIG.format(folder=folder, secret=SECRET)
        (folder / "nsd.conf").write_text(text, encoding="ascii")

    def serve(self, text: str) -> None:
        (self._folder / "moved.zone").write_text(text, encoding="ascii")
        config = str(self._folder / "nsd.conf")
        log = self._folder / "nsd.log"
        self._program = Program(needed("nsd"), "-d", "-c", config, log=log)

    def end(self) -> None:
        if self._program is not None:
            self._program.end()
            self._program = None


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Primary]:
    folder = tmp_path / "nsd"
    folder.mkdir()
    made = Primary(folder)
    try:
        yield made
    finally:
        made.end()


def asked(address: Address, name: str, rtype: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, rtype)
    return dns.query.udp(query, address.host, 5, address.port)


def www(front: FrontEnd) -> str:
    """Return what www.moved.test is, or the rcode."""
    response = asked(front.address, "www.moved.test")
    if response.answer:
        return response.answer[0][0].to_text()
    return dns.rcode.to_text(response.rcode())


def state(front: FrontEnd) -> dict[str, Any]:
    [zone] = front.status()["secondary_zones"]
    assert isinstance(zone, dict)
    return zone


def test_zone_of_a_primary_is_kept_as_the_primary_has_it(
    tmp_path: Path, primary: Primary
) -> None:
    entry = {
        "origin": "moved.test",
        "file": "kept/moved.zone",
        "primary": {
            "address": str(primary.address),
            "key": {"name": "transfer.test", "secret": SECRET},
        },
    }
    kept = tmp_path / "kept/moved.zone"
    kept.parent.mkdir()
    kept.write_text(zone_text(1, "192.0.2.1"), encoding="ascii")
    primary.serve(zone_text(2, "192.0.2.2"))
    with FrontEnd(tmp_path, zones=[DEMO_ZONE, entry]) as front:
        eventually(lambda: www(front) == "192.0.2.2", within_s=10)
        # Another worker may be told of it a little later.
        answer = eventually(
            lambda: asked(front.address, "text.moved.test", "TXT").answer, within_s=10
        )
        assert answer[0][0].to_text() == '"a \\"b\\" \\200"'
        eventually(lambda: state(front)["serial"] == 2, within_s=10)
        assert state(front)["state"] == "fresh"
        assert (
            'dnsfront_zone_fresh{zone="moved.test"} 1.0' in front.get("/metrics").body
        )

    assert "192.0.2.2" in kept.read_text("ascii")

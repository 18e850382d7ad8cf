"""What the config says about responses holds, and changes with a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import pytest

from dnsfront import __version__
from tests.system.clients import ask
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.upstream import Asked, FakeUpstream, Response


def long_answer(asked: Asked) -> list[Response]:
    """Tell three addresses, or two kilobytes of text."""
    if asked.rdtype == "TXT":
        return [asked.response(*(f"300 TXT {'x' * 200}{n}" for n in range(10)))]
    return [asked.response(*(f"300 A 192.0.2.{n}" for n in range(3)))]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[FrontEnd]:
    with FakeUpstream(long_answer) as upstream:
        upstreams = {"servers": [{"address": str(upstream.address)}]}
        with FrontEnd(tmp_path, zones=[DEMO_ZONE], upstreams=upstreams) as made:
            yield made


def told(front: FrontEnd, name: str) -> str:
    query = dns.message.make_query(name, "TXT", dns.rdataclass.CH)
    host, port = front.address
    response = dns.query.udp(query, host, port=port, timeout=3)
    if response.answer:
        return str(response.answer[0][0].strings[0].decode())
    return dns.rcode.to_text(response.rcode())


def size_of(front: FrontEnd, qname: str) -> tuple[int, bool]:
    """Return the size that is announced, and whether 2 kB came whole."""
    response = ask(front.address, qname, "TXT", payload=4096)
    return response.payload, bool(response.answer)


def first_of(front: FrontEnd, qname: str) -> set[str]:
    """Return the addresses that came first in six answers."""
    return {str(ask(front.address, qname).answer[0][0]) for _ in range(6)}


def test_choices_hold_from_the_reload_on(front: FrontEnd) -> None:
    assert told(front, "id.server") in front.pids()
    assert told(front, "version.bind") == "REFUSED"
    assert size_of(front, "before.test") == (1232, False)
    assert len(first_of(front, "before.test")) == 1

    front.configure(
        identity={"id": "site-{worker}", "version": "dnsfront {version}"},
        edns={"udp_size": 4096},
        cache={"rotate": True},
    )
    code, printed = front.command("reload")

    assert code == 0, printed
    assert told(front, "hostname.bind") in {f"site-{name}" for name in front.pids()}
    assert told(front, "version.server") == f"dnsfront {__version__}"
    assert size_of(front, "after.test") == (4096, True)
    assert len(first_of(front, "after.test")) == 3

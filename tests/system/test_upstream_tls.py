"""Unbound behind the front end, asked over TLS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.resolver import Unbound
from tests.unit.authority import NAME, Authority
from tests.waiting import eventually

#: include/net/tcp_states.h
_ESTABLISHED = "01"
_MORE = "".join(f"n{number}.test. IN A 192.0.2.7\n" for number in range(300))


@pytest.fixture(scope="module")
def authority(folder: Path) -> Path:
    made = Authority()
    made.identity(NAME).save(folder, "server")
    path = folder / "ca.pem"
    path.write_text(made.pem, encoding="ascii")
    return path


@pytest.fixture(scope="module")
def unbound(folder: Path, authority: Path) -> Iterator[Unbound]:
    identity = authority.parent / "server.pem", authority.parent / "server.key"
    with Unbound(folder, _MORE, identity) as made:
        yield made


@pytest.fixture(scope="module")
def front(folder: Path, unbound: Unbound) -> Iterator[FrontEnd]:
    with FrontEnd(
        folder, upstreams=upstreams(unbound), ring={"workers": 1}, edns={}
    ) as made:
        yield made


def upstreams(unbound: Unbound, name: str = NAME) -> dict[str, Any]:
    tls = {"name": name, "ca": "ca.pem"}
    return {"servers": [{"address": str(unbound.tls_address), "tls": tls}]}


def records(response: dns.message.Message) -> set[str]:
    """Return the records of the answer, whose order changes each time."""
    return {line for rrset in response.answer for line in str(rrset).splitlines()}


def handshakes(front: FrontEnd, unbound: Unbound) -> Counter[str]:
    """Return how many came to what."""
    name, end = "upstream_tls_handshakes ", f" {unbound.tls_address}"
    counts = front.metrics().counts()
    return Counter(
        {
            told.removeprefix(name).removesuffix(end): count
            for told, count in counts.items()
            if told.startswith(name) and told.endswith(end)
        }
    )


def test_answers_over_tls_are_those_of_the_resolver(
    front: FrontEnd, unbound: Unbound
) -> None:
    for qname, rdtype in [
        ("www.test", "A"),
        ("one.test", "A"),
        ("nowhere.test", "A"),
        ("mail.test", "MX"),
        ("large.test", "TXT"),
        ("www.test", "CAA"),
    ]:
        ours = ask(front.address, qname, rdtype, nsid=False, over_tcp=True)
        theirs = ask(unbound.address, qname, rdtype, nsid=False, over_tcp=True)

        assert ours.rcode() == theirs.rcode()
        assert records(ours) == records(theirs)
    counts = front.metrics().counts()
    assert counts[f"upstream_failures {unbound.tls_address}"] == 0
    assert handshakes(front, unbound)["full"] >= 1


def connections(unbound: Unbound) -> int:
    """Return how many connections over TLS it has, those of probes among them."""
    lines = Path("/proc/thread-self/net/tcp").read_text(encoding="ascii").splitlines()
    local = f":{unbound.tls_address.port:04X}"
    ends = [x.split()[1:4] for x in lines[1:]]
    return sum(x[0].endswith(local) and x[2] == _ESTABLISHED for x in ends)


def test_server_that_closes_idle_connections_loses_nothing(
    front: FrontEnd, unbound: Unbound
) -> None:
    names = iter(range(200))
    for _ in range(2):
        before = sum(handshakes(front, unbound).values())
        assert ask(front.address, f"n{next(names)}.test").rcode() == dns.rcode.NOERROR
        # Unbound closes what was idle for 0.3 s.
        eventually(lambda: not connections(unbound), within_s=10)
        assert ask(front.address, f"n{next(names)}.test").rcode() == dns.rcode.NOERROR
        assert sum(handshakes(front, unbound).values()) == before + 1

    found = handshakes(front, unbound)
    assert found["resumed"] >= 1
    assert set(found) <= {"full", "resumed"}


def test_resolver_that_is_killed_and_comes_back_is_asked_again(
    front: FrontEnd, unbound: Unbound
) -> None:
    unbound.kill()
    assert ask(front.address, "n200.test").rcode() == dns.rcode.SERVFAIL

    unbound.start_again()

    names = iter(range(201, 300))
    eventually(
        lambda: ask(front.address, f"n{next(names)}.test").rcode() == dns.rcode.NOERROR,
        within_s=15,
    )


def test_certificate_that_is_another_is_named_once_and_nothing_is_asked(
    front: FrontEnd, unbound: Unbound
) -> None:
    front.configure(upstreams=upstreams(unbound, "other.example"))
    eventually(lambda: server(front)["tls"]["fault"] == "name")
    asked = unbound.queries()

    response = ask(front.address, "never.test")

    assert response.rcode() == dns.rcode.SERVFAIL
    assert unbound.queries() == asked
    assert server(front)["tls"]["name"] == "other.example"
    eventually(lambda: not server(front)["up"])
    labels = {"pool": "default", "upstream": str(unbound.tls_address), "fault": "name"}
    assert (
        labels,
        1,
    ) in [
        (sample.labels, sample.value)
        for sample in front.metrics().samples
        if sample.name == "dnsfront_upstream_not_believed"
    ]
    assert front.log().count("upstream_not_believed") == 1

    front.configure(upstreams=upstreams(unbound))
    eventually(lambda: server(front)["up"] and not server(front)["tls"]["fault"])
    eventually(
        lambda: ask(front.address, "ns.test").rcode() == dns.rcode.NOERROR, within_s=15
    )
    assert front.log().count("upstream_believed") == 1


def server(front: FrontEnd) -> dict[str, Any]:
    [only] = front.status()["upstreams"]
    return dict(only)

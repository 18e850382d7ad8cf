"""What was asked for twice is answered in the kernel, and only while it is true."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter as Hits
from collections.abc import Iterator
from pathlib import Path

import dns.rcode
import pytest

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.processes import needed
from tests.system.upstream import Asked, FakeUpstream, Response
from tests.waiting import eventually

ZONE = """$ORIGIN zone.test.
@ 300 SOA ns host {serial} 1 1 1 300
@ 300 NS ns
ns 300 A 192.0.2.1
www 300 A {address}
"""


class Answers:
    """An upstream whose address for every name can be changed."""

    def __init__(self) -> None:
        self.address = "192.0.2.10"

    def __call__(self, asked: Asked) -> list[Response]:
        return [asked.response(f"3600 A {self.address}")]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def zone(folder: Path) -> Path:
    path = folder / "zone"
    path.write_text(ZONE.format(serial=1, address="192.0.2.80"))
    return path


@pytest.fixture(scope="module")
def serving(folder: Path, answers: Answers, zone: Path) -> Iterator[FrontEnd]:
    with (
        FakeUpstream(answers) as upstream,
        FrontEnd(
            folder,
            ring={"workers": 2},
            upstreams={"servers": [{"address": str(upstream.address)}]},
            zones=[{"origin": "zone.test", "file": str(zone)}],
            kernel_cache={"mode": "tc"},
        ) as made,
    ):
        yield made


@pytest.fixture
def front(serving: FrontEnd, answers: Answers) -> Iterator[FrontEnd]:
    """Yield the one that serves, with nothing cached, and as it was configured."""
    config = serving.path.read_text()
    answers.address = "192.0.2.10"
    assert serving.command("flush", "--all")[0] == 0
    yield serving
    serving.restore(config)
    assert serving.command("reload")[0] == 0


def hits(front: FrontEnd) -> int:
    return sum(front.metrics().by_worker("kernel_cache_hits_total").values())


def addresses(front: FrontEnd, qname: str) -> list[str]:
    """Return what a client is told that sends no option."""
    response = ask(front.address, qname, nsid=False)
    return [str(record) for rrset in response.answer for record in rrset]


def is_from_kernel(front: FrontEnd, qname: str) -> bool:
    before = hits(front)
    addresses(front, qname)
    return hits(front) > before


def bring_in(front: FrontEnd, *qnames: str) -> None:
    """Ask for *qnames* until the kernel answers for all of them."""

    def are_all_there() -> bool:
        return not [qname for qname in qnames if not is_from_kernel(front, qname)]

    eventually(are_all_there)


@pytest.mark.parametrize("mode", ["tc", "xdp"])
def test_hits_of_the_kernel_reach_no_worker_and_count_as_its_own(
    front: FrontEnd, mode: str
) -> None:
    front.configure(kernel_cache={"mode": mode})
    assert front.command("reload")[0] == 0
    bring_in(front, "a.test", "www.zone.test")

    seen = front.metrics()
    before, by_worker = seen.counts(), Hits(seen.by_worker("kernel_cache_hits_total"))
    for _ in range(20):
        assert addresses(front, "A.tesT") == ["192.0.2.10"]
        assert addresses(front, "www.zone.test") == ["192.0.2.80"]
    seen = front.metrics()
    after = seen.counts()
    by_worker = Hits(seen.by_worker("kernel_cache_hits_total")) - by_worker

    changed = {name: n for name in after if (n := after[name] - before[name])}
    assert changed == {
        "kernel_cache_hits": 40,
        "queries udp": 40,
        "responses NOERROR": 40,
        "cache_requests": 20,
        "cache_hits": 20,
        # Responses on their way to the client come by lo, too.
        "kernel_cache_passed not_ours": changed["kernel_cache_passed not_ours"],
    }
    owned = front.lookup(["a.test", "www.zone.test"])
    assert by_worker == Hits(20 * [owner for owner, *_ in owned.values()])


def test_status_and_lookup_tell_what_the_kernel_answers(front: FrontEnd) -> None:
    assert "(in the kernel" not in front.command("lookup", "--live", "a.test")[1]
    bring_in(front, "a.test")

    assert "(in the kernel: A)" in front.command("lookup", "--live", "a.test")[1]
    assert "queries answered in the kernel at lo: " in front.command("status")[1]
    told = front.status()
    assert told["kernel_cache"]["hits"] == hits(front)
    assert sum(worker["kernel_hits"] for worker in told["workers"]) == hits(front)


def test_what_wants_a_worker_gets_one(front: FrontEnd) -> None:
    bring_in(front, "a.test")
    before = hits(front)

    assert ask(front.address, "a.test").options  # NSID
    assert ask(front.address, "a.test", over_tcp=True, nsid=False).answer
    assert ask(front.address, "a.test", "TXT", nsid=False).answer is not None

    assert hits(front) == before


def test_flush_is_of_the_kernel_too(front: FrontEnd, answers: Answers) -> None:
    bring_in(front, "a.test", "b.test")
    answers.address = "192.0.2.11"

    assert front.command("flush", "a.test")[0] == 0

    assert addresses(front, "a.test") == ["192.0.2.11"]
    assert addresses(front, "b.test") == ["192.0.2.10"]


def test_zone_that_is_saved_answers_from_the_reload_on(
    front: FrontEnd, zone: Path
) -> None:
    bring_in(front, "www.zone.test")

    zone.write_text(ZONE.format(serial=2, address="192.0.2.81"))
    assert front.command("reload")[0] == 0

    assert addresses(front, "www.zone.test") == ["192.0.2.81"]


def test_zone_that_comes_answers_in_place_of_an_upstream(
    front: FrontEnd, tmp_path: Path
) -> None:
    bring_in(front, "www.new.test")
    path = tmp_path / "new"
    text = ZONE.replace("zone.test", "new.test")
    path.write_text(text.format(serial=1, address="192.0.2.90"))

    front.configure(zones=[{"origin": "new.test", "file": str(path)}])
    assert front.command("reload")[0] == 0

    assert addresses(front, "www.new.test") == ["192.0.2.90"]


def test_client_who_is_shut_out_is_refused_from_the_reload_on(front: FrontEnd) -> None:
    bring_in(front, "a.test")

    front.configure(access={"allow": ["192.0.2.0/24"]})
    assert front.command("reload")[0] == 0

    response = ask(front.address, "a.test", nsid=False)
    assert response.rcode() == dns.rcode.REFUSED


def test_death_of_a_worker_falsifies_nothing_and_its_names_come_back(
    front: FrontEnd,
) -> None:
    bring_in(front, "a.test")
    owner = front.lookup(["a.test"])["a.test"][0]
    pid = front.pids()[owner]

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: front.pids().get(owner) not in (None, pid))
    front.wait_ready()
    assert addresses(front, "a.test") == ["192.0.2.10"]
    bring_in(front, "a.test")


def test_resize_keeps_every_answer_true(front: FrontEnd, answers: Answers) -> None:
    names = [f"n{number}.test" for number in range(8)]
    bring_in(front, *names)
    answers.address = "192.0.2.99"  # nobody is to ask for it

    for workers in (4, 1, 2):
        front.configure(ring={"workers": workers})
        assert front.command("reload")[0] == 0
        assert [addresses(front, name) for name in names] == [["192.0.2.10"]] * 8

    bring_in(front, *names)


def test_take_over_goes_on_with_it(front: FrontEnd, answers: Answers) -> None:
    bring_in(front, "a.test")
    answers.address = "192.0.2.99"

    front.take_over()

    assert addresses(front, "a.test") == ["192.0.2.10"]
    bring_in(front, "a.test")


def test_switch_turns_it_off_and_on(front: FrontEnd) -> None:
    bring_in(front, "a.test")

    front.configure(kernel_cache={"mode": "off"})
    assert front.command("reload")[0] == 0
    assert not is_from_kernel(front, "a.test")
    assert front.status()["kernel_cache"]["interfaces"] == []

    front.configure(kernel_cache={"mode": "auto", "max_answer": "1232B"})
    assert front.command("reload")[0] == 0
    bring_in(front, "a.test")
    [interface] = front.status()["kernel_cache"]["interfaces"]
    assert interface == {"name": "lo", "hook": "tc", "reason": None}


def test_interface_that_is_not_there_is_told_and_costs_nothing(
    front: FrontEnd,
) -> None:
    front.configure(kernel_cache={"mode": "tc", "interfaces": ["lo", "none0"]})
    assert front.command("reload")[0] == 0
    bring_in(front, "a.test")

    told = {x["name"]: x for x in front.status()["kernel_cache"]["interfaces"]}
    assert told["lo"]["hook"] == "tc"
    assert told["none0"]["reason"] == (
        "answer at none0 (tc): there is no interface of that name"
    )
    assert "not answered in the kernel: answer at none0" in front.command("status")[1]
    metrics = front.metrics()
    assert metrics.value("kernel_cache_attached", interface="none0") == 0
    assert metrics.value("kernel_cache_attached", interface="lo") == 1
    assert "kernel_cache_not_attached" in front.log()


@pytest.fixture
def filtered() -> Iterator[str]:
    """Yield an interface that is up, of a host whose packet filter has a rule."""
    needed("nft")
    name = "filtered0"
    _run("ip", "link", "add", name, "type", "veth", "peer", "name", "filtered1")
    try:
        _run("ip", "link", "set", name, "up")
        _filter("input")
        yield name
    finally:
        _run("nft", "flush", "ruleset")
        _run("ip", "link", "delete", name)


def test_auto_stays_behind_a_packet_filter(front: FrontEnd, filtered: str) -> None:
    both = ["lo", filtered]
    front.configure(kernel_cache={"mode": "auto", "interfaces": both})

    assert front.command("reload")[0] == 0
    bring_in(front, "a.test")
    assert hooks(front) == {"lo": "tc", filtered: None}
    told = {x["name"]: x for x in front.status()["kernel_cache"]["interfaces"]}
    assert "filters packets (nftables inet t input)" in told[filtered]["reason"]

    _run("nft", "flush", "ruleset")
    eventually(lambda: hooks(front) == {"lo": "tc", filtered: "tc"})
    _filter("output")
    eventually(lambda: hooks(front) == {"lo": "tc", filtered: None})

    front.configure(kernel_cache={"mode": "tc", "interfaces": both})
    assert front.command("reload")[0] == 0
    eventually(lambda: hooks(front) == {"lo": "tc", filtered: "tc"})


def test_trouble_that_passes_switches_it_on_again(front: FrontEnd) -> None:
    port = front.address.port
    front.configure(listen=[f"0.0.0.0:{port}"], kernel_cache={"mode": "tc"})
    assert front.command("reload")[0] == 0
    bring_in(front, "a.test")
    many = [f"10.{n >> 8}.{n & 255}.1/32" for n in range(4200)]
    try:
        _ip_batch("add", many)
        eventually(lambda: "addresses and ports" in str(reason(front)))
        assert addresses(front, "a.test") == ["192.0.2.10"]
        assert not is_from_kernel(front, "a.test")
    finally:
        _ip_batch("delete", many)

    eventually(lambda: reason(front) is None)
    bring_in(front, "a.test")


def test_interface_that_is_made_anew_is_answered_at_again(front: FrontEnd) -> None:
    add = ("ip", "link", "add", "anew0", "index", "77", "type", "veth", "peer", "anew1")
    up = ("ip", "link", "set", "anew0", "up")
    front.configure(kernel_cache={"mode": "tc", "interfaces": ["lo", "anew0"]})
    _run(*add)
    try:
        _run(*up)
        assert front.command("reload")[0] == 0
        eventually(lambda: hooks(front) == {"lo": "tc", "anew0": "tc"})
        before = front.log().count("kernel_cache_attached interface=anew0")
        _run("ip", "link", "delete", "anew0")
        _run(*add)
        _run(*up)
        eventually(
            lambda: front.log().count("kernel_cache_attached interface=anew0") > before
        )
    finally:
        _run("ip", "link", "delete", "anew0")


def reason(front: FrontEnd) -> object:
    """Return why nothing is answered in the kernel, None where it is."""
    return front.status()["kernel_cache"]["reason"]


def _ip_batch(verb: str, networks: list[str]) -> None:
    lines = "".join(f"address {verb} {network} dev lo\n" for network in networks)
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)


def hooks(front: FrontEnd) -> dict[str, str | None]:
    """Return the hook at each interface, None where there is none."""
    return {x["name"]: x["hook"] for x in front.status()["kernel_cache"]["interfaces"]}


def _filter(hook: str) -> None:
    _run("nft", "add table inet t")
    _run("nft", f"add chain inet t {hook} {{ type filter hook {hook} priority 0; }}")
    _run("nft", f"add rule inet t {hook} accept")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)

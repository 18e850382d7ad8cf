"""A change of the config: what it names changes, and not one query is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, ask_all, nsid_of, nsid_query, receive, summary
from tests.system.front import DEMO_ZONE, FrontEnd, lookup
from tests.system.load import under_load
from tests.system.metrics import hit, missed, responded, steered
from tests.system.processes import DNSFRONT, output_of
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

NAMES = [f"name{number}.test" for number in range(2000)]
QNAMES = [qname_of(name) for name in NAMES]
ZONE_NAMES = [f"name{number}.example.test" for number in range(500)]
APPLIED_WITHIN_S = 10.0

Owners = Mapping[str, str]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def shared(folder: Path, upstream: FakeUpstream) -> Iterator[FrontEnd]:
    upstreams = {"servers": [{"address": str(upstream.address)}]}
    with FrontEnd(
        folder, ring={"workers": 4}, upstreams=upstreams, zones=[DEMO_ZONE]
    ) as made:
        yield made


@pytest.fixture
def front(shared: FrontEnd) -> Iterator[FrontEnd]:
    """The front end with four workers, empty caches and the config of the start."""
    config = shared.path.read_text("utf-8")
    assert shared.command("flush", "--all")[0] == 0
    yield shared
    shared.restore(config)
    assert shared.command("reload")[0] == 0
    assert shared.pids().keys() == {"w1", "w2", "w3", "w4"}


def by_saving(front: FrontEnd, **sections: object) -> None:
    """Save a changed config, and leave the rest to the front end."""
    front.configure(**sections)


def by_sighup(front: FrontEnd, **sections: object) -> None:
    """Save a changed config so that nobody notices, and send SIGHUP."""
    save_unnoticed(front, **sections)
    front.program.signal(signal.SIGHUP)


def by_command(front: FrontEnd, **sections: object) -> None:
    """Save a changed config so that nobody notices, and run `dnsfront reload`."""
    save_unnoticed(front, **sections)
    code, text = front.command("reload")
    assert (code, text[:21]) == (0, "reloaded: generation "), text


def save_unnoticed(front: FrontEnd, **sections: object) -> None:
    """Save the config with the size, the inode and the time of before."""
    before = front.path.stat()
    kept = front.path.with_suffix(".kept")
    os.link(front.path, kept)
    front.configure(**sections)
    kept.write_bytes(front.path.read_bytes())
    os.utime(kept, ns=(before.st_atime_ns, before.st_mtime_ns))
    kept.replace(front.path)
    after = front.path.stat()
    assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)


Change = Callable[..., None]
WAYS = pytest.mark.parametrize("change", [by_saving, by_sighup, by_command])


def asked(front: FrontEnd) -> Owners:
    """Return who answers each name."""
    return dict(zip(NAMES, map(nsid_of, ask_all(front.address, QNAMES)), strict=True))


def owners(preferences: Mapping[str, Sequence[str]]) -> Owners:
    return {name: preference[0] for name, preference in preferences.items()}


def announced(old: Path, new: Path) -> dict[str, Any]:
    """Return what `dnsfront diff` says."""
    printed = output_of(*DNSFRONT, "diff", "--json", str(old), str(new))
    told: dict[str, Any] = json.loads(printed)
    return told


@WAYS
def test_change_of_workers_moves_the_names_that_diff_announces_and_no_others(
    front: FrontEnd, upstream: FakeUpstream, tmp_path: Path, change: Change
) -> None:
    address = str(upstream.address)
    old = tmp_path / "old.yaml"
    old.write_bytes(front.path.read_bytes())
    pids, generation = front.pids(), front.status()["generation"]
    with front.counting(steered(len(NAMES)) + missed(len(NAMES), address)):
        before = asked(front)
    assert before == owners(lookup(old, NAMES))
    counts = front.metrics().counts()

    change(front, ring={"workers": 5})
    eventually(lambda: front.pids().keys() == {*pids, "w5"}, APPLIED_WITHIN_S)
    eventually(lambda: front.status()["generation"] == generation + 1, APPLIED_WITHIN_S)

    told = announced(old, front.path)
    after = owners(front.lookup(NAMES))
    moved = [name for name in NAMES if after[name] != before[name]]
    assert {after[name] for name in moved} == {"w5"}
    assert {x["name"] for x in told["workers"] if x["gained"]} == {"w5"}
    front.expect(
        counts,
        {
            "config_reloads success": 1,
            "ring_slots_moved": told["slots_moved"],
            "cache_adopted": len(moved),
        },
    )
    # Cached answers went along with their names.
    with front.counting(steered(len(NAMES)) + hit(len(NAMES))):
        assert asked(front) == after
    assert {**front.pids(), "w5": 0} == {**pids, "w5": 0}

    change(front, ring={"workers": 4})
    eventually(lambda: front.pids() == pids, APPLIED_WITHIN_S)
    eventually(lambda: front.status()["generation"] == generation + 2, APPLIED_WITHIN_S)

    with front.counting(steered(len(NAMES)) + hit(len(NAMES))):
        assert asked(front) == before


def test_no_query_is_lost_while_workers_come_and_go(front: FrontEnd) -> None:
    rings: list[dict[str, Any]] = [
        {"workers": 5},
        {"workers": 2},
        {"workers": [{"name": "w1"}, {"name": "other", "weight": 3}]},
        {"workers": [{"name": "other"}, {"name": "spare", "standby": True}]},
        {"workers": 4},
    ]
    ways: list[Change] = [by_saving, by_hangup_after_saving, by_reload_after_saving]

    with under_load(front.address, ZONE_NAMES + NAMES) as load:
        for number, ring in enumerate(rings):
            generation = front.status()["generation"]
            ways[number % len(ways)](front, ring=ring)
            eventually(partial(is_past, front, generation), APPLIED_WITHIN_S)
        eventually(lambda: front.pids().keys() == {"w1", "w2", "w3", "w4"}, 10)

    assert load.sent > 0
    assert load.lost == []
    assert set(load.rcodes) == {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}


def is_past(front: FrontEnd, generation: int) -> bool:
    return bool(front.status()["generation"] > generation)


def by_hangup_after_saving(front: FrontEnd, **sections: object) -> None:
    front.configure(**sections)
    front.program.signal(signal.SIGHUP)


def by_reload_after_saving(front: FrontEnd, **sections: object) -> None:
    front.configure(**sections)
    code, text = front.command("reload")
    assert code == 0, text


def test_drained_worker_finishes_its_pending_queries(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    preferences = front.lookup(NAMES)
    name = next(name for name in NAMES if preferences[name][0] == "w4")
    pid = front.pids()["w4"]

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with upstream.holding(name):
            sock.sendto(nsid_query(qname_of(name), 1), front.address)
            eventually(lambda: upstream.count(name))
            front.configure(ring={"workers": 3})
            front.program.signal(signal.SIGHUP)
            eventually(lambda: front.worker("w4")["state"] == "draining")
        response = dns.message.from_wire(receive(sock))

    assert response.answer
    assert nsid_of(response) == "w4"
    eventually(lambda: "w4" not in front.pids(), APPLIED_WITHIN_S)
    [exited] = [x for x in front.log().splitlines() if f"pid={pid} status" in x]
    assert exited.endswith("status=0")


def test_drain_and_undrain_take_a_worker_out_and_put_it_back(front: FrontEnd) -> None:
    preferences = front.lookup(NAMES)
    home = owners(preferences)

    code, text = front.command("drain", "w2")

    assert (code, text[:11]) == (0, "drained w2:")
    assert asked(front) == {
        name: preferences[name][home[name] == "w2"] for name in NAMES
    }
    assert front.worker("w2")["state"] == "drained"
    # The file says what was meant, the server what is.
    assert front.lookup(NAMES) == preferences
    told = json.loads(front.command("lookup", "--live", "--json", *NAMES)[1])
    assert {x["name"]: x["owner"] for x in told} == asked(front)
    ring = json.loads(front.command("ring", "--live", "--json")[1])
    assert ring == json.loads(front.get("/ring.json").body)
    assert "w2" not in {worker["name"] for worker in ring["workers"]}

    code, text = front.command("undrain", "w2")

    assert (code, text[:13]) == (0, "undrained w2:")
    assert asked(front) == home


def test_wrong_config_keeps_the_old_one_and_every_mistake_is_told(
    front: FrontEnd,
) -> None:
    before, pids = front.metrics().counts(), front.pids()

    front.configure(ring={"workers": 0}, cache={"max_entries": -1}, nonsense=1)
    eventually(lambda: "nonsense: " in front.log(), APPLIED_WITHIN_S)
    front.expect(before, {"config_reloads failure": 1})
    code, text = front.command("reload")

    assert code == 1
    mistakes = [line.split(": ")[1] for line in text.splitlines()]
    assert sorted(mistakes) == ["cache.max_entries", "nonsense", "ring.workers"]
    assert all(line.startswith(f"{front.path}:") for line in text.splitlines())
    front.expect(before, {"config_reloads failure": 2})
    refused = front.status()["config"]["refused"]["mistakes"]
    assert sorted(mistake["key"] for mistake in refused) == sorted(mistakes)
    assert f"\n{text.splitlines()[0]}\n" in front.command("status")[1]
    assert front.metrics().value("config_last_reload_successful") == 0
    assert front.pids() == pids
    assert front.is_ready()
    with front.counting(steered(1) + responded(1, "zone")):
        assert ask(front.address, "www.example.test").answer


def test_change_that_needs_a_restart_is_refused_by_name(front: FrontEnd) -> None:
    front.configure(ring={"workers": 2, "seed": "another", "slots": 1024})
    code, text = front.command("reload")

    assert code == 1
    assert text.startswith("ring.slots, ring.seed: changed, want a restart")
    assert len(front.pids()) == 4
    assert ask(front.address, "www.example.test").answer


def test_saved_zone_file_is_served(tmp_path: Path) -> None:
    zone = tmp_path / "saved.zone"
    text = """$TTL 300
@    IN SOA  ns1 hostmaster 1 3600 900 604800 60
@    IN NS   ns1
ns1  IN A    192.0.2.53
www  IN A    {}
"""
    zone.write_text(text.format("192.0.2.1"))
    with FrontEnd(
        tmp_path, zones=[{"origin": "saved.test", "file": str(zone)}]
    ) as front:
        first = ask(front.address, "www.saved.test")
        assert str(first.answer[0][0]) == "192.0.2.1"

        zone.write_text(text.format("192.0.2.222"))

        def told() -> str:
            return str(ask(front.address, "www.saved.test").answer[0][0])

        eventually(lambda: told() == "192.0.2.222", APPLIED_WITHIN_S)


def test_changed_upstreams_are_asked(front: FrontEnd, upstream: FakeUpstream) -> None:
    with FakeUpstream() as other:
        assert summary(ask(front.address, "first.test")) == ("NOERROR", [])
        counts = Counter(upstream.queries)

        by_reload_after_saving(
            front, upstreams={"servers": [{"address": str(other.address)}]}
        )

        with front.counting(steered(1) + missed(1, str(other.address))):
            ask(front.address, "second.test")
        assert other.count("second.test") == 1
        assert upstream.queries == counts


def test_pending_queries_of_a_replaced_upstream_are_answered(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    with (
        FakeUpstream() as other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        with upstream.holding("held.test"):
            sock.sendto(nsid_query(qname_of("held.test"), 1), front.address)
            eventually(lambda: upstream.count("held.test"))
            by_reload_after_saving(
                front, upstreams={"servers": [{"address": str(other.address)}]}
            )
        response = dns.message.from_wire(receive(sock))

    assert summary(response) == ("NOERROR", [])
    assert other.count("held.test") == 0


def test_progress_of_a_drain_is_shown_while_it_lasts(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    preferences = front.lookup(NAMES)
    name = next(name for name in NAMES if preferences[name][0] == "w4")
    asked(front)
    before = upstream.count(name)
    assert front.command("flush", name)[0] == 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ThreadPoolExecutor(1) as pool,
    ):
        with upstream.holding(name):
            sock.sendto(nsid_query(qname_of(name), 1), front.address)
            eventually(lambda: upstream.count(name) == before + 1)
            draining = pool.submit(front.command, "drain", "w4")
            change = eventually(lambda: progress(front, "draining"))
            worker = eventually(lambda: pending(front, "w4"))
        code, text = draining.result()
        assert receive(sock)

    assert change["workers"] == ["w4"]
    assert (worker["state"], worker["pending"]) == ("draining", 1)
    assert 0 <= worker["draining_for_s"] < worker["drain_within_s"]
    moved = sum(1 for x in NAMES if preferences[x][0] == "w4") - 1
    assert (code, f" {moved} cached entries handed over, " in text) == (0, True), text
    assert front.status()["change"] is None
    assert front.command("undrain", "w4")[0] == 0


def progress(front: FrontEnd, step: str) -> dict[str, Any] | None:
    """Return the change under way, if it is at *step*."""
    change: dict[str, Any] | None = front.status()["change"]
    return change if change and change["step"] == step else None


def pending(front: FrontEnd, name: str) -> dict[str, Any] | None:
    """Return the status of a worker that has something pending, and says so."""
    worker = front.worker(name)
    return worker if worker["pending"] else None

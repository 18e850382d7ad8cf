"""Births, deaths and what workers are told, with played processes."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from dnsfront.errors import UnavailableError
from dnsfront.ipc.messages import Flush
from dnsfront.ipc.stats import Counter
from dnsfront.kernel.load import LOAD_OCTETS
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.front import Front
from dnsfront.supervisor.workers import worker as worker_module
from dnsfront.supervisor.workers.state import State
from dnsfront.supervisor.workers.tally import MAX_GONE, Tallies
from dnsfront.supervisor.workers.worker import Worker
from tests.unit.supervisor_fakes import (
    PlayedProcess,
    eventually,
    everything_due,
    play,
    played,
    running,
    write_config,
)

__all__ = ["played"]

Played = type[PlayedProcess]


def worker_named(front: Front, name: str) -> Worker:
    return next(worker for worker in front.roster if worker.name == name)


def test_the_start_goes_in_the_order_that_loses_nothing(
    played: Played, tmp_path: Path
) -> None:
    async def run() -> list[tuple[Any, ...]]:
        async with running(write_config(tmp_path)):
            await everything_due()
            return list(played.events)

    assert asyncio.run(run()) == [
        ("spawned", "w1"),
        ("spawned", "w2"),
        *[("socket", 1)] * 2,
        *[("socket", 2)] * 2,
        ("published", frozenset({1, 2})),
        ("attached", socket.SOCK_DGRAM),
        ("attached", socket.SOCK_STREAM),
        ("start", "w1"),
        ("start", "w2"),
        ("live", 1),
        ("live", 2),
        ("know_peers", "w1", 2),
        ("know_peers", "w2", 1),
    ]


def test_a_death_clears_the_live_bit_first_and_is_answered_by_a_birth(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        groups = front.datapath.groups
        sockets = groups.sockets_of(2, groups.listeners)

        played.by_name["w2"].die()

        assert played.events[0] == ("not live", 2)
        assert worker_named(front, "w2").state is State.DOWN
        await eventually(lambda: worker_named(front, "w2").state is State.UP)
        assert front.roster.tallies["w2"].restarts == 1
        assert groups.sockets_of(2, groups.listeners) == sockets
        assert front.datapath.steering.live_ids() == {1, 2}

    play(write_config(tmp_path), story)


def test_the_others_hear_of_a_death(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        worker_named(front, "w3")._policy._deaths_in_a_row = 9  # a slow respawn

        played.by_name["w3"].die()
        await everything_due()

        assert ("know_peers", "w1", 2) in played.events
        assert ("know_peers", "w2", 1) in played.events

    play(write_config(tmp_path, workers="3"), story)


def test_whoever_drains_is_a_peer_until_it_is_gone(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        front.roster.withdraw(["w2", "w3"])
        await everything_due()

        assert [event for event in played.events if event[0] == "know_peers"] == [
            ("know_peers", "w1", 2, 3),
            ("know_peers", "w2", 1, 3),
            ("know_peers", "w3", 1, 2),
        ]

        played.events.clear()
        played.by_name["w2"].die()
        await everything_due()

        assert [event for event in played.events if event[0] == "know_peers"] == [
            ("know_peers", "w1", 3),
            ("know_peers", "w3", 1),
        ]

    play(write_config(tmp_path, workers="3"), story)


def test_nobody_begins_to_serve_while_all_pause(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        await front.broadcast.pause()
        played.by_name["w2"].die()
        await eventually(lambda: worker_named(front, "w2").state is State.UP)
        await everything_due()
        assert "know_peers" not in {event[0] for event in played.events}

        front.broadcast.resume()

        assert [event for event in played.events if event[1] == "w2"][-3:] == [
            ("start", "w2"),
            ("know_peers", "w2", 1),
            ("resume", "w2"),
        ]

    play(write_config(tmp_path), story)


def test_who_stays_hears_who_left_when_a_successor_serves(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        await front.broadcast.pause()
        front.broadcast.hand_on()
        assert "know_peers" not in {event[0] for event in played.events}

        front.roster.withdraw(["w2"])
        await everything_due()

        assert ("know_peers", "w1", 2) in played.events

    play(write_config(tmp_path), story)


def test_a_worker_that_dies_too_often_is_left_out_and_told(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        played.fails_to_start = {"w2"}

        played.by_name["w2"].die()
        await eventually(lambda: worker_named(front, "w2").state is State.FAILED)

        # The kernel's own choice must not fill a socket that nobody reads.
        assert 2 not in front.datapath.groups
        assert front.readiness.lacks() == ["worker w2 is failed"]
        assert front.roster.tallies["w2"].restarts == 4

        played.fails_to_start = set()
        worker_named(front, "w2")._respawn()
        await everything_due()

        assert 2 in front.datapath.groups
        assert front.readiness.lacks() == []

    play(write_config(tmp_path), story)


def test_the_last_worker_keeps_its_sockets_when_it_is_left_out(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        worker_named(front, "w1")._policy.is_left_out = True

        played.by_name["w1"].die()

        assert worker_named(front, "w1").state is State.FAILED
        assert 1 in front.datapath.groups

    play(write_config(tmp_path, workers="1"), story)


def test_only_names_that_left_long_ago_are_forgotten() -> None:
    tallies = Tallies()
    for number in range(MAX_GONE + 3):
        tallies.of(f"w{number}")
    tallies.of("w0").restarts = 7
    serving = {"w2", *(f"w{number}" for number in range(5, MAX_GONE + 3))}

    # Given up, not by when they came but by when they went.
    for name in ("w3", "w4", "w1", "w0"):
        tallies.left(name, serving)
    assert len(tallies) == MAX_GONE + 3
    for number in range(5, MAX_GONE + 3):
        serving.discard(f"w{number}")
        tallies.left(f"w{number}", serving)

    assert set(tallies) == {"w2", "w0", "w1"} | {
        f"w{number}" for number in range(5, MAX_GONE + 3)
    }
    assert tallies.of("w0").restarts == 7
    tallies.close()


@pytest.mark.usefixtures("played")
def test_a_name_long_gone_takes_no_memory_and_no_descriptor(tmp_path: Path) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        for number in range(MAX_GONE + 9):
            front.roster.launch([f"x{number}"])
            front.roster.discard([f"x{number}"])

        assert len(front.roster.tallies) == MAX_GONE + len(front.roster.names)

    play(write_config(tmp_path), story)


def test_gauges_of_a_dead_process_are_zero(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        words = front.roster.tallies["w1"].words
        words[Counter.CACHE_ENTRIES] = 500
        words[Counter.CACHE_EVICTIONS] = 7

        played.by_name["w1"].die()

        assert words[Counter.CACHE_ENTRIES] == 0
        assert words[Counter.CACHE_EVICTIONS] == 7

    play(write_config(tmp_path), story)


def test_a_worker_that_is_late_is_killed(
    played: Played, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        worker_named(front, "w1")._on_late()

        assert ("killed", "w1") in played.events
        assert "worker_late worker=w1" in caplog.text
        await everything_due()

    play(write_config(tmp_path), story)


def test_a_flush_sums_what_all_workers_dropped(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        assert await front.broadcast.flush(Flush("example.test.", is_suffix=True)) == 6

    play(write_config(tmp_path), story)
    assert played.refuses is None


def test_a_start_without_any_worker_fails_and_leaves_nothing(
    played: Played, tmp_path: Path
) -> None:
    path = write_config(tmp_path)
    played.fails_to_start = {"w1", "w2"}

    async def run() -> None:
        async with running(path):
            pass

    with pytest.raises(UnavailableError, match="no worker got ready"):
        asyncio.run(run())

    port = int((tmp_path / "ports").read_text().split()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))


def test_a_start_with_some_workers_serves(played: Played, tmp_path: Path) -> None:
    played.fails_to_start = {"w2"}

    async def story(front: Front, _reloader: Reloader) -> None:
        assert worker_named(front, "w1").state is State.UP
        assert front.datapath.publisher.generation == 1

    play(write_config(tmp_path), story)


@pytest.mark.usefixtures("played")
def test_what_others_write_to_load_makes_no_worker_look_hung(tmp_path: Path) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        worker = worker_named(front, "w1")
        listener = front.datapath.groups.listeners[0]
        load = front.datapath.steering._load  # type: ignore[attr-defined] - the real one
        words = LOAD_OCTETS // 8 * worker.worker_id

        load[words] = 1000

        signs = worker.vitals(is_serving=True)
        assert signs is not None
        assert signs.backlog == 0

        [ours] = front.datapath.groups.sockets_of(worker.worker_id, [listener])
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            # The kernel may choose either socket where no program does.
            other = worker_named(front, "w2")
            [theirs] = front.datapath.groups.sockets_of(other.worker_id, [listener])
            theirs.sock.connect(theirs.sock.getsockname())
            client.sendto(b"x", ours.sock.getsockname())
            signs = worker.vitals(is_serving=True)
        assert signs is not None
        assert signs.backlog == 1000
        before = signs.taken
        load[words + 8] = 7
        worker.tally.words[Counter.QUERIES_UDP] += 1
        signs = worker.vitals(is_serving=True)
        assert signs is not None
        assert signs.taken == before + 1

    play(write_config(tmp_path), story)


@pytest.mark.usefixtures("played")
def test_a_worker_that_is_busy_with_datagrams_of_any_transport_takes_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker_module.DATAGRAM_QUERIES == (Counter.QUERIES_UDP,)
    both = (Counter.QUERIES_UDP, Counter.QUERIES_TCP)
    monkeypatch.setattr(worker_module, "DATAGRAM_QUERIES", both)

    async def story(front: Front, _reloader: Reloader) -> None:
        worker = worker_named(front, "w1")
        before = worker.vitals(is_serving=True)

        worker.tally.words[Counter.QUERIES_TCP] += 1

        after = worker.vitals(is_serving=True)
        assert before is not None
        assert after is not None
        assert after.taken == before.taken + 1

    play(write_config(tmp_path), story)

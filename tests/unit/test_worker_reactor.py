"""The readiness loop: who is called, in which round, and when it ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.reactor import READ, WRITE, Reactor
from tests.unit.worker_rig import NS, interpreted


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Rounds:
    """A reactor that stops after so many rounds, and what happened in them."""

    def __init__(self, rounds: int = 1) -> None:
        self.left = rounds
        self.log: list[str] = []
        self.reactor = Reactor(
            Clock(),
            now_ns=self.now_ns,
            after_round=self.after,
            on_tick=self.tick,
            on_fault=lambda part: self.log.append(f"fault {part}"),
        )

    def now_ns(self) -> int:
        self.log.append("before")
        return time.monotonic_ns()

    def tick(self, _now_ns: int) -> bool:
        self.log.append("tick")
        return True

    def after(self) -> float | None:
        self.log.append("after")
        self.left -= 1
        if self.left == 0:
            self.reactor.stop()
        return 0

    def run(self) -> list[str]:
        self.reactor.run()
        return self.log


def test_round_goes_through_its_parts_in_order() -> None:
    with pair() as (ours, theirs):
        rounds = Rounds()
        rounds.reactor.watch(ours.fileno(), lambda _event: rounds.log.append("ready"))
        theirs.send(b"x")

        assert rounds.run() == ["before", "ready", "tick", "after"]


def test_ticks_are_rarer_than_rounds() -> None:
    log = Rounds(50).run()

    assert log.count("before") == log.count("after") == 50
    assert 1 <= log.count("tick") < 10


@pytest.mark.parametrize("events", [READ, WRITE, READ | WRITE])
def test_callback_is_told_what_its_descriptor_is_ready_for(events: int) -> None:
    with pair() as (ours, theirs):
        rounds = Rounds()
        found: list[int] = []
        theirs.send(b"x")
        rounds.reactor.watch(ours.fileno(), found.append, events)

        rounds.run()

        assert found == [events]


def test_watching_again_replaces_callback_and_events() -> None:
    with pair() as (ours, theirs):
        rounds = Rounds()
        first: list[int] = []
        second: list[int] = []
        theirs.send(b"x")
        rounds.reactor.watch(ours.fileno(), first.append)

        rounds.reactor.watch(ours.fileno(), second.append, WRITE)
        rounds.run()

        assert (first, second) == ([], [WRITE])


def test_descriptor_forgotten_within_a_round_is_left_alone() -> None:
    with pair() as (one, its_peer), pair() as (two, other_peer):
        rounds = Rounds()
        called: list[str] = []

        def forget_both(name: str) -> None:
            called.append(name)
            for sock in (one, two):
                rounds.reactor.forget(sock.fileno())

        rounds.reactor.watch(one.fileno(), lambda _event: forget_both("one"))
        rounds.reactor.watch(two.fileno(), lambda _event: forget_both("two"))
        its_peer.send(b"x")
        other_peer.send(b"x")

        rounds.run()

        assert len(called) == 1


def test_forgetting_a_stranger_is_no_mistake() -> None:
    with pair() as (ours, _theirs):
        Rounds().reactor.forget(ours.fileno())


def test_fault_of_a_callback_is_told_and_the_others_are_called() -> None:
    with pair() as (ours, theirs), pair() as (other, friend):
        rounds = Rounds()
        called = []

        def fail(_event: int) -> None:
            raise ZeroDivisionError

        rounds.reactor.watch(ours.fileno(), fail)
        rounds.reactor.watch(other.fileno(), called.append)
        theirs.send(b"x")
        friend.send(b"x")

        log = rounds.run()

        assert called == [READ]
        assert [x for x in log if x.startswith("fault")] == [
            f"fault {fail.__qualname__}"
        ]
        assert log[-1] == "after"


@pytest.mark.parametrize("part", ["tick", "round"])
def test_fault_of_a_round_does_not_end_the_loop(part: str) -> None:
    rounds = Rounds(3)
    faults: list[str] = []

    def fail(_now_ns: int) -> bool:
        raise ZeroDivisionError

    def after() -> float | None:
        if rounds.after() == 0 and part == "round":
            raise ZeroDivisionError
        return 0

    reactor = Reactor(
        Clock(),
        after_round=after,
        on_tick=fail if part == "tick" else rounds.tick,
        on_fault=faults.append,
    )
    rounds.reactor = reactor

    reactor.run()

    assert set(faults) == {part}
    assert rounds.left == 0


def test_descriptor_whose_every_event_is_a_fault_is_given_up() -> None:
    with pair() as (ours, theirs):
        rounds = Rounds(5000)

        def fail(_event: int) -> None:
            raise ZeroDivisionError

        rounds.reactor.watch(ours.fileno(), fail)
        theirs.send(b"x")

        log = rounds.run()

        faults = sum(x.startswith("fault") for x in log)
        assert 1000 <= faults < 5000


class Quiet(Rounds):
    """A reactor whose first round ticks; its time stands still from then on."""

    def __init__(self, wanted_s: float | None) -> None:
        super().__init__()
        self.wanted_s = wanted_s

    def now_ns(self) -> int:
        return 1

    def after(self) -> float | None:
        self.log.append("after")
        return self.wanted_s

    def ready(self, event: int, *, rounds: int, is_done: bool) -> bool | None:
        del event
        self.log.append("ready")
        if self.log.count("ready") == rounds:
            self.reactor.stop()
        return is_done or None


@pytest.mark.parametrize(
    ("is_done", "wanted_s", "ends"),
    [(True, None, 1), (False, None, 4), (True, 0, 4), (True, 60, 4)],
    ids=["all is done", "something is left", "work is left", "a time-out is awaited"],
)
def test_end_of_a_round_is_spared_where_nobody_left_anything_for_it(
    *, is_done: bool, wanted_s: float | None, ends: int
) -> None:
    with pair() as (ours, theirs):
        rounds = Quiet(wanted_s)
        theirs.send(b"x")
        rounds.reactor.watch(
            ours.fileno(), lambda event: rounds.ready(event, rounds=4, is_done=is_done)
        )

        log = rounds.run()

        assert log.count("ready") == 4
        assert log.count("after") == ends


def test_fault_has_the_end_of_its_round() -> None:
    with pair() as (ours, theirs):
        rounds = Quiet(None)
        theirs.send(b"x")

        def fail(event: int) -> None:
            if rounds.ready(event, rounds=4, is_done=True):
                raise ZeroDivisionError

        rounds.reactor.watch(ours.fileno(), fail)

        assert rounds.run().count("after") == 4


class Resting(Rounds):
    """A reactor whose time goes on by what it waits for, and never waits."""

    def __init__(self, rounds: int, *, is_ticking: bool) -> None:
        super().__init__(rounds)
        self.is_ticking = is_ticking
        self.waits: list[int] = []
        self.now = NS
        self.events: list[tuple[int, int]] = []
        self.reactor._wait = self.wait

    def wait(self, wait_ms: int) -> list[tuple[int, int]]:
        self.waits.append(wait_ms)
        if self.events:
            # Something comes ahead of time.
            self.now += NS // 100
            return [self.events.pop()]
        self.now += wait_ms * NS // 1000
        return []

    def now_ns(self) -> int:
        return self.now

    def tick(self, _now_ns: int) -> bool:
        self.log.append("tick")
        return self.is_ticking

    def after(self) -> float | None:
        super().after()
        return None


@interpreted
def test_worker_at_rest_wakes_up_rarely() -> None:
    rounds = Resting(5, is_ticking=False)

    rounds.run()

    assert rounds.waits == [0, 6000, 6000, 6000, 6000]


@interpreted
def test_worker_with_something_that_becomes_overdue_ticks() -> None:
    rounds = Resting(5, is_ticking=True)

    rounds.run()

    assert rounds.waits == [0, 250, 250, 250, 250]


@interpreted
def test_whatever_happens_is_followed_by_a_tick() -> None:
    rounds = Resting(4, is_ticking=False)
    rounds.reactor._callbacks[7] = lambda _event: None
    rounds.events = [(7, READ)] * 2

    rounds.run()

    # The first comes with the tick of the start, the second soon after it.
    assert rounds.waits == [0, 6000, 250, 6000]
    assert rounds.log.count("tick") == 3

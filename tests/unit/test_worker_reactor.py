"""The readiness loop: who is called, in which round, and when it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dnsfront.worker.reactor import READ, WRITE, Reactor


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
            before_round=lambda _now_ns: self.log.append("before"),
            after_round=self.after,
            on_tick=lambda _now_ns: self.log.append("tick"),
        )

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


def test_exception_of_a_callback_is_not_hidden() -> None:
    with pair() as (ours, theirs):
        rounds = Rounds()

        def fail(_event: int) -> None:
            raise ZeroDivisionError

        rounds.reactor.watch(ours.fileno(), fail)
        theirs.send(b"x")

        with pytest.raises(ZeroDivisionError):
            rounds.run()

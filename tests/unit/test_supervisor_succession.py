"""What a running front end says to its successor, and what of it it survives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dnsfront.errors import ControlError
from dnsfront.ipc import channel, memory
from dnsfront.ipc.packets import Descriptor, pack
from dnsfront.supervisor.change.progress import Progress
from dnsfront.supervisor.change.turns import Turns
from dnsfront.supervisor.takeover import spawn
from dnsfront.supervisor.takeover.conversation import Conversation
from dnsfront.supervisor.takeover.messages import PROTOCOL, SendEntries
from dnsfront.supervisor.takeover.successor import Succession
from tests.unit.supervisor_fakes import eventually

LETS_GO = {"op": "let_go"}


class PlayedFront:
    """Stands in for what is offered, and for the ways in; *fault* meets its pause."""

    destinations = "here"

    def __init__(self, fault: Exception | None = None) -> None:
        self.events: list[str] = []
        self._fault = fault

    async def send(self, conversation: Conversation) -> None:
        del conversation
        self.events.append("offered")

    async def transfer_to(self, *_order: object) -> int:
        self.events.append("transferred")
        return 7

    async def pause(self) -> None:
        self.events.append("paused")
        if self._fault is not None:
            raise self._fault

    async def resume(self) -> None:
        self.events.append("resumed")

    def hand_on(self) -> None:
        self.events.append("handed on")


def succession_of(front: PlayedFront) -> Succession:
    parts: list[Any] = [front, front, Turns(), Progress(), front]
    return Succession(*parts)


@contextlib.asynccontextmanager
async def sleeper() -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process that a front end may end, and look that it did."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import signal; signal.pause()")
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def take_over(
    front: PlayedFront, behave: Callable[[socket.socket], object]
) -> int:
    """Have a successor ask, be let go ahead, and *behave*; return how it ended."""
    succession = succession_of(front)
    async with asyncio.timeout(60), sleeper() as process:
        theirs = succession.begin({"protocol": PROTOCOL, "from_pid": process.pid})
        with theirs:
            channel.send(theirs, LETS_GO)
            behave(theirs)
            assert succession._task is not None
            await asyncio.wait({succession._task})
        assert not succession.done.is_set()
        return await process.wait()


@pytest.mark.parametrize(("destinations", "entries"), [("here", 7), ("there", 0)])
def test_entries_are_sent_to_who_has_names_go_where_they_go_here(
    destinations: str, entries: int
) -> None:
    front = PlayedFront()
    heard: list[Any] = []

    async def ask() -> None:
        succession = succession_of(front)
        theirs = succession.begin({"protocol": PROTOCOL, "from_pid": 1})
        table_fd = memory.sealed("table", b"")
        with theirs:
            order = SendEntries((), "00", destinations, Descriptor(table_fd), ())
            channel.send(theirs, *pack(order))
            theirs.setblocking(False)  # noqa: FBT003 - as it is
            loop = asyncio.get_running_loop()
            heard.append(json.loads(await loop.sock_recv(theirs, 1000)))
        os.close(table_fd)
        assert succession._task is not None
        await asyncio.wait({succession._task})

    asyncio.run(ask())

    assert heard == [{"op": "entries_sent", "entries": entries}]
    assert ("transferred" in front.events) == bool(entries)


@pytest.mark.parametrize(
    ("request_fields", "got"),
    [({"protocol": PROTOCOL - 1}, PROTOCOL - 1), ({}, None)],
    ids=["an older one", "none"],
)
def test_successor_of_another_protocol_is_refused_with_what_to_do(
    request_fields: dict[str, Any], got: int | None
) -> None:
    succession = succession_of(PlayedFront())

    with pytest.raises(ControlError) as caught:
        succession.begin({"from_pid": 1, **request_fields})

    assert str(caught.value) == (
        f"take-over: got protocol {got}, want {PROTOCOL}; stop this instance and start "
        "the other one"
    )
    assert not succession.done.is_set()


@pytest.mark.parametrize(
    ("behave", "told"),
    [
        (lambda sock: sock.send(b"no json"), "the other instance: Expecting value"),
        (lambda sock: sock.send(b" " * 70_000), "the message was cut"),
        (lambda sock: sock.send(b"[]"), "the other instance said "),
        (lambda sock: channel.send(sock, LETS_GO), "said let_go, want serving"),
        (lambda sock: sock.close(), "the other instance is gone"),
    ],
    ids=["no JSON", "a cut message", "no object", "another message", "nothing more"],
)
def test_whatever_a_successor_does_that_was_let_go_ahead_this_one_serves_again(
    behave: Callable[[socket.socket], object],
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    front = PlayedFront()

    status = asyncio.run(take_over(front, behave))

    assert status < 0, "ended"
    assert front.events == ["offered", "paused", "resumed"]
    [line] = [x for x in caplog.messages if x.startswith("takeover_failed ")]
    assert told in line


def test_a_fault_while_it_lets_go_is_logged_and_this_one_serves_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    front = PlayedFront(fault=RuntimeError("odd"))

    asyncio.run(take_over(front, lambda _sock: None))

    assert front.events == ["offered", "paused", "resumed"]
    [record] = [x for x in caplog.records if x.msg.startswith("task_failed")]
    assert record.getMessage() == "task_failed task=take-over"
    assert "RuntimeError: odd" in caplog.text


def test_a_new_process_that_takes_too_long_is_ended_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def restart() -> None:
        async with sleeper() as process:

            async def start(*_args: str, **_options: object) -> object:
                return process

            monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
            monkeypatch.setattr(spawn, "READY_TIMEOUT_S", 0)
            with pytest.raises(ControlError, match="was not ready within 0 s and was"):
                await spawn.spawn(tmp_path, succession_of(PlayedFront()))

            assert process.returncode == -9

    asyncio.run(restart())


def test_a_new_process_that_was_let_go_ahead_is_not_ended_as_late(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def restart() -> None:
        succession = succession_of(PlayedFront())
        async with sleeper() as process:

            async def start(*_args: str, **_options: object) -> object:
                return process

            monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
            monkeypatch.setattr(spawn, "READY_TIMEOUT_S", 0)
            async with succession.yielding:
                waiting = asyncio.create_task(spawn.spawn(tmp_path, succession))
                await eventually(lambda: succession.yielding._waiters)
                succession.done.set()

            assert await waiting == process.pid
            assert process.returncode is None

    asyncio.run(restart())

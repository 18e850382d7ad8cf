"""A worker's process, with a small script in the place of the worker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from dnsfront.ipc.channel import Message
from dnsfront.supervisor.process import WorkerProcess

PRELUDE = """
import json, os, signal, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
def say(**message): channel.send(json.dumps(message).encode())
def hear(): return json.loads(channel.recv(65536) or "null")
"""
FLUSHED = frozenset({"flushed"})


class Life:
    """One process that runs *script*, and what was heard of it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.gone = asyncio.Event()
        self.process = WorkerProcess(
            "w1", on_message=self.messages.append, on_exit=self.gone.set
        )

    async def end(self) -> str:
        async with asyncio.timeout(10):
            await self.gone.wait()
        return self.process.ending


def live(
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    story: Callable[[Life], Awaitable[object]],
) -> object:
    """Play *story* with a process that runs *script*."""

    def spawn(_self: WorkerProcess, fd: int) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-IS", "-c", PRELUDE + script, str(fd)]
        return subprocess.Popen(arguments, pass_fds=[fd], start_new_session=True)

    monkeypatch.setattr(WorkerProcess, "_spawn", spawn)

    async def play() -> object:
        life = Life()
        try:
            return await story(life)
        finally:
            life.process.close()

    return asyncio.run(play())


def test_last_words_are_heard_before_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(life: Life) -> None:
        assert await life.end() == "status=0"
        assert life.messages == [{"op": "ready"}, {"op": "drained"}]

    live(monkeypatch, 'say(op="ready"); say(op="drained")', story)


def test_an_unread_message_does_not_hide_the_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        life.process.send({"op": "never read"})
        life.process.send({"op": "never read"})
        await life.end()
        assert life.messages == [{"op": "drained"}]

    live(monkeypatch, 'hear(); say(op="drained")', story)


def test_a_signal_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(life: Life) -> None:
        assert await life.end() == "signal=9"

    live(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)", story)


def test_a_request_gets_the_reply_with_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        first, second = await asyncio.gather(
            *(
                life.process.ask(
                    {"op": "flush", "token": token}, replies=FLUSHED, timeout_s=10
                )
                for token in (1, 2)
            )
        )
        assert first == {"op": "flushed", "token": 1, "entries": 10}
        assert second == {"op": "flushed", "token": 2, "entries": 20}

    script = """
one, two = hear(), hear()
for heard in two, one:
    say(op="flushed", token=heard["token"], entries=10 * heard["token"])
hear()
"""
    live(monkeypatch, script, story)


def test_a_request_to_a_worker_that_exits_is_answered_by_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        request = {"op": "flush", "token": 1}
        assert await life.process.ask(request, replies=FLUSHED, timeout_s=10) is None
        await life.end()
        assert await life.process.ask(request, replies=FLUSHED, timeout_s=10) is None

    live(monkeypatch, "hear()", story)


def test_a_silent_worker_is_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(life: Life) -> None:
        request = {"op": "flush", "token": 1}
        assert await life.process.ask(request, replies=FLUSHED, timeout_s=0.05) is None
        assert await life.end() == "signal=9"

    live(monkeypatch, "hear(); hear()", story)

    [record] = caplog.records
    assert record.getMessage().startswith("worker_silent worker=w1 pid=")


def test_who_speaks_no_json_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsfront.supervisor.process._EXIT_AFTER_EOF_S", 0)

    async def story(life: Life) -> None:
        assert await life.end() == "signal=9"
        assert life.messages == []

    live(monkeypatch, 'channel.send(b"nonsense"); signal.pause()', story)


def test_a_worker_without_its_channel_does_not_linger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfront.supervisor.process._EXIT_AFTER_EOF_S", 0)

    async def story(life: Life) -> None:
        assert await life.end() == "signal=9"

    live(monkeypatch, "channel.close(); signal.pause()", story)

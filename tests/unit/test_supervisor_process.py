"""A worker's process, with a small script in the place of the worker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from dnsfront.ipc.messages import (
    Configure,
    Configured,
    Drained,
    Flush,
    Flushed,
    Ready,
    Resume,
    Said,
)
from dnsfront.ipc.packets import Descriptor
from dnsfront.supervisor.workers.process import WorkerProcess
from tests.unit.supervisor_fakes import eventually

PRELUDE = """
import json, os, signal, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
READY = {"op": "ready", "version": "1", "layout": "2"}
def say(**message): channel.send(json.dumps(message).encode())
def hear(): return json.loads(channel.recv(65536) or "null")
"""
READY = Ready("1", "2")
FLUSH = Flush(None, is_suffix=False)
CONFIGURE = Configure(Descriptor(0))


class Life:
    """One process that runs *script*, and what was heard of it."""

    def __init__(self) -> None:
        self.messages: list[Said] = []
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
        assert life.messages == [READY, Drained()]

    live(monkeypatch, 'say(**READY); say(op="drained")', story)


def test_an_unread_message_does_not_hide_the_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        life.process.send(Resume())
        life.process.send(Resume())
        await life.end()
        assert life.messages == [Drained()]

    live(monkeypatch, 'hear(); say(op="drained")', story)


def test_a_signal_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(life: Life) -> None:
        assert await life.end() == "signal=9"

    live(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)", story)


def test_a_request_gets_the_reply_with_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        first, second = await asyncio.gather(
            *(life.process.ask(FLUSH, timeout_s=10) for _ in range(2))
        )
        assert first == Flushed(10)
        assert second == Flushed(20)

    script = """
one, two = hear(), hear()
for heard in two, one:
    say(op="flushed", id=heard["id"], entries=10 * heard["id"])
hear()
"""
    live(monkeypatch, script, story)


def test_a_request_to_a_worker_that_exits_is_answered_by_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        assert await life.process.ask(FLUSH, timeout_s=10) is None
        await life.end()
        assert await life.process.ask(FLUSH, timeout_s=10) is None

    live(monkeypatch, "hear()", story)


def test_a_silent_worker_is_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(life: Life) -> None:
        assert await life.process.ask(FLUSH, timeout_s=0.05) is None
        assert await life.end() == "signal=9"

    live(monkeypatch, "hear(); hear()", story)

    [record] = caplog.records
    assert record.getMessage().startswith("worker_silent worker=w1 pid=")


def test_a_request_that_nobody_waits_for_still_ends_who_leaves_it_unanswered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        asking = asyncio.create_task(life.process.ask(FLUSH, timeout_s=0.05))
        await asyncio.sleep(0)
        asking.cancel()
        assert await life.end() == "signal=9"

    live(monkeypatch, "hear(); hear()", story)


def test_worker_at_rest_is_asked_for_a_sign_of_life_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfront.supervisor.workers.process._PING_EVERY_S", 0)

    async def story(life: Life) -> None:
        process = life.process
        for is_at_rest, pings in ((True, 1), (True, 1), (False, 2)):
            process.ping(is_at_rest=is_at_rest)
            assert process.pings == pings
            await eventually(lambda: process.pongs == process.pings)
        process.kill()

    script = """
while heard := hear():
    say(op="pong", id=heard["id"])
"""
    live(monkeypatch, script, story)


def test_each_ping_is_answered_while_another_request_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfront.supervisor.workers.process._PING_EVERY_S", 0)

    async def story(life: Life) -> None:
        process = life.process
        asking = asyncio.create_task(process.ask(CONFIGURE, timeout_s=10))
        await asyncio.sleep(0)
        for number in (1, 2):
            process.ping(is_at_rest=False)
            process.ping(is_at_rest=False)  # one at a time
            assert process.pings == number
            await eventually(lambda: process.pongs == process.pings)
        life.process.send(Resume())
        assert await asking == Configured()

    script = """
configure = hear()
while (heard := hear())["op"] == "ping":
    say(op="pong", id=heard["id"])
say(op="configured", id=configure["id"])
hear()
"""
    live(monkeypatch, script, story)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param('op="refused", id=1, reason="no"', id="refused"),
        pytest.param('op="configured", id=1', id="configured"),
    ],
)
def test_nothing_is_left_of_a_request_that_was_answered(
    monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    async def story(life: Life) -> None:
        assert await life.process.ask(CONFIGURE, timeout_s=10)
        assert not life.process._requests

    live(monkeypatch, f"hear(); say({reply}); hear()", story)


def test_a_worker_that_fails_at_an_order_is_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(life: Life) -> None:
        assert await life.process.ask(FLUSH, timeout_s=10) is None
        assert await life.end() == "signal=9"

    live(monkeypatch, 'hear(); say(op="failed", id=1, reason="x\\ny"); hear()', story)

    [record] = caplog.records
    assert record.getMessage().endswith("op=flush reason=x\ny")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param("b'nonsense'", "Expecting value", id="no JSON"),
        pytest.param("b'[' * 60000", "recursion", id="nested without end"),
        pytest.param("b'1' * 60000", "integer string", id="a number without end"),
        pytest.param("b'{\"op\": \"' + b'x' * 90000", "was cut", id="oversize"),
        pytest.param("b'\\xff'", "can't decode", id="no UTF-8"),
        pytest.param("b'7'", "no object", id="no object"),
        pytest.param("b'{}'", "None of its own accord", id="no op"),
        pytest.param("b'{\"op\": []}'", "of its own accord", id="op of a wrong type"),
        pytest.param('b\'{"op": "pong"}\'', "'pong' of its own", id="unasked"),
        pytest.param('b\'{"op": "pong", "id": 9}\'', "'pong' of", id="other id"),
        pytest.param('b\'{"op": "closed", "id": 1}\'', "to flush", id="other reply"),
        pytest.param(
            'b\'{"op": "flushed", "id": 1, "entries": "9"}\'',
            "flushed with a wrong entries",
            id="field of a wrong type",
        ),
        pytest.param(
            'b\'{"op": "flushed", "id": 1, "entries": -9}\'',
            "flushed with a wrong entries",
            id="a count below nothing",
        ),
        pytest.param(
            'b\'{"op": "flushed", "id": 1}\'',
            "flushed with a wrong entries",
            id="a missing field",
        ),
        pytest.param(
            'b\'{"op": "flushed", "id": 1, "entries": 9, "more": 1}\'',
            "flushed with a surplus more",
            id="a surplus field",
        ),
    ],
)
def test_a_worker_that_says_what_none_of_ours_says_is_ended(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    said: str,
    told: str,
) -> None:
    async def story(life: Life) -> None:
        assert await life.process.ask(FLUSH, timeout_s=10) is None
        assert await life.end() == "signal=9"
        assert life.messages == []

    live(monkeypatch, f"hear(); channel.send({said}); signal.pause()", story)

    assert "worker_distrusted worker=w1 pid=" in caplog.text
    assert told in caplog.text


def test_a_worker_that_says_the_same_for_ever_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        assert await life.end() == "signal=9"
        assert life.messages == [READY]

    live(monkeypatch, "while True: say(**READY)", story)


def test_a_worker_without_its_channel_does_not_linger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnsfront.supervisor.workers.process._EXIT_AFTER_EOF_S", 0)

    async def story(life: Life) -> None:
        assert await life.end() == "signal=9"

    live(monkeypatch, "channel.close(); signal.pause()", story)

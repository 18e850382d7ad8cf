"""What the service manager hears."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from dnsfront.supervisor.host import notify as telling
from dnsfront.supervisor.host.notify import READY, at_work, notify


def test_manager_hears_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        notify(READY)

        assert manager.recv(100) == b"READY=1"


def test_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel chooses an abstract address
        monkeypatch.setenv(
            "NOTIFY_SOCKET", "@" + manager.getsockname()[1:].decode("ascii")
        )

        notify(READY)

        assert manager.recv(100) == b"READY=1"


def test_manager_that_is_gone_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))

    notify(READY)

    assert "notify_failed state=READY=1" in caplog.text


def test_without_a_manager_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    notify(READY)

    assert not caplog.records


def test_manager_waits_while_there_is_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_EXTEND_EVERY_S", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        async def work() -> int:
            # Goes on until the manager has heard of it twice.
            for _ in range(2):
                told = await asyncio.to_thread(manager.recv, 100)
                assert told == b"EXTEND_TIMEOUT_USEC=30000000"
            return 7

        assert asyncio.run(at_work(work())) == 7


def test_work_that_is_not_wanted_any_more_is_broken_off() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def change_of_mind() -> None:
        task = asyncio.create_task(at_work(work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)

    asyncio.run(change_of_mind())
    assert ended

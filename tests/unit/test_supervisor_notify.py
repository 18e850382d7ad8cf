"""What the service manager hears."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dnsfront.supervisor.notify import READY, notify


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

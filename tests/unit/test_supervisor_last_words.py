"""A process that `restart` starts, and that ends before it serves: who hears why."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from dnsfront.cli.main import main
from dnsfront.errors import ControlError
from dnsfront.supervisor.host import last_words
from dnsfront.supervisor.host.last_words import LastWords
from dnsfront.supervisor.takeover.spawn import spawn
from dnsfront.supervisor.takeover.successor import Succession
from tests.unit.supervisor_fakes import PlayedProcess, played, running, write_config

__all__ = ["played"]


def test_mistakes_of_a_new_process_are_told_to_who_asked_and_logged_as_lines(
    played: type[PlayedProcess],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = write_config(tmp_path)

    async def run() -> str:
        async with running(path) as front:
            path.write_text("oops: 1\ncache: {max_entries: none}\n")
            parts: list[Any] = [None] * 5
            with pytest.raises(ControlError) as refused:
                await spawn(front.in_force.candidate.config.path, Succession(*parts))
            return str(refused.value)

    first, *mistakes = asyncio.run(run()).splitlines()

    assert first == (
        "restart: the new process ended with status 78 before it was ready, this one "
        "goes on; it said:"
    )
    assert any(line.startswith(f"{path}:1: oops: ") for line in mistakes)
    assert any(line.startswith(f"{path}:2: cache.max_entries: ") for line in mistakes)
    logged = [x for x in capfd.readouterr().err.splitlines() if str(path) in x]
    assert len(logged) == len(mistakes)
    for line, mistake in zip(logged, mistakes, strict=True):
        assert " ERROR supervisor restart_refused reason=" in line
        assert mistake.split(": ")[-1] in line.replace('\\"', '"')
    assert played.events


def test_who_starts_it_by_hand_sees_the_mistakes_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dnsfront.yaml"
    path.write_text("oops: 1\n")

    assert main(["run", "--takeover", "-c", str(path)]) == os.EX_CONFIG

    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"{path}:1: oops: ") for line in lines)
    assert all(line.startswith(f"{path}:1: ") for line in lines)


def test_last_words_are_for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    words = LastWords()
    for name, value in words.environment.items():
        monkeypatch.setenv(name, value)

    assert words.read() == ""
    assert last_words.taken_fd() == words.fd
    assert last_words.taken_fd() is None
    assert not os.get_inheritable(words.fd)
    last_words.say(words.fd, "no room\n")
    assert words.read() == "no room"
    words.close()

"""Dumps of all workers, a piece at a time; workers that die or lie end nothing else."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnsfront.dns.dumps import HEAD
from dnsfront.ipc import memory
from dnsfront.ipc.messages import Dump, Dumped, Load, Loaded
from dnsfront.supervisor.workers.dumps import (
    Cursor,
    dump,
    load,
    restore,
    save,
)
from dnsfront.supervisor.workers.roster import Roster


class Told:
    """A worker's process with so many lines, or none that is left to tell."""

    def __init__(self, *lines: str, lies: bool = False, dies: bool = False) -> None:
        self.lines = lines
        self.lies, self.dies = lies, dies
        self.loaded: list[str] = []

    async def ask(self, order: Dump | Load, *, timeout_s: float) -> Any:  # noqa: ANN401
        assert timeout_s > 0
        if self.dies:
            return None
        if isinstance(order, Load):
            text = memory.content(order.lines_fd).decode()
            self.loaded += text.split("\n")
            return Loaded(1, (0, 99))
        at = order.at + 1
        text = self.lines[order.at] + "\n"
        following = 1 if self.lies else at if at < len(self.lines) else 0
        return Dumped(5, following, 0, (text[:3], text[3:]))


def roster_of(*processes: Told | None) -> Roster:
    up = [
        SimpleNamespace(worker_id=number, process=process)
        for number, process in enumerate(processes, 1)
    ]
    return cast("Roster", SimpleNamespace(up=up))


def all_of(roster: Roster) -> list[str]:
    lines: list[str] = []
    cursor: Cursor | None = Cursor()
    for _ in range(20):
        assert cursor is not None
        piece = asyncio.run(dump(roster, cursor))
        lines += piece.lines
        cursor = piece.following
        if cursor is None:
            return lines
    raise AssertionError("no end")


def test_all_workers_are_told_one_after_the_other() -> None:
    roster = roster_of(Told("first", "second"), None, Told("third"))

    assert all_of(roster) == ["first", "second", "third"]


def test_who_dies_or_never_ends_ends_nothing_else() -> None:
    roster = roster_of(Told(dies=True), Told("a", "b", lies=True), Told("c"))

    assert all_of(roster) == ["a", "b", "c"]


def test_lines_go_to_all_workers() -> None:
    workers = Told(), Told(dies=True), Told()

    loaded = asyncio.run(load(roster_of(*workers, None), ["a\nb", "c"]))

    assert loaded == Loaded(2, (0,))
    assert workers[0].loaded == workers[2].loaded == ["a b", "c"]


def test_what_was_saved_is_restored(tmp_path: Path) -> None:
    path, taker = tmp_path / "cache", Told()
    path.write_text("of before")

    asyncio.run(save(roster_of(Told("a", "b"), Told("c")), path))
    asyncio.run(restore(roster_of(taker), path))

    assert path.read_text().splitlines() == [json.dumps(HEAD), "a", "b", "c"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert taker.loaded == ["a", "b", "c"]
    assert os.listdir(tmp_path) == ["cache"]  # noqa: PTH208 - names, not paths


@pytest.mark.parametrize("text", ["", "x", '{"dnsfront": "cache", "version": 9}'])
def test_other_file_is_named_and_not_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path, taker = tmp_path / "cache", Told()
    path.write_text(text)

    asyncio.run(restore(roster_of(taker), path))

    assert taker.loaded == []
    assert f"cache_not_loaded path={path} error=got " in caplog.text


def test_without_a_file_or_a_place_for_it_nothing_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "none/cache"

    asyncio.run(restore(roster_of(Told()), path))
    assert caplog.text == ""

    asyncio.run(save(roster_of(Told("a")), path))
    assert f"cache_not_saved path={path} error=No such file" in caplog.text

"""Files that are saved: the last state on disk serves, or is named as refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dnsfront.errors import ConfigError, ControlError, Mistake
from dnsfront.supervisor import start
from dnsfront.supervisor.change import candidate, sources
from dnsfront.supervisor.change.refusal import Refusal
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.change.sources import Sources
from dnsfront.supervisor.front import Front
from tests.unit.supervisor_fakes import (
    ZONE,
    PlayedProcess,
    eventually,
    everything_due,
    played,
    running,
    write_config,
)

__all__ = ["played"]

Played = type[PlayedProcess]
MORE = ZONE + "new IN A 192.0.2.1\n"
BROKEN = ZONE + "new IN A nonsense\n"


@pytest.fixture(autouse=True)
def _looks_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsfront.supervisor.change.reload._POLL_S", 0)
    monkeypatch.setattr(sources, "_TICK_NS", -1)


def play(
    path: Path,
    story: Callable[[Front, Reloader], Coroutine[Any, Any, None]],
    *,
    is_watched: bool = True,
) -> None:
    """Run *story* with a front end of the config at *path*, whose files are watched."""

    async def run() -> None:
        async with running(path) as front:
            reloader = front.reloader
            watching = asyncio.create_task(reloader.watch())
            if not is_watched:
                watching.cancel()
            await everything_due()
            await story(front, reloader)
            assert watching.done() is not is_watched
            watching.cancel()

    asyncio.run(run())


def refused(front: Front) -> list[dict[str, Any]] | None:
    """Return what `status` says is wrong with what is on disk."""
    told = front.reports.status()["config"]["refused"]
    return None if told is None else told["mistakes"]


def served(front: Front) -> int:
    return front.in_force.candidate.config.cache.max_entries


def test_a_zone_that_is_mended_is_served_without_touching_the_config(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        (tmp_path / "zone").write_text(BROKEN)
        await eventually(lambda: refused(front))
        (tmp_path / "zone").write_text(MORE)
        await eventually(lambda: refused(front) is None)
        assert front.outcome.success == 1

    play(write_config(tmp_path), story)
    assert played.events


def test_a_config_refused_for_a_new_zone_is_served_when_the_zone_is_mended(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        path = tmp_path / "dnsfront.yaml"
        both = "{origin: other.test, file: other}, {origin: example.test"
        path.write_text(path.read_text().replace("{origin: example.test", both))
        await eventually(lambda: refused(front))
        (tmp_path / "other").write_text("www IN A 192.0.2.1\n")  # no SOA
        await eventually(lambda: front.outcome.failure == 2)
        (tmp_path / "other").write_text(ZONE.replace("example.", "other."))
        await eventually(lambda: refused(front) is None)

    write_config(tmp_path)
    play(tmp_path / "dnsfront.yaml", story)
    assert played.events


def test_a_file_that_is_saved_while_a_reload_reads_is_read_again(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_without = candidate.table_without
    write_config(tmp_path)

    def save_then(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        if not entries:
            entries.append(9)
            write_config(tmp_path, more="cache: {max_entries: 9}\n")
            (tmp_path / "zone").write_text(MORE)
        return table_without(*arguments)

    entries: list[int] = [0]
    monkeypatch.setattr(candidate, "table_without", save_then)

    async def story(front: Front, _reloader: Reloader) -> None:
        entries.clear()
        write_config(tmp_path, more="cache: {max_entries: 8}\n")
        await eventually(lambda: served(front) == 9)
        assert front.outcome.success == 2

    play(tmp_path / "dnsfront.yaml", story)
    assert played.events


def test_log_names_the_file_that_was_saved(
    played: Played, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def named() -> list[str]:
        return [
            record.getMessage().partition("path=")[2]
            for record in caplog.records
            if record.getMessage().startswith("config_saved")
        ]

    async def story(front: Front, _reloader: Reloader) -> None:
        (tmp_path / "zone").write_text(MORE)
        await eventually(lambda: front.outcome.success == 1)
        assert named() == [str(tmp_path / "zone")]
        write_config(tmp_path, more="cache: {max_entries: 9}\n")
        await eventually(lambda: served(front) == 9)
        assert named()[1:] == [str(tmp_path / "dnsfront.yaml")]

    caplog.set_level("INFO")
    write_config(tmp_path)
    play(tmp_path / "dnsfront.yaml", story)
    assert played.events


def test_a_file_that_was_saved_during_the_start_is_read_again(
    played: Played, tmp_path: Path
) -> None:
    async def run() -> None:
        wanted = candidate.read(write_config(tmp_path))
        write_config(tmp_path, more="cache: {max_entries: 9}\n")
        async with start.AsyncExitStack() as stack:
            front = await start.start(wanted, stack)
            watching = asyncio.create_task(front.reloader.watch())
            await eventually(lambda: served(front) == 9)
            watching.cancel()

    asyncio.run(run())
    assert played.events


def test_two_saves_in_a_row_end_with_the_second(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        write_config(tmp_path, more="cache: {max_entries: 8}\n")
        reloading = asyncio.create_task(reloader.reload())
        await asyncio.sleep(0)
        write_config(tmp_path, more="nonsense: 1\n")
        with suppress(ConfigError):  # it may have met the second already
            await reloading
        await eventually(lambda: refused(front))
        write_config(tmp_path, more="cache: {max_entries: 9}\n")
        await eventually(lambda: served(front) == 9)
        assert refused(front) is None

    play(write_config(tmp_path), story)
    assert played.events


def test_a_file_rewritten_in_place_with_equal_size_and_time_is_seen(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        path = tmp_path / "dnsfront.yaml"
        before = path.stat()
        path.write_text(path.read_text().replace("max_entries: 7", "max_entries: 8"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
        await eventually(lambda: served(front) == 8)

    play(write_config(tmp_path, more="cache: {max_entries: 7}\n"), story)
    assert played.events


@pytest.mark.parametrize(("now", "is_other"), [("one", False), ("two", True)])
def test_a_file_that_was_just_written_may_be_written_again_unseen_by_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str, *, is_other: bool
) -> None:
    monkeypatch.setattr(sources, "_TICK_NS", 1 << 62)
    # As if all of this were within one tick of the file system's clock.
    monkeypatch.setattr(sources, "_stamp", lambda _path: (1, 1))
    path = tmp_path / "file"
    path.write_text("one")
    noted = Sources()
    noted.note(path)

    path.write_text(now)

    assert bool(noted.changed(noted.look())) is is_other
    assert bool(noted.changed(noted.look())) is is_other


def test_what_is_refused_is_told_until_what_is_on_disk_serves(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        path = str(tmp_path / "dnsfront.yaml")
        pages, expose = front.pages, front.expose
        gauge = b"dnsfront_config_last_reload_successful "
        assert gauge + b"1.0" in expose("")[0]
        assert refused(front) is None
        write_config(tmp_path, more="nonsense: 1\ncache: {max_entries: many}\n")

        with pytest.raises(ConfigError):
            await reloader.reload()

        found = refused(front)
        assert found == [
            {
                "file": path,
                "line": 5,
                "key": "nonsense",
                "found": "unknown key",
                "want": found and found[0]["want"],
            },
            {
                "file": path,
                "line": 6,
                "key": "cache.max_entries",
                "found": 'got "many"',
                "want": "a whole number",
            },
        ]
        since = front.reports.status()["config"]["refused"]["since"]
        assert gauge + b"0.0" in expose("")[0]
        ready = pages["/readyz"]("")
        assert ready.status == 200
        first, *lines = ready.body.decode().splitlines()
        assert first == "ready"
        assert since in lines[0]
        assert lines[2].startswith(f'{path}:6: cache.max_entries: got "many", want')
        assert b"cache.max_entries" in pages["/"]("").body

        write_config(tmp_path)
        await reloader.reload()

        assert refused(front) is None
        assert gauge + b"1.0" in expose("")[0]
        assert pages["/readyz"]("").body == b"ready\n"

    play(write_config(tmp_path), story, is_watched=False)
    assert played.events


def test_a_fault_of_our_own_in_a_reload_is_told_and_does_not_end_the_watch(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(candidate, "load", None)
            write_config(tmp_path, more="cache: {max_entries: 8}\n")
            await eventually(lambda: refused(front))
        write_config(tmp_path, more="cache: {max_entries: 9}\n")
        await eventually(lambda: served(front) == 9)

    play(write_config(tmp_path), story)
    assert played.events


def test_a_mistake_in_a_zone_file_stands_at_its_own_line() -> None:
    config, zone = Path("/etc/d/dnsfront.yaml"), Path("/etc/d/zone")
    text = f"{zone}:12: www A: got nonsense, want an address"
    error = ConfigError(str(config), [Mistake(3, "zones[0].file", text)])

    [mistake] = Refusal.of(error, config, [config, zone], 0).mistakes

    assert (mistake.file, mistake.line, mistake.key) == (str(zone), 12, "zones[0].file")
    assert (mistake.found, mistake.want) == ("www A: got nonsense", "an address")


def test_a_refusal_for_one_reason_names_the_config() -> None:
    refusal = Refusal.of(ControlError("no, want a restart"), Path("/c"), [], 0)

    assert refusal.since_text == "1970-01-01T00:00:00Z"
    assert refusal.lines()[1:] == ["/c: no, want a restart"]

"""Reloads, drains and refusals, with played worker processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from dnsfront.errors import ConfigError, ControlError
from dnsfront.supervisor.change.reload import Change, Reloader
from dnsfront.supervisor.front import Front
from tests.unit.supervisor_fakes import (
    ZONE,
    PlayedProcess,
    eventually,
    everything_due,
    play,
    played,
    running,
    write_config,
)

__all__ = ["played"]

Played = type[PlayedProcess]


def owned(front: Front) -> dict[str, int]:
    return front.in_force.candidate.table.slots_of()


def test_an_unchanged_config_changes_nothing(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        change = await reloader.reload()
        assert change == Change(1, 0, 0, change.seconds, (), ())
        assert played.events == []
        assert front.outcome.success == 1

    play(write_config(tmp_path), story)


def test_a_new_worker_is_ready_before_it_owns_slots(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        write_config(tmp_path, workers="3")

        change = await reloader.reload()

        assert change.added == ("w3",)
        assert change.generation == 2
        assert change.slots_moved == owned(front)["w3"] > 0
        events = [event for event in played.events if event[0] != "know_peers"]
        assert events == [
            ("spawned", "w3"),
            *[("socket", 3)] * 2,
            ("start", "w3"),
            ("live", 3),
            *[("transfer", name) for name in ("w1", "w2", "w3")],
            *[("catch_up", name) for name in ("w1", "w2", "w3")],
            ("published", frozenset({1, 2, 3})),
            ("use_table", "w1"),
            ("use_table", "w2"),
            ("use_table", "w3"),
        ]

    play(write_config(tmp_path), story)


def test_a_leaving_worker_owns_nothing_before_it_drains(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        lost = owned(front)["w2"]
        write_config(tmp_path, workers="[{name: w1}, {name: w3}]")
        await reloader.reload()
        played.events.clear()
        write_config(tmp_path, workers="[{name: w1}]")

        change = await reloader.reload()

        assert change.removed == ("w3",)
        events = [event for event in played.events if event[0] != "know_peers"]
        assert events == [
            *[("transfer", name) for name in ("w1", "w3")],
            *[("catch_up", name) for name in ("w1", "w3")],
            ("published", frozenset({1})),
            ("use_table", "w1"),
            ("use_table", "w3"),
            ("not live", 3),
            # Who has the new table hands nothing over to w3 any more.
            ("catch_up", "w1"),
            ("drain", "w3"),
            ("not live", 3),
            ("not live", 3),
        ]
        assert 3 not in front.datapath.groups
        assert lost > 0

    play(write_config(tmp_path), story)


def test_a_worker_id_is_free_again_when_its_worker_has_left(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        write_config(tmp_path, workers="[{name: w2}]")
        await reloader.reload()
        write_config(tmp_path, workers="[{name: w2}, {name: w9}]")
        await reloader.reload()

        assert front.roster.ids == {"w2": 2, "w9": 1}
        assert played.events

    play(write_config(tmp_path), story)


def test_settings_reach_every_worker_without_a_restart(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        [before] = [zone.image.digest for zone in front.in_force.candidate.zones]
        (tmp_path / "zone").write_text(ZONE + "new IN A 192.0.2.1\n")
        write_config(tmp_path, more="cache: {max_entries: 7}\n")

        change = await reloader.reload()

        assert change == Change(1, 0, 0, change.seconds, (), ())
        assert played.events == [("configure", "w1"), ("configure", "w2")]
        spec = played.by_name["w2"].spec
        assert spec is not None
        assert spec.cache.max_entries == 7
        [image] = spec.zones
        assert image.digest != before
        assert image.pack in played.by_name["w2"].packs
        assert spec.name == "w2"
        assert front.in_force.candidate.config.cache.max_entries == 7

    play(write_config(tmp_path), story)


def test_every_mistake_is_told_and_nothing_changes(
    played: Played, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        before = front.in_force.candidate
        (tmp_path / "zone").write_text("www IN A 192.0.2.1\n")
        write_config(tmp_path, more="cache: {max_entries: many}\nnonsense: 1\n")

        with pytest.raises(ConfigError) as caught:
            await reloader.reload()

        keys = {mistake.key for mistake in caught.value.mistakes}
        assert keys == {"zones[0].file", "cache.max_entries", "nonsense"}
        assert caplog.text.count("reload_refused") == 3
        assert front.in_force.candidate is before
        assert front.outcome.failure == 1
        assert played.events == []

    play(write_config(tmp_path), story)


def test_what_needs_a_restart_is_refused_by_its_keys(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        path = write_config(tmp_path, workers="3")
        text = path.read_text().replace("slots: 256", "seed: other, slots: 512")
        path.write_text(text)

        with pytest.raises(ControlError, match=r"^ring\.slots, ring\.seed: changed"):
            await reloader.reload()

        assert played.events == []
        assert front.datapath.publisher.generation == 1

    play(write_config(tmp_path), story)


def test_a_worker_that_refuses_makes_all_keep_the_old_spec(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        played.refuses = "w2"
        write_config(tmp_path, more="cache: {max_entries: 7}\n")

        with pytest.raises(ControlError, match=r"^w2: too much$"):
            await reloader.reload()

        spec = played.by_name["w1"].spec
        assert spec is not None
        assert spec.cache.max_entries == 100_000
        assert front.in_force.candidate.config.cache.max_entries == 100_000

    play(write_config(tmp_path), story)


def test_a_new_worker_that_does_not_start_is_taken_back(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        played.fails_to_start = {"w3"}
        write_config(tmp_path, workers="3", more="cache: {max_entries: 7}\n")

        with pytest.raises(ControlError, match=r"^w3: did not start"):
            await reloader.reload()

        assert front.roster.names == ("w1", "w2")
        assert 3 not in front.datapath.groups
        spec = played.by_name["w1"].spec
        assert spec is not None
        assert spec.cache.max_entries == 100_000
        assert owned(front).keys() == {"w1", "w2"}

    play(write_config(tmp_path), story)


def test_a_drained_worker_stays_out_until_it_is_put_back(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        before = owned(front)
        drained = await reloader.drain("w2")
        assert drained.slots_moved == before["w2"]
        assert (await reloader.reload()).added == ()
        [_, shown] = front.reports.status()["workers"]
        assert (shown["state"], shown["slots"], shown["pid"]) == ("drained", 0, None)
        assert front.readiness.lacks() == []

        undrained = await reloader.undrain("w2")

        assert undrained.added == ("w2",)
        assert owned(front) == before
        assert played.events

    play(write_config(tmp_path), story)


def test_drains_that_make_no_sense_are_refused(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        with pytest.raises(
            ControlError, match=r"^w9: no such worker; there are w1, w2$"
        ):
            await reloader.drain("w9")
        with pytest.raises(ControlError, match=r"^w1: is not drained$"):
            await reloader.undrain("w1")
        await reloader.drain("w1")
        with pytest.raises(ControlError, match=r"^w1: is drained already$"):
            await reloader.drain("w1")
        with pytest.raises(ControlError, match=r"^this is the last worker"):
            await reloader.drain("w2")
        write_config(tmp_path, workers="1")
        with pytest.raises(ControlError, match=r"only drained workers are left \(w1\)"):
            await reloader.reload()
        assert front.roster.names == ("w2",)
        assert played.events

    play(write_config(tmp_path), story)


def test_a_saved_file_is_reloaded_when_it_has_come_to_rest(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfront.supervisor.change.reload._POLL_S", 0)
    monkeypatch.setattr("dnsfront.supervisor.change.sources._TICK_NS", -1)

    async def story(front: Front, reloader: Reloader) -> None:
        watching = asyncio.create_task(reloader.watch())
        await everything_due()
        assert front.outcome.success == 0

        (tmp_path / "zone").write_text(ZONE + "new IN A 192.0.2.1\n")
        await eventually(lambda: front.outcome.success)
        write_config(tmp_path, more="nonsense: 1\n")
        await eventually(lambda: front.outcome.failure)
        await everything_due()

        assert (front.outcome.success, front.outcome.failure) == (1, 1)
        assert played.events == [("configure", "w1"), ("configure", "w2")]
        watching.cancel()

    play(write_config(tmp_path), story)


def test_a_file_that_is_gone_is_a_mistake_of_the_config(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        os.unlink(tmp_path / "dnsfront.yaml")  # noqa: PTH108 - as an operator would

        with pytest.raises(ConfigError, match="cannot read"):
            await reloader.reload()

        assert front.outcome.failure == 1
        assert played.events == []

    play(write_config(tmp_path), story)


def test_a_stopping_server_takes_no_changes(played: Played, tmp_path: Path) -> None:
    async def story(_front: Front, reloader: Reloader) -> None:
        await reloader.close()

        with pytest.raises(ControlError, match=r"^the server is stopping$"):
            await reloader.reload()
        assert played.events == []

    play(write_config(tmp_path), story)


def test_public_seed_is_warned_of_once_while_it_stays(
    played: type[PlayedProcess], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with running(write_config(tmp_path)) as front:
            reloader = front.reloader
            for workers in ("3", "2"):
                write_config(tmp_path, workers=workers)
                await reloader.reload()

    asyncio.run(run())

    [line] = [x.message for x in caplog.records if "config_warning" in x.message]
    assert "line=2 key=ring.seed " in line
    assert played.events


def test_a_worker_is_given_only_the_zones_that_changed(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        [before] = front.in_force.candidate.zones
        assert played.by_name["w1"].packs == [before.pack.name]

        write_config(tmp_path, more="cache: {max_entries: 7}\n")
        await reloader.reload()
        [same] = front.in_force.candidate.zones
        (tmp_path / "zone").write_text(ZONE + "new IN A 192.0.2.1\n")
        await reloader.reload()
        [after] = front.in_force.candidate.zones

        assert same is before
        names = [before.pack.name, after.pack.name]
        assert played.by_name["w1"].packs == names
        assert len(set(names)) == 2

    play(write_config(tmp_path), story)


def test_a_respawned_worker_is_given_all_zones(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        [zone] = front.in_force.candidate.zones
        first = played.by_name["w1"]

        first.die()
        await eventually(lambda: played.by_name["w1"] is not first)
        await everything_due()

        assert played.by_name["w1"].packs == [zone.pack.name]

    play(write_config(tmp_path), story)

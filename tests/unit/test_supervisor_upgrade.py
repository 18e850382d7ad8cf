"""Other code on disk than the supervisor began with: refused, and told what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from dnsfront import __version__
from dnsfront.errors import ControlError
from dnsfront.ipc import identity, stats
from dnsfront.ipc.channel import Plain
from dnsfront.ipc.identity import Identity
from dnsfront.ipc.messages import OtherCode, Ready
from dnsfront.ipc.spec import Listener
from dnsfront.kernel.layouts import described
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.front import Front
from dnsfront.supervisor.workers.state import State
from dnsfront.worker import main
from tests.unit.supervisor_fakes import (
    PlayedProcess,
    eventually,
    everything_due,
    play,
    played,
    write_config,
)

__all__ = ["played"]

Played = type[PlayedProcess]
NEWER = {"version": "9.9", "layout": "other"}


@pytest.mark.parametrize("kind", [Ready, OtherCode])
@pytest.mark.parametrize(
    ("told", "named"),
    [
        (NEWER, "is version 9.9, this"),
        ({"version": __version__, "layout": "other"}, "is another build of it, this"),
        ({"version": "", "layout": ""}, "is version unknown, this"),
    ],
    ids=["another version", "another layout", "from before it was told"],
)
def test_a_respawn_of_other_code_is_refused_with_what_to_do(
    played: Played,
    tmp_path: Path,
    kind: type[Ready | OtherCode],
    told: dict[str, str],
    named: str,
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        played.fails_to_start = {"w2"}
        played.by_name["w2"].die()
        await eventually(lambda: played.events.count(("spawned", "w2")))
        worker = next(worker for worker in front.roster if worker.name == "w2")
        if worker.process is not None:
            worker._on_message(kind(**told))
        await everything_due()

        assert worker.state is State.FAILED
        assert 2 not in front.datapath.steering.live_ids()
        [reason] = front.readiness.lacks()
        assert reason.startswith(f"worker w2 is failed: the code on disk {named}")
        assert "`dnsfront restart`" in reason
        [_, shown] = front.reports.status()["workers"]
        assert shown["reason"] == worker.refused

        # Somebody has put the old code back.
        played.fails_to_start = set()
        worker._respawn()
        await eventually(lambda: worker.state is State.UP)
        assert front.readiness.lacks() == []

    play(write_config(tmp_path), story)


def test_a_reload_that_needs_a_worker_of_other_code_says_so(
    played: Played, tmp_path: Path
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        played.identity = NEWER
        write_config(tmp_path, workers="3")

        with pytest.raises(
            ControlError, match=r"^w3: the code on disk is version 9\.9"
        ):
            await front.reloader.reload()

        assert front.roster.names == ("w1", "w2")

    play(write_config(tmp_path), story)


def test_a_worker_of_other_code_touches_nothing_that_it_got(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main.signals, "ignore", lambda *_signals: None)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.send(json.dumps({"op": "start", **NEWER}).encode())

        assert main.main(theirs.detach()) != 0

        said: Plain = json.loads(ours.recv(4096))
    assert Identity.told(said) == Identity.here(described())
    assert said["op"] == "other_code"


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        pytest.param(identity, "CHANNEL_VERSION", 99, id="a message"),
        pytest.param(stats, "STATS_OCTETS", 99, id="the counters"),
        pytest.param(stats, "BUCKET_BOUNDS_S", (1,), id="the buckets"),
        pytest.param(identity, "WorkerSpec", Listener, id="the spec"),
        pytest.param(identity, "_WORDS", (), id="a word of a page"),
        pytest.param(identity, "__version__", "9.9", id="the version"),
    ],
)
def test_whatever_both_sides_must_agree_on_makes_other_code(
    monkeypatch: pytest.MonkeyPatch, part: object, name: str, value: object
) -> None:
    before = Identity.here(described())

    monkeypatch.setattr(part, name, value)

    assert Identity.here(described()) != before
    assert Identity.here("other structs") != before

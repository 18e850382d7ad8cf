"""A short run of the soak: fixed operations, every invariant (`tests/soak/`)."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path

from tests.system.processes import ROOT, Program, run
from tests.system.remains import children_of
from tests.waiting import eventually

SHORT = ROOT / "tests/soak/short.jsonl"


def test_server_does_as_the_model_says_through_a_short_list_of_operations(
    tmp_path: Path,
) -> None:
    done = run(
        *(sys.executable, "-m", "tests.soak", "--ops", str(SHORT), "--seed", "1"),
        *("--minutes", "2", "--no-shrink", "--results", str(tmp_path)),
        within_s=150,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    [path] = tmp_path.glob("*.json")
    report = json.loads(path.read_text("utf-8"))
    [episode] = report["episodes"]
    assert report["ending"] == "ended"
    assert episode["operations"] == len(SHORT.read_text("utf-8").splitlines())
    assert episode["answered"] > 0


def test_run_that_is_killed_leaves_its_report_and_nothing_else(tmp_path: Path) -> None:
    soak = (sys.executable, "-m", "tests.soak", "--results", str(tmp_path))
    with Program(*soak, "--minutes", "2", log=tmp_path / "log") as program:
        [run_pid] = eventually(lambda: children_of(program.pid), within_s=20)
        pids = eventually(lambda: all_below(run_pid, least=5), within_s=20)

        program.signal(signal.SIGKILL)
        program.wait()

        assert len(pids) >= 5
        eventually(lambda: not [pid for pid in (run_pid, *pids) if is_there(pid)], 10)
    [path] = tmp_path.glob("*.json")
    assert json.loads(path.read_text("utf-8"))["ending"] == "under way, or killed"


def all_below(pid: int, least: int) -> list[int]:
    """Return the processes that *pid* and its children started, if they are enough."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        with contextlib.suppress(OSError):  # it ended meanwhile
            children = children_of(waiting.pop())
            found += children
            waiting += children
    return found if len(found) >= least else []


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()

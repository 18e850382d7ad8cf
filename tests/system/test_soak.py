"""A short run of the soak: fixed operations, every invariant (`tests/soak/`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.system.processes import ROOT, run

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

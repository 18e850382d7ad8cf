"""What a run found, as JSON for programs and as short text for people."""

from __future__ import annotations

import json
import platform
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.soak.episode import Outcome
from tests.soak.operations import Operation

_ROOT: Final = Path(__file__).parents[2]


@dataclass
class Found:
    """A failure, with the shortest list of operations known to lead to it."""

    outcome: Outcome
    shortest: list[Operation]
    is_repeated: bool = False


@dataclass
class Report:
    """A run, written to *folder* as often as something is known."""

    folder: Path
    seed: int
    minutes: float
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    outcomes: list[Outcome] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    #: How it ended; this is what stands there if it was killed.
    ending: str = "under way, or killed"

    def __post_init__(self) -> None:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self._commit = described.stdout.strip() or "unknown"

    def write(self) -> None:
        """Write both files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self.folder / f"{self.began:%Y-%m-%dT%H%M}-{self._commit}"
        for suffix, text in ((".json", self._json()), (".txt", self.text())):
            draft = stem.with_suffix(".draft")
            draft.write_text(text, encoding="utf-8")
            draft.replace(stem.with_suffix(suffix))

    def _json(self) -> str:
        shown: dict[str, Any] = {
            "seed": self.seed,
            "commit": self._commit,
            "kernel": platform.release(),
            "began": self.began.isoformat(timespec="seconds"),
            "minutes": self.minutes,
            "ending": self.ending,
            "found": [
                {
                    **x.outcome.to_json(),
                    "shortest": [operation.to_json() for operation in x.shortest],
                    "is_repeated": x.is_repeated,
                }
                for x in self.found
            ],
            "episodes": [
                {**x.to_json(), "log": "", "operations": len(x.operations)}
                for x in self.outcomes
            ],
        }
        return json.dumps(shown, indent=1) + "\n"

    def text(self) -> str:
        """Return the report for people."""
        done = Counter(
            type(operation).__name__
            for x in self.outcomes
            for operation in x.operations
        )
        excused: Counter[str] = Counter()
        for outcome in self.outcomes:
            excused.update(outcome.excused)
        lines = [
            f"soak of {self._commit}, seed {self.seed}, {self.ending}",
            (
                f"{len(self.outcomes)} servers, {sum(done.values())} operations, "
                f"{sum(x.sent for x in self.outcomes)} queries, "
                f"{sum(x.answered for x in self.outcomes)} responses, "
                f"{sum(x.in_kernel for x in self.outcomes)} of them in the kernel, "
                f"{sum(x.seconds for x in self.outcomes):.0f} s"
            ),
            "operations: " + ", ".join(f"{x} {n}" for x, n in done.most_common()),
            "excused: " + (", ".join(f"{x} {n}" for x, n in excused.items()) or "none"),
            f"failures: {len(self.found)}",
        ]
        for found in self.found:
            lines.append(f"- {found.outcome.invariant}: {found.outcome.text[:600]}")
            lines.append(
                f"  seed {found.outcome.seed}, {len(found.shortest)} operations, "
                + ("seen again" if found.is_repeated else "not seen again")
            )
            lines += [f"  {json.dumps(x.to_json())}" for x in found.shortest]
        return "\n".join(lines) + "\n"

"""Why what is on disk is not what serves, for everybody who shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from dnsfront.errors import ConfigError


@dataclass(frozen=True)
class Mistaken:
    """One thing that is wrong; *line* is 0, and *key* empty, where there is none."""

    file: str
    line: int
    key: str
    found: str
    want: str

    @property
    def text(self) -> str:
        """The same as a line, as `dnsfront check` has it."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        parts = [where, *([self.key] if self.key else []), self.found]
        return ": ".join(parts) + (f", want {self.want}" if self.want else "")


@dataclass(frozen=True)
class Refusal:
    """All that is wrong with the config on disk; *since* is wall-clock seconds."""

    since: float
    mistakes: tuple[Mistaken, ...]

    @classmethod
    def of(
        cls, error: Exception, config: Path, files: Iterable[Path], since: float
    ) -> Self:
        """Return what *error* says of *config*, which was read from *files*."""
        if not isinstance(error, ConfigError):
            return cls(since, (_refused(str(config), 0, "", str(error), ()),))
        others = [str(path) for path in files if path != config]
        return cls(
            since,
            tuple(
                _refused(error.path, mistake.line, mistake.key, mistake.text, others)
                for mistake in error.mistakes
            ),
        )

    @property
    def since_text(self) -> str:
        """*since* as RFC 3339 has it, in UTC."""
        moment = datetime.fromtimestamp(self.since, tz=UTC)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

    def summary(self) -> dict[str, Any]:
        """Return the shape of `config.refused` in `dnsfront status --json`."""
        return {
            "since": self.since_text,
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
        }

    def lines(self) -> list[str]:
        """Return a line that says so, and one for each mistake."""
        head = f"the config on disk is refused since {self.since_text}; the one before"
        return [f"{head} serves", *(mistake.text for mistake in self.mistakes)]


def _refused(
    file: str, line: int, key: str, text: str, others: Iterable[str]
) -> Mistaken:
    found, comma, want = text.rpartition(", want ")
    if not comma:
        found, want = text, ""
    for other in others:
        # What is wrong in a file that the config names stands at a line of that file.
        if found.startswith(f"{other}:"):
            number, _, rest = found.removeprefix(f"{other}:").partition(": ")
            if number.isdigit():
                return Mistaken(other, int(number), key, rest, want)
    return Mistaken(file, line, key, found, want)

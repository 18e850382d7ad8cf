"""The load generator and the reflector: built when their sources change, and run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.errors import BenchError
from tests.bench.server import HOST

_HERE: Final = Path(__file__).resolve().parent
BIN: Final = _HERE / "bin"
_CC: Final = ("cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wno-sign-compare")


@dataclass(frozen=True)
class Load:
    """What to send; *arguments* are those of dnsload."""

    names: Path
    arguments: Sequence[str]
    seconds: float
    cpus: Sequence[int] = field(default=())

    def command(self, port: int) -> list[str]:
        pinned = ["taskset", "-c", ",".join(map(str, self.cpus))] if self.cpus else []
        where = ["--server", HOST, "--port", str(port), "--names", str(self.names)]
        how_long = ["--seconds", str(self.seconds)]
        return [*pinned, str(BIN / "dnsload"), *where, *how_long, *self.arguments]

    def run(self, port: int) -> dict[str, Any]:
        """Put it on *port* and return what dnsload reports."""
        done = subprocess.run(
            self.command(port),
            capture_output=True,
            text=True,
            check=False,
            timeout=self.seconds + 60,
        )
        if done.returncode:
            raise BenchError(f"dnsload exited with {done.returncode}: {done.stderr}")
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def reflector_command(fd: int) -> list[str]:
    return [str(BIN / "reflector"), str(fd)]


def build() -> None:
    """Compile both programs, if a source is newer than what is there."""
    BIN.mkdir(exist_ok=True)
    headers = list(_HERE.glob("*.h"))
    for name in ("dnsload", "reflector"):
        source, program = _HERE / f"{name}.c", BIN / name
        newest = max(path.stat().st_mtime for path in (source, *headers))
        if program.exists() and program.stat().st_mtime > newest:
            continue
        try:
            done = subprocess.run(
                [*_CC, "-o", program, source, "-lm"],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as exc:
            raise BenchError("cc is not installed; run `make setup`") from exc
        if done.returncode:
            raise BenchError(f"cc could not build {source.name}:\n{done.stderr}")

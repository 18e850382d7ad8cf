"""The load generator and the reflector: built when their sources change, and run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.bench.errors import BenchError
from tests.bench.server import HOST

_HERE: Final = Path(__file__).resolve().parent
BIN: Final = _HERE / "bin"
_T = TypeVar("_T")
_CC: Final = ("cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wno-sign-compare")

_STOPPED_OR_GONE: Final = os.WSTOPPED | os.WEXITED | os.WNOWAIT


@dataclass(frozen=True)
class Load:
    """What to send; *arguments* are those of dnsload."""

    names: Path
    arguments: Sequence[str]
    seconds: float
    cpus: Sequence[int] = field(default=())

    def command(self, port: int, host: str = HOST) -> list[str]:
        pinned = ["taskset", "-c", ",".join(map(str, self.cpus))] if self.cpus else []
        where = ["--server", host, "--port", str(port), "--names", str(self.names)]
        how_long = ["--seconds", str(self.seconds)]
        return [*pinned, str(BIN / "dnsload"), *where, *how_long, *self.arguments]

    def run(self, port: int, host: str = HOST) -> dict[str, Any]:
        """Put it on *port* and return what dnsload reports."""
        done = subprocess.run(
            self.command(port, host),
            capture_output=True,
            text=True,
            check=False,
            timeout=self.seconds + 60,
        )
        return _report(done.returncode, done.stdout, done.stderr)

    def watched(
        self, port: int, host: str, look: Callable[[], _T]
    ) -> tuple[dict[str, Any], _T, _T]:
        """The same, and what *look* said just before and just after.

        Neither the start of the generator nor its end lies between the two.
        """
        command = [*self.command(port, host), "--hold"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            looks = []
            for _ in range(2):
                # The state stays to be told to whoever waits for the exit.
                os.waitid(os.P_PID, process.pid, _STOPPED_OR_GONE)
                looks.append(look())
                process.send_signal(signal.SIGCONT)
            stdout, stderr = process.communicate()
        before, after = looks
        return _report(process.returncode, stdout, stderr), before, after


def _report(status: int, stdout: str, stderr: str) -> dict[str, Any]:
    if status:
        raise BenchError(f"dnsload exited with {status}: {stderr}")
    report: dict[str, Any] = json.loads(stdout)
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

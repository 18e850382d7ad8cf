"""Programs under test: started here, gone with the test, whatever becomes of it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

ROOT: Final = Path(__file__).parents[2]
#: What is tested: this checkout, or the installed command that the variable names.
DNSFRONT: Final = (
    (os.environ["DNSFRONT_COMMAND"],)
    if "DNSFRONT_COMMAND" in os.environ
    else (sys.executable, "-m", "dnsfront")
)

#: Options of setpriv(1): nobody, without a single right.
AS_NOBODY: Final = (
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
)
#: Options of setpriv(1): root, but for the right to load a program.
WITHOUT_BPF: Final = ("--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin")
#: Becomes what follows, in a mount namespace where the directory $1, which keeps nobody
#: out, holds the checkout $2 alone: everything has the same path as outside.
_OPENED: Final = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-ec"),
    (
        'shut=$1 root=$2; shift 2; mount --bind "$root" /mnt; '
        'mount -t tmpfs -o mode=0755 tmpfs "$shut"; mkdir -p "$root"; '
        'mount --move /mnt "$root"; cd "$root"; exec "$@"'
    ),
    "sh",
)
_EXIT_WITHIN_S: Final = 15.0


def needed(program: str) -> str:
    """Return the path of *program*, or skip the test, naming what is missing."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is missing: make setup installs it")
    return path


def run(
    *argv: str,
    stdin: str = "",
    rights: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    within_s: float = 30,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in the root of the repository."""
    return subprocess.run(
        [*_shielded(rights), *argv],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=within_s,
        check=False,
    )


def output_of(*argv: str, stdin: str = "") -> str:
    """Return what a command prints; it must succeed."""
    done = run(*argv, stdin=stdin)
    assert done.returncode == 0, done
    return done.stdout


def _shielded(rights: Sequence[str]) -> tuple[str, ...]:
    """Return a prefix that ends the program with this process, even one that is killed.

    setpriv(1) becomes the program, so that its pid is the program's.
    """
    prefix = ("setpriv", "--pdeathsig", "KILL", *rights, "--")
    if tuple(rights) == AS_NOBODY and (shut := _shut()) is not None:
        return (*_OPENED, str(shut), str(ROOT), *prefix)
    return prefix


def _shut() -> Path | None:
    """Return the first directory on the way to this checkout that is not for all."""
    way = (*reversed(ROOT.parents), ROOT)
    return next((x for x in way if not x.stat().st_mode & stat.S_IXOTH), None)


def skip_unless_nobody_may_run() -> None:
    """Skip what follows, in a sentence, where nobody cannot read this checkout."""
    tried = run(*DNSFRONT, "--version", rights=AS_NOBODY)
    if tried.returncode:
        why = (tried.stderr.splitlines() or [f"exit code {tried.returncode}"])[-1]
        pytest.skip(f"files that nobody may read are missing in {ROOT}: {why}")


class Program:
    """A program in the background; all that it prints goes to the file *log*."""

    def __init__(
        self,
        *argv: str,
        log: Path,
        rights: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_shielded(rights), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=env,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs; below zero for a signal."""
        return self._process.poll()

    def output(self) -> str:
        """Return what it printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, within_s: float = _EXIT_WITHIN_S) -> int:
        """Return its exit code, when it has one."""
        return self._process.wait(within_s)

    def end(self) -> None:
        """Have it finish, and see to it that it is gone."""
        if self.exit_code is None:
            self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.wait()
            raise

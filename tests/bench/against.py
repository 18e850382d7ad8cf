"""Another commit of the front end, built to be measured in the same rounds.

It lies in `build/against/COMMIT`, which `make clean` removes, and is built once.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.errors import BenchError
from tests.bench.peers import Peer, dnsfront
from tests.bench.server import ROOT

_PLACE: Final = ROOT / "build" / "against"
_WITHIN_S: Final = 900


def built(revision: str) -> str:
    """Return the short name of the commit *revision*, having it ready to run.

    Raises:
        BenchError: there is no such commit.
    """
    said = _run(["git", "rev-parse", "--verify", "--short", f"{revision}^{{commit}}"])
    if said.returncode:
        raise BenchError(f"--against {revision}: {said.stderr.strip()}")
    commit = said.stdout.strip()
    place = _PLACE / commit
    if not place.exists():
        _unpack(commit, place)
    if (place / "deploy" / "compile.sh").exists():
        # Where it fails, the compiled form is left out, and told to be.
        _run(["deploy/compile.sh"], place)
    return commit


def _unpack(commit: str, place: Path) -> None:
    _PLACE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=_PLACE) as folder:
        files = Path(folder) / "files.tar"
        checkout = Path(folder) / "checkout"
        checkout.mkdir()
        # What both need lies in our own environment.
        (checkout / ".venv").symlink_to(ROOT / ".venv")
        for command in (
            ["git", "archive", "--output", str(files), commit],
            ["tar", "-xf", str(files), "-C", str(checkout)],
        ):
            if (done := _run(command)).returncode:
                raise BenchError(f"--against {commit}: {done.stderr.strip()}")
        checkout.rename(place)


def forms(commit: str) -> tuple[Peer, Peer]:
    """Return both forms of a *commit* that was built, pure and compiled."""
    place = _PLACE / commit
    # Python looks for the package where it is started.
    pure = ["env", "-C", str(place), sys.executable, "-m", "dnsfront"]
    compiled = [str(place / ".venv-compiled" / "bin" / "dnsfront")]
    return _form("against", place, pure), _form("against compiled", place, compiled)


def _form(name: str, place: Path, command: Sequence[str]) -> Peer:
    written = "".join(
        path.read_text("utf-8")
        for path in (place / "dnsfront" / "config").rglob("*.py")
    )
    return Peer(
        name,
        command[0],
        f"deploy/compile.sh in {place} says why",
        ["echo", place.name],
        partial(
            dnsfront,
            command,
            # Older commits do not know the one key or the other.
            more_cache=", max_size: 1GiB" if '"max_size"' in written else "",
            kernel_mode="off" if "kernel_cache" in written else None,
        ),
    )


def _run(
    command: Sequence[str], directory: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        timeout=_WITHIN_S,
    )

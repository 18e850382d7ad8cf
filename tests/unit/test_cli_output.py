"""Commands whose output nobody takes, and what commands load."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli_configs import config

__all__ = ["config"]


COMMANDS = [
    ["check"],
    ["check", "--json"],
    ["check", "--schema"],
    ["ring"],
    ["ring", "--json"],
    ["lookup", "www.example.test"],
    ["lookup", "--json", "www.example.test"],
    ["--version"],
    ["ring", "--help"],
]


def ended(config: Path, argv: list[str], redirected: str) -> tuple[int, list[str]]:
    """Run a command in a shell; return its exit code and what it says of it."""
    options = [] if argv[-1].startswith("--he") or argv[0] == "--version" else ["-c"]
    command = [sys.executable, "-m", "dnsfront", *argv, *options]
    script = f"{shlex.join(command + [str(config)] * len(options))} {redirected}"
    done = subprocess.run(
        ["bash", "-c", script], stderr=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, [x for x in done.stderr.splitlines() if "ning: " not in x]


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_full_disk_ends_with_one_sentence(config: Path, argv: list[str]) -> None:
    assert ended(config, argv, ">/dev/full") == (
        os.EX_IOERR,
        ["dnsfront: standard output: No space left on device"],
    )


@pytest.mark.parametrize(
    "argv", [["check", "--schema"], ["ring"], ["ring", "--help"]], ids=" ".join
)
def test_closed_pipe_ends_with_one_sentence(config: Path, argv: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        options = [] if "--help" in argv else ["-c", str(config)]
        done = subprocess.run(
            [sys.executable, "-m", "dnsfront", *argv, *options],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr.splitlines()[-1:]) == (
        os.EX_IOERR,
        ["dnsfront: standard output: Broken pipe"],
    )
    assert "Traceback" not in done.stderr


def test_closed_output_ends_with_one_sentence(config: Path) -> None:
    assert ended(config, ["ring"], ">&-") == (
        os.EX_IOERR,
        ["dnsfront: standard output: is closed"],
    )


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "2>&- <&-"])
def test_nobody_who_hears_the_reason_changes_the_exit_code(
    config: Path, redirected: str
) -> None:
    config.write_text("nonsense: true\n")

    assert ended(config, ["check"], redirected) == (os.EX_CONFIG, [])


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        pytest.param("import dnsfront.cli.serve", {"rich"}, id="serving loads no rich"),
        pytest.param(
            "import dnsfront.cli.live",
            {"rich", "pydantic", "dnsfront.supervisor"},
            id="asking the server loads neither rich nor pydantic",
        ),
        pytest.param(
            "import dnsfront.cli.main",
            {"rich", "pydantic", "yaml", "dnsfront.supervisor"},
            id="arguments need none",
        ),
        pytest.param(
            "import dnsfront.cli.offline",
            {"rich", "dns", "bcc"},
            id="looking up loads no rich",
        ),
    ],
)
def test_commands_load_only_what_they_need(statement: str, absent: set[str]) -> None:
    script = f"import sys; {statement}; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not absent & set(loaded)

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsfront.cli.main import main
from dnsfront.errors import (
    ControlError,
    DnsfrontError,
    PrivilegeError,
    UnavailableError,
)
from dnsfront.supervisor.reports.lookup import MAX_NAMES
from tests.unit.cli_server import DONE, MOVED, STATUS, Server, server

__all__ = ["server"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a config that is wrong, apart from the control socket."""
    path = tmp_path / "conf.yaml"
    path.write_text("listen: nonsense\nadmin: {socket: c.sock}\n")
    return path


@pytest.mark.parametrize(
    ("command", "code"), [("drain w2", 1), ("stop", 1), ("reload", 0)]
)
def test_workers_that_did_not_finish_are_told(
    server: Server,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    code: int,
) -> None:
    ended = {"worker": "w2", "pending": 3, "connections": 1}
    server.response = {**DONE, "ended": [ended]}

    assert main([*command.split(), "-c", str(config)]) == code
    assert capsys.readouterr().out.splitlines()[1] == (
        "w2 did not finish and was ended: 3 queries pending, 1 connections open"
    )


@pytest.mark.parametrize(
    ("arguments", "request_sent", "text"),
    [
        pytest.param(
            ["reload"], {"command": "reload"}, f"reloaded: {MOVED}", id="reload"
        ),
        pytest.param(["stop"], {"command": "stop"}, "stopped", id="stop"),
        pytest.param(
            ["drain", "w2"],
            {"command": "drain", "worker": "w2"},
            f"drained w2: {MOVED}",
            id="drain",
        ),
        pytest.param(
            ["undrain", "w2"],
            {"command": "undrain", "worker": "w2"},
            f"undrained w2: {MOVED}",
            id="undrain",
        ),
        pytest.param(
            ["flush", "WWW.a.test."],
            {"command": "flush", "qname": "www.a.test"},
            "flushed 9 entries",
            id="flush a name",
        ),
        pytest.param(
            ["flush", "--zone", "A.test"],
            {"command": "flush", "zone": "a.test"},
            "flushed 9 entries",
            id="flush a zone",
        ),
        pytest.param(
            ["flush", "--all"],
            {"command": "flush"},
            "flushed 9 entries",
            id="flush everything",
        ),
    ],
)
def test_a_command_prints_what_the_server_did(
    server: Server,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    request_sent: dict[str, Any],
    text: str,
) -> None:
    assert main([*arguments, "-c", str(config)]) == 0

    assert capsys.readouterr() == (f"{text}\n", "")
    assert server.requests == [(config.parent / "c.sock", request_sent)]


@pytest.mark.parametrize(
    "command",
    ["reload", "restart", "stop", "drain w9", "undrain w9", "flush --all"],
)
def test_what_a_running_server_refuses_is_exit_code_1_and_none_at_all_69(
    server: Server, config: Path, command: str
) -> None:
    arguments = [*command.split(), "-c", str(config)]

    server.response = ControlError("w9: no such worker")
    assert main(arguments) == 1
    server.response = UnavailableError("no dnsfront runs")
    assert main(arguments) == os.EX_UNAVAILABLE
    server.response = PrivilegeError("no right")
    assert main(arguments) == os.EX_NOPERM


def test_readme_names_every_exit_code() -> None:
    def below(kind: type[DnsfrontError]) -> Iterator[type[DnsfrontError]]:
        yield kind
        for more in kind.__subclasses__():
            yield from below(more)

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [told] = re.findall(r"^Exit codes: .*?\n\n", readme, re.DOTALL | re.MULTILINE)
    numbers = {int(number) for number in re.findall(r"\b\d+\b(?!\))", told)}

    assert numbers == {0, 1, 130} | {kind.exit_code for kind in below(DnsfrontError)}


def test_a_refusal_is_a_reason_and_exit_code_1(
    server: Server, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.response = ControlError("conf.yaml:1: listen: got nonsense")

    assert main(["reload", "-c", str(config)]) == 1

    assert capsys.readouterr() == ("", "conf.yaml:1: listen: got nonsense\n")


def test_programs_get_json(
    server: Server, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stop", "--json", "-c", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == DONE

    server.response = ControlError("no worker w9")
    assert main(["drain", "w9", "--json", "-c", str(config)]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "reason": "no worker w9",
    }


def test_the_socket_can_be_named(server: Server, tmp_path: Path) -> None:
    assert main(["stop", "--socket", str(tmp_path / "s")]) == 0

    assert server.requests == [(tmp_path / "s", {"command": "stop"})]


def test_lookup_asks_the_server_by_as_many_requests_as_it_takes(
    server: Server, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    placed = {"name": "a", "slot": 7, "owner": "w2", "preference": ["w1", "w2", "w3"]}
    orphan = {**placed, "owner": None}
    server.response = {"ok": True, "placed": [placed, orphan]}
    names = [f"n{number}" for number in range(MAX_NAMES + 1)]

    assert main(["lookup", "--live", "-c", str(config), *names]) == 0

    assert [request["names"] for _, request in server.requests] == [
        names[:MAX_NAMES],
        names[MAX_NAMES:],
    ]
    assert capsys.readouterr().out == "a 7 w2 w1 w3\na 7 - w1 w2 w3\n" * 2


def test_ring_asks_the_server(
    server: Server, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.response = {"ok": True, "method": "ring"}

    assert main(["ring", "--live", "--json", "--socket", "s", "-c", str(config)]) == 0
    assert main(["ring", "--live", "--svg", "x", "-c", str(config)]) == os.EX_USAGE

    assert server.requests == [(Path("s"), {"command": "ring"})]
    assert json.loads(capsys.readouterr().out) == {"method": "ring"}


def test_no_server_is_unavailable(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "-c", str(config)]) == os.EX_UNAVAILABLE

    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"dnsfront: {config.parent}/c.sock: no dnsfront runs")
    assert err.endswith("name its config with -c or its socket with --socket\n")
    assert len(err.splitlines()) == 1


def test_anothers_server_is_no_permission(server: Server, config: Path) -> None:
    server.response = PrivilegeError("not yours")

    assert main(["stop", "-c", str(config)]) == os.EX_NOPERM


def test_no_socket_is_a_config_mistake(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("admin: [\n")

    assert main(["stop", "-c", str(path)]) == os.EX_CONFIG

    assert not server.requests
    err = capsys.readouterr().err
    assert err.startswith(f"{path}:2: YAML: ")
    assert "or the control socket with --socket" in err


def test_no_config_offers_the_options_that_name_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.yaml"

    assert main(["status", "-c", str(path)]) == os.EX_CONFIG

    assert capsys.readouterr().err == (
        f"{path}: cannot read: No such file or directory; name the config with -c, or "
        "the control socket with --socket\n"
    )


def test_flush_of_no_name_is_wrong_usage(server: Server, config: Path) -> None:
    assert main(["flush", "a..b", "-c", str(config)]) == os.EX_USAGE

    assert not server.requests


def test_status_for_programs_is_the_servers_own(
    server: Server, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.response = {"ok": True, **STATUS}

    assert main(["status", "--json", "-c", str(config)]) == 0

    assert json.loads(capsys.readouterr().out) == STATUS


def test_status_for_people_is_a_table(
    server: Server, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.response = {"ok": True, **STATUS}

    assert main(["status", "-c", str(config)]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["generation", "3,", "steering", "userspace,", "kernel", "answers", "off"],
        [],
        ["WORKER", "STATE", "PID", "SHARE", "SLOTS", "BACKLOG", "QUERIES", "HITS"],
        ["w1", "up", "4711", "75.0%", "49152", "0", "1000", "87.5%"],
        ["w2", "down", "-", "25.0%", "16384", "7", "20", "-"],
        [],
        ["UPSTREAM", "STATE"],
        ["[fe80::53]:53", "up"],
    ]

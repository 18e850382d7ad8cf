"""`dnsfront cache`: files of what is cached, as people and the server read them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dnsfront.cli.main import main
from dnsfront.dns.dumps import HEAD, entry_in
from dnsfront.errors import ControlError
from tests.unit.test_dumps import WALL_S, line


class Caches:
    """Stands in for a server with *pieces* to tell, which keeps what is no nonsense."""

    def __init__(self) -> None:
        self.pieces = [[line()], [], [line(), line()]]
        self.taken: list[list[str]] = []
        self.breaks = False

    def ask(self, _path: Path, request: dict[str, Any], *_: object) -> dict[str, Any]:
        if request["command"] == "cache_load":
            lines: list[str] = request["lines"]
            self.taken.append(lines)
            damaged = [at for at, x in enumerate(lines) if x == "nonsense"]
            return {"ok": True, "kept": len(lines) - len(damaged), "damaged": damaged}
        at = request["cursor"][0]
        if self.breaks and at:
            raise ControlError("the server stopped before it responded")
        cursor = [at + 1, 7, 9] if at + 1 < len(self.pieces) else None
        told = {"lines": self.pieces[at], "left_out": at, "cursor": cursor}
        return {"ok": True, **told}


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> Caches:
    made = Caches()
    monkeypatch.setattr("dnsfront.cli.live.ask", made.ask)
    return made


def run(*arguments: str) -> int:
    return main(["cache", *arguments, "--socket", "c.sock"])


def test_dump_is_a_file_for_people_and_for_the_server(
    caches: Caches, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dump"
    path.write_text("of before")

    assert run("dump", str(path)) == 0

    text = "dumped 3 entries, left out 3 that are too large\n"
    assert capsys.readouterr() == (text, "")
    head, *lines = path.read_text().splitlines()
    assert json.loads(head) == HEAD
    assert len(lines) == 3
    assert json.loads(lines[0])["answer"][0] == "www.example.test. 280 A 192.0.0.1"
    assert json.loads(lines[0])["rcode"] == "NOERROR"
    assert entry_in(lines[0], now_s=1, wall_s=WALL_S).entry.expires_at == 281
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["dump"]  # noqa: PTH208 - names, not paths

    assert run("load", str(path), "--json") == 0
    assert caches.taken == [lines]
    told = json.loads(capsys.readouterr().out)
    assert told == {"ok": True, "kept": 3, "passed": 0, "damaged": []}


def test_dump_that_breaks_leaves_what_was_there(caches: Caches, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_text("of before")
    caches.breaks = True

    assert run("dump", str(path)) != 0

    assert path.read_text() == "of before"
    assert os.listdir(tmp_path) == ["dump"]  # noqa: PTH208 - names, not paths


def test_dump_goes_to_a_pipe(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    caches.pieces = [[line()]]

    assert run("dump", "-") == 0

    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert told.err == "dumped 1 entries\n"


def test_damage_is_named_by_its_lines_and_loads_come_in_pieces(
    caches: Caches, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dump"
    lines = [line()] * 1200
    lines[0] = lines[900] = "nonsense"
    path.write_text("\n".join([json.dumps(HEAD), "", *lines]) + "\n")

    assert run("load", str(path)) == 0

    told = capsys.readouterr()
    assert told.out == "loaded 1198 entries; 0 had expired or are of no use now\n"
    assert told.err == f"{path}: 2 damaged lines: 3, 903\n"
    assert all(len(piece) <= 500 for piece in caches.taken)
    assert [x for piece in caches.taken for x in piece] == lines


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "got no dump of a cache, want one"),
        ("nonsense\n", "got no dump of a cache, want one"),
        ('{"dnsfront": "cache", "version": 2}\n', "got version 2, want 1"),
        ("\0\xff" * 99, "got no dump of a cache, want one"),
    ],
)
def test_other_files_are_refused_in_a_sentence(
    caches: Caches,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    reason: str,
) -> None:
    path = tmp_path / "dump"
    path.write_text(text, encoding="latin-1")

    assert run("load", str(path)) == os.EX_USAGE

    assert capsys.readouterr().err == f"dnsfront: {path}: {reason}\n"
    assert caches.taken == []


def test_files_that_cannot_be_used_are_refused_in_a_sentence(
    caches: Caches, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none/dump"

    assert run("load", str(path)) == os.EX_USAGE
    assert run("dump", str(path)) != 0

    sentence = f"dnsfront: {path}: No such file or directory\n"
    assert capsys.readouterr().err == sentence * 2
    assert caches.taken == []

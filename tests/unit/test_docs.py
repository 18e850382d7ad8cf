"""Documents name files that exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
#: Made by commands, not kept in the repository.
GENERATED = (".venv/", "build/", "dist/")

#: Columns of prose; a table's row is a line, however long.
WIDTH = 120

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"\.?\w[\w.-]*(?:/[\w.-]+)*/?")
SUFFIX = re.compile(
    r"\.(py|c|h|md|toml|ya?ml|json|sh|zone|service|conf|txt|svg|html|jsonl)$"
)


def files() -> set[str]:
    """Return every file and directory of the checkout, from its root."""
    found = set()
    for directory, below, names in os.walk(ROOT):
        below[:] = [
            name for name in below if name not in {".git", ".venv", ".venv-compiled"}
        ]
        place = Path(directory).relative_to(ROOT)
        found |= {(place / name).as_posix() for name in (*below, *names)}
    return found


FILES = files()
TOP = {path.partition("/")[0] for path in FILES}
#: The ends of all paths: a document may leave out the rooms that it is about.
ENDS = {
    "/".join(parts[at:])
    for parts in (path.split("/") for path in FILES)
    for at in range(len(parts))
}


def looks_like_a_path(code: str) -> bool:
    """Tell whether *code* can only be meant as a file or directory of the checkout."""
    if not PATH.fullmatch(code) or code.startswith(GENERATED):
        return False
    if "/" in code:
        return code.partition("/")[0] in TOP or bool(SUFFIX.search(code))
    return bool(SUFFIX.search(code))


def exists(code: str, document: str) -> bool:
    """Tell whether *code* is a path, from the root or *document*, or the end of one."""
    code = code.rstrip("/")
    beside = os.path.normpath(Path(document).parent / code)
    return beside in FILES or code in ENDS


def paths_in(text: str) -> list[str]:
    return [
        code for code in CODE.findall(FENCE.sub("", text)) if looks_like_a_path(code)
    ]


def test_paths_are_told_from_other_code() -> None:
    text = (
        "`kern/maps.h` `deploy/` `zones.py` `config.example.yaml` `tests/<date>.json` "
        "`kern/*.c` `/etc/dnsfront/dnsfront.yaml` `make test` `192.0.2.0/24` `A/AAAA` "
        "`.venv/bin/dnsfront` `dnsfront_up` `errors.ZoneError`\n```\n`a/b.py`\n```\n"
    )

    assert paths_in(text) == [
        "kern/maps.h",
        "deploy/",
        "zones.py",
        "config.example.yaml",
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_in_backticks_exist(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")

    missing = [path for path in paths_in(text) if not exists(path, document)]

    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_prose_wraps(document: str) -> None:
    text = FENCE.sub("", (ROOT / document).read_text("utf-8"))

    long = [line for line in text.splitlines() if len(line) > WIDTH and line[0] != "|"]

    assert not long


def test_every_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").iterdir()]

    assert sorted(numbers) == sorted(set(numbers))

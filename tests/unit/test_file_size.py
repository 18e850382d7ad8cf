"""A file fits in the head: Python files have 400 lines at most, tests too."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 400

#: What is still to be cut.
LONGER = set[str]()


def test_python_files_have_400_lines_at_most() -> None:
    files = [
        path for top in ("dnsfront", "tests") for path in (ROOT / top).rglob("*.py")
    ]

    longer = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if len(path.read_text("utf-8").splitlines()) > MOST_LINES
    }

    assert longer == LONGER

"""The tables of conformance: every row has a test, or a reason."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs/conformance.md").read_text("utf-8")
TABLE = (TESTS / "kern/CONFORMANCE.md").read_text("utf-8")
ROWS = re.findall(r"^\| (?!row|-)(.*?) \| (.*) \|$", TABLE, re.MULTILINE)
CLAIMED = set(re.findall(r"`(test_\w+)`", DOCUMENT))
NAMED = {name for _row, how in ROWS for name in re.findall(r"`(test_\w+)`", how)}


def test_every_test_that_the_table_names_exists() -> None:
    sources = "".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))

    named = NAMED | CLAIMED
    assert {name for name in named if f"def {name}(" not in sources} == set()
    assert len(NAMED) > 30


def test_every_row_has_a_test_or_a_reason() -> None:
    assert len(ROWS) > 35
    assert [row for row, how in ROWS if "`test_" not in how and len(how) < 20] == []


def test_every_migration_is_tested() -> None:
    source = (TESTS / "kern/test_migration.py").read_text("utf-8")

    assert set(re.findall(r"def (test_\w+)", source)) <= NAMED

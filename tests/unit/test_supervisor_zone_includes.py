"""Files that zone files include: which may be, and that changes of them are seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dnsfront.supervisor.zones.files import ZoneFiles
from tests.unit.asking import HEAD
from tests.unit.test_supervisor_zone_files import config_of, refused, served


def test_included_files_count_for_what_a_zone_says(tmp_path: Path) -> None:
    config = config_of(tmp_path, a=f"{HEAD}$INCLUDE sub/more\n")
    (tmp_path / "sub").mkdir()
    more = tmp_path / "sub" / "more"
    more.write_text("www 60 A 192.0.2.1\n")
    noticed: list[Path] = []
    before = ZoneFiles()
    before.notice = noticed.append
    assert not refused(before, config)

    same = ZoneFiles(before.zones)
    assert not refused(same, config)
    more.write_text("www 60 A 192.0.2.2\n")
    other = ZoneFiles(before.zones)
    assert not refused(other, config)

    assert noticed == [more]
    assert same.zones == before.zones
    assert served(other) == {"a.test": ["www.a.test. 60 IN A 192.0.2.2"]}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../other", "is\\b"),
        ("/etc/passwd", "or below, where the zone file is"),
        ("link", "or below, where the zone file is"),
        ("none", "none: No such file"),
        (".", "Is a directory"),
    ],
)
def test_only_files_beside_a_zone_file_can_be_included(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    config = config_of(tmp_path, a=f"{HEAD}$INCLUDE {name}\n")

    [text] = refused(ZoneFiles(), config)

    assert re.match(rf"{tmp_path}/a:5: \$INCLUDE: .*{reason}", text)
    assert "root:" not in text

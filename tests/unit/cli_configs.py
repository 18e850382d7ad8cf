"""A config for commands that need no server."""

from __future__ import annotations

from pathlib import Path

import pytest

ZONE = """\
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 192.0.2.53
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path, "conf.yaml", "ring: {seed: lab, slots: 1024, workers: 4}")


def write(tmp_path: Path, name: str, *lines: str) -> Path:
    """Write a config with a zone and *lines*."""
    (tmp_path / "lab.zone").write_text(ZONE)
    text = [
        "listen: ['127.0.0.1:53', '[::1]:53']",
        "zones: [{origin: lab.test, file: lab.zone}]",
        *lines,
    ]
    path = tmp_path / name
    path.write_text("\n".join(text))
    return path

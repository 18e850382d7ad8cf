"""Configs with mistakes, for the tests of what is told about them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnsfront.config.load import load
from dnsfront.errors import ConfigError

GOOD = """\
listen: ["127.0.0.1:53"]
upstreams: {servers: [{address: "192.0.2.53:53"}]}
"""


def mistakes(tmp_path: Path, text: str) -> list[str]:
    """Return the mistakes of *text*, without the file's name."""
    path = tmp_path / "conf.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.exit_code == os.EX_CONFIG
    return [line.removeprefix(f"{path}:") for line in caught.value.lines()]

"""The example config shows every key, with its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dnsfront.config.document import read
from dnsfront.config.load import load
from dnsfront.config.model import Config, json_schema
from dnsfront.config.sections.ring import WorkerEntry
from dnsfront.config.sections.upstreams import ServerEntry
from dnsfront.config.sections.zones import Zone

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"

#: What cannot have a default, and what `make run` has to show.
EXAMPLES = {"listen", "zones"}
#: Mappings whose keys are the operator's own.
MAPPINGS = {"pools", "forward"}


#: Lists of which the example has none.
LISTS = {"rules"}


def keys_of(title: str | None = None) -> dict[str, Any]:
    schema = json_schema()
    found: dict[str, Any] = (schema["$defs"][title] if title else schema)["properties"]
    return found


def sections() -> dict[str, str]:
    """Return the sections that are mappings, by key, with their titles."""
    return {
        key: schema["$ref"].rpartition("/")[2]
        for key, schema in keys_of().items()
        if "$ref" in schema
    }


def test_no_key_is_missing() -> None:
    data = read(EXAMPLE).data

    assert data.keys() == keys_of().keys()
    for key, title in sections().items():
        assert data[key].keys() == keys_of(title).keys()


def test_no_default_differs() -> None:
    data = read(EXAMPLE).data

    for key, title in sections().items():
        defaults = {name: x["default"] for name, x in keys_of(title).items()}
        assert data[key] == defaults
    assert data.keys() - sections() == EXAMPLES | MAPPINGS | LISTS
    assert all(data[key] == keys_of()[key]["default"] == {} for key in MAPPINGS)


@pytest.mark.parametrize("entry", [WorkerEntry, ServerEntry, Zone])
def test_every_key_of_a_list_entry_is_shown(entry: type) -> None:
    text = EXAMPLE.read_text("utf-8")

    missing = [key for key in keys_of(entry.__name__) if f"{key}: " not in text]

    assert not missing


def test_what_is_commented_out_is_valid(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    text = re.sub(r"^  (workers|servers): (4|\[\])\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^  # (workers:|servers:|  - \{)", r"  \1", text, flags=re.MULTILINE)
    text = re.sub(r"^(pools|forward): \{\}\n", "", text, flags=re.MULTILINE)
    mapping = r"^# (pools:\n|forward:\n|  [\w.-]+: .+\n)"
    text = re.sub(mapping, r"\1", text, flags=re.MULTILINE)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/example.test.zone").touch()
    (tmp_path / "conf.yaml").write_text(text)

    found = load(tmp_path / "conf.yaml")

    assert [worker.name for worker in found.ring.workers] == ["w1", "w2", "spare"]
    assert len(found.upstreams.servers) == 3
    assert [*found.pools] == ["corp"]
    assert len(found.forward) == 4


def test_it_is_what_make_run_serves() -> None:
    found: Config = load(EXAMPLE)

    assert [str(address) for address in found.listen] == [
        "127.0.0.1:5353",
        "[::1]:5353",
    ]
    assert [zone.origin for zone in found.zones] == ["example.test"]
    assert len(found.ring.workers) == 4
    assert str(found.admin.listen) == "127.0.0.1:9353"
    assert found.upstreams.servers == ()

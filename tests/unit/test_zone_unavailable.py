"""A zone that never came from its primary, or has expired."""

from __future__ import annotations

from pathlib import Path

import dns.rcode
import pytest

from dnsfront.config.load import load
from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.errors import ConfigError
from dnsfront.supervisor.zones import files
from tests.unit.asking import load_zone
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import Rig


@pytest.mark.parametrize("name", ["moved.test", "www.moved.test"])
@pytest.mark.parametrize("rtype", ["A", "SOA"])
def test_names_of_a_zone_that_did_not_come_are_a_failure(name: str, rtype: str) -> None:
    text = files._UNAVAILABLE.read_text("ascii")
    with Rig() as rig:
        rig.answering.serve(ZoneSet([load_zone("moved.test", text, "z")]))

        response = rig.ask_for(query_for(name, rtype))

    assert response.rcode() == dns.rcode.SERVFAIL
    assert not response.answer
    assert not response.authority


def config_of(folder: Path, entry: str) -> Path:
    path = folder / "dnsfront.yaml"
    path.write_text(f'listen: ["127.0.0.1:53"]\nzones: [{entry}]\n')
    return path


def test_file_of_a_zone_with_a_primary_need_not_be_there(tmp_path: Path) -> None:
    entry = '{origin: moved.test, primary: {address: "127.0.0.1:53"}'

    [given] = load(config_of(tmp_path, f"{entry}, file: x/moved.zone}}")).zones
    [usual] = load(config_of(tmp_path, f"{entry}}}")).zones

    assert given.path == tmp_path / "x/moved.zone"
    assert usual.path == Path("/var/lib/dnsfront/moved.test.zone")


def test_secret_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("c2Vj\ncmV0\n")
    key = "{name: k.test, file: secret}"
    entry = f'{{origin: a.test, primary: {{address: "127.0.0.1:53", key: {key}}}}}'

    [zone] = load(config_of(tmp_path, entry)).zones

    assert zone.primary
    assert zone.primary.key
    assert zone.primary.key.secret_text == "c2VjcmV0"  # noqa: S105 - of a test


@pytest.mark.parametrize(
    ("entry", "mistake"),
    [
        ("{origin: a.test}", "zones[0].file: missing, want the path of a zone file"),
        ("{origin: a.test, file: none}", "want a zone file"),
        (
            '{origin: a.test, primary: {address: "127.0.0.1:53", key: {name: k}}}',
            "zones[0].primary.key.secret: want either secret or file",
        ),
        (
            '{origin: a, primary: {address: "127.0.0.1:1", key: {name: k, secret: 1}}}',
            "primary.key.secret: got 1, want text",
        ),
    ],
)
def test_mistakes_of_zones_are_told(tmp_path: Path, entry: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config_of(tmp_path, entry))

    assert mistake in str(caught.value)

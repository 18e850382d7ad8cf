"""Lists of rules are compiled by the child that compiles zones, and are shared."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from dnsfront.config.load import load
from dnsfront.config.model import Config
from dnsfront.dns.names import qname_from_text
from dnsfront.errors import ConfigError
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.zones.files import ZoneFiles
from dnsfront.worker.answering.images import Images


def config_of(folder: Path, text: str) -> Config:
    """Return a config of two rules that have their names from one file."""
    (folder / "list").write_text(text)
    path = folder / "dnsfront.yaml"
    path.write_text(
        'listen: ["127.0.0.1:53"]\n'
        'upstreams: {servers: [{address: "192.0.2.53:53"}]}\n'
        "rules:\n"
        "  - {match: {suffixes: {file: list}, types: [AAAA]}, action: nodata}\n"
        "  - {match: {suffixes: {file: list}}, action: nxdomain}\n"
    )
    return load(path)


def test_list_is_compiled_once_and_looked_up_in_shared_memory(tmp_path: Path) -> None:
    files, images = ZoneFiles(), Images()

    assert not list(files(config_of(tmp_path, "ads.example\n")))

    [loaded] = files.lists.values()
    images.map([loaded.pack.name], [os.dup(loaded.pack.fd)])
    names = images.names(loaded.image)
    assert names.find(qname_from_text("www.ads.example"))
    assert not names.find(qname_from_text("www.example"))
    assert (loaded.names, loaded.left_out) == (1, 0)
    images.keep([], [])
    assert not images._lists


def test_rules_have_the_image_of_their_list(tmp_path: Path) -> None:
    config = config_of(tmp_path, "ads.example\n")

    found = candidate.read(config.path)

    assert {x.image for x in found._rules()} == {x.image for x in found.lists.values()}
    assert [x.action for x in found._rules()] == ["nodata", "nxdomain"]


def test_broken_lines_are_told_once_and_the_rest_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    text = "ads.example\nnot a name\ntrack.example\n"
    files = ZoneFiles()
    assert not list(files(config_of(tmp_path, text)))

    again = ZoneFiles(files.lists.values())
    assert not list(again(config_of(tmp_path, text)))

    [loaded] = again.lists.values()
    assert (loaded.names, loaded.left_out) == (2, 1)
    [record] = caplog.records
    assert record.getMessage().startswith("list_lines_left_out path=")
    assert "lines=1" in record.getMessage()
    assert "line 2: got 'not a name'" in record.getMessage()


def test_list_that_says_what_it_said_keeps_its_image(tmp_path: Path) -> None:
    files = ZoneFiles()
    list(files(config_of(tmp_path, "ads.example\n")))
    again = ZoneFiles(files.lists.values())
    list(again(config_of(tmp_path, "ads.example\n")))
    other = ZoneFiles(files.lists.values())
    list(other(config_of(tmp_path, "ads.example\nmore.example\n")))

    path = tmp_path / "list"
    assert again.lists[path] is files.lists[path]
    assert other.lists[path].names == 2


def test_what_is_no_list_is_a_mistake_at_its_first_rule(tmp_path: Path) -> None:
    [fault] = ZoneFiles()(config_of(tmp_path, "<html>\n</html>\n"))

    assert fault.path == ("rules", 0, "match", "suffixes", "file")
    assert "list: it has no names: line 1: got '<html>', want a name" in fault.text


def test_list_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    config_of(tmp_path, "ads.example\n")
    (tmp_path / "list").unlink()

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "dnsfront.yaml")

    wanted = f"want a list of names, {tmp_path}/list: No such file or directory"
    assert [x.text for x in caught.value.mistakes] == [f'got "list", {wanted}'] * 2

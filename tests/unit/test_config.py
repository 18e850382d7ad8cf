from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from dnsfront.config.load import load
from dnsfront.config.model import Config, json_schema
from dnsfront.config.sections.section import Fault, Section
from dnsfront.config.socket_path import control_socket
from dnsfront.errors import ConfigError
from dnsfront.ring.placement import Member

UPSTREAM = "upstreams: {servers: [{address: '192.0.2.53:53'}]}\n"


def config(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "conf.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def minimal(tmp_path: Path, more: str = "") -> Config:
    return config(tmp_path, f"listen: ['127.0.0.1:53']\n{UPSTREAM}{more}")


def test_durations_become_seconds(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        "listen: ['127.0.0.1:53']\n"
        "upstreams: {timeout: 250ms, servers: [{address: '192.0.2.53:53'}]}\n"
        "cache: {min_ttl: 0, max_ttl: 2h, serve_stale: 90s}\n",
    )

    assert found.upstreams.timeout_s == 0.25
    assert found.cache.min_ttl_s == 0
    assert found.cache.max_ttl_s == 7200
    assert found.cache.serve_stale_s == 90


def test_listen_addresses_know_their_family(tmp_path: Path) -> None:
    found = config(
        tmp_path, f"listen: ['127.0.0.1:53', '[0::1]:5353', '[::]:53']\n{UPSTREAM}"
    )

    v4, v6, wildcard = found.listen
    assert (v4.host, v4.port, v4.family) == ("127.0.0.1", 53, socket.AF_INET)
    assert (v6.host, v6.port, v6.family) == ("::1", 5353, socket.AF_INET6)
    assert [x.is_wildcard for x in (v4, v6, wildcard)] == [False, False, True]


def test_upstream_tells_its_parts(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        "listen: ['127.0.0.1:53']\n"
        "upstreams: {servers: [{address: '[2001:db8::0:53]:53', weight: 3}]}\n",
    )

    (server,) = found.upstreams.servers
    assert server.address == "2001:db8::53"
    assert server.port == 53
    assert server.family == socket.AF_INET6
    assert server.weight == 3
    assert server.text == "[2001:db8::53]:53"


def test_a_count_of_workers_names_them(tmp_path: Path) -> None:
    found = minimal(tmp_path, "ring: {workers: 3}\n")

    assert found.ring.workers == (Member("w1"), Member("w2"), Member("w3"))


def test_a_list_of_workers_is_taken_as_it_is(tmp_path: Path) -> None:
    found = minimal(
        tmp_path,
        "ring: {workers: [{name: b, weight: 2}, {name: a, standby: true, place: 4}]}\n",
    )

    assert found.ring.workers == (
        Member("b", weight=2),
        Member("a", standby=True, place=4),
    )


def test_the_table_is_built_once(tmp_path: Path) -> None:
    ring = minimal(tmp_path, "ring: {slots: 1000, workers: 2}\n").ring

    assert ring.table() is ring.table()
    assert ring.table().slots == 1000


def test_the_exact_method_is_built_from_its_places(tmp_path: Path) -> None:
    found = minimal(
        tmp_path, "ring: {method: exact, places: 4, slots: 1000, workers: 4}\n"
    )

    assert found.ring.table().max_over_mean == 1


def test_relative_paths_start_from_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones/a.zone").touch()

    found = minimal(
        tmp_path,
        "zones: [{origin: A.test., file: zones/a.zone}]\nadmin: {socket: c.sock}\n",
    )

    assert found.path == tmp_path / "conf.yaml"
    assert found.zones[0].origin == "a.test"
    assert found.zones[0].file == tmp_path / "zones/a.zone"
    assert found.admin.socket == tmp_path / "c.sock"


def test_relative_config_path_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minimal(tmp_path)
    monkeypatch.chdir(tmp_path)

    assert load("conf.yaml").path == tmp_path / "conf.yaml"


def sections_and_lists() -> list[str]:
    """Return each section and list in a section as a line of YAML, empty."""
    lines = []
    for key, field in Config.model_fields.items():
        if key in Config.may_be_empty() - {"listen"}:
            lines.append(f"{key}:")
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            lines += [f"{key}: {{{name}: }}" for name in sorted(inner.may_be_empty())]
    return lines


@pytest.mark.parametrize("line", sections_and_lists())
def test_what_is_all_commented_out_has_its_defaults(tmp_path: Path, line: str) -> None:
    """A section or a list whose every line is a comment is no mistake."""
    path = tmp_path / "conf.yaml"
    (tmp_path / "zone").write_text("")
    given = [
        'listen: ["127.0.0.1:53"]',
        'upstreams: {servers: [{address: "192.0.2.53:53"}]}',
        "zones: [{origin: example.test, file: zone}]",
    ]
    key = line.partition(":")[0]
    kept = [other for other in given if not other.startswith(f"{key}:")]
    path.write_text("\n".join(kept))
    without = load(path)

    path.write_text("\n".join([*kept, line, "  # all: [of, it]"]))

    assert load(path).model_dump() == without.model_dump()


def test_empty_listen_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("zones:\nlisten:\n")

    with pytest.raises(ConfigError, match=r"conf\.yaml:2: listen: missing, want: "):
        load(path)


@pytest.mark.parametrize("text", ["admin:\n", "admin: {}\n", ""])
def test_control_socket_has_its_default_in_an_empty_section(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(text)

    assert control_socket(path) == Path("/run/dnsfront/control.sock")


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    found = minimal(tmp_path)

    with pytest.raises(ValidationError, match="frozen"):
        found.cache.max_entries = 1


def test_equal_files_give_equal_configs(tmp_path: Path) -> None:
    first = minimal(tmp_path)
    second = minimal(tmp_path)

    first.ring.table()
    assert first == second
    assert first.ring != minimal(tmp_path, "ring: {seed: other}\n").ring


def test_an_inspection_adds_its_mistakes_to_the_others(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(f"listen: ['127.0.0.1:53', x]\n{UPSTREAM}log: {{level: info}}\n")

    with pytest.raises(ConfigError) as caught:
        load(path, inspect=lambda _config: [Fault(("log", "level"), "want silence")])

    assert [mistake.key for mistake in caught.value.mistakes] == [
        "listen[1]",
        "log.level",
    ]


def test_control_socket_is_found_in_a_wrong_config(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("listen: nonsense\nadmin: {socket: run/c.sock, lisen: 1}\n")

    assert control_socket(path) == tmp_path / "run/c.sock"


def test_control_socket_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("listen: nonsense\n")

    assert control_socket(path) == Path("/run/dnsfront/control.sock")


def test_control_socket_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("admin: {socket: 7}\n")

    with pytest.raises(ConfigError, match=r"conf\.yaml:1: admin\.socket: "):
        control_socket(path)


def test_the_schema_explains_every_key() -> None:
    schema = json_schema()

    sections = [schema, *schema["$defs"].values()]
    keys = {
        f"{section['title']}.{key}": text
        for section in sections
        for key, text in section["properties"].items()
    }
    # A key that is a whole section is explained by the section.
    silent = [key for key, x in keys.items() if not {"description", "$ref"} & x.keys()]
    assert len(keys) > 30
    assert not silent
    assert all(section["description"] for section in sections)
    assert all(section["additionalProperties"] is False for section in sections)


def test_the_schema_speaks_the_users_spelling() -> None:
    schema = json_schema()

    assert schema["required"] == ["listen"]
    assert schema["$defs"]["Upstreams"]["properties"]["timeout"]["default"] == "800ms"
    assert schema["$defs"]["Cache"]["properties"]["max_ttl"]["default"] == "1d"
    count, entries = schema["$defs"]["Ring"]["properties"]["workers"]["anyOf"]
    assert count["type"] == "integer"
    assert entries["items"] == {"$ref": "#/$defs/WorkerEntry"}


def test_a_mode_that_is_off_may_be_written_as_yaml_1_1_has_it(tmp_path: Path) -> None:
    found = minimal(tmp_path, "kernel_cache: {mode: false}\n")

    assert found.kernel_cache.mode == "off"

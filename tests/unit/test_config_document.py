from __future__ import annotations

from pathlib import Path

import pytest

from dnsfront.config.document import Document, key_text, read
from dnsfront.errors import ConfigError


def document(tmp_path: Path, text: str) -> Document:
    path = tmp_path / "conf.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def refusal(tmp_path: Path, octets: bytes) -> str:
    path = tmp_path / "conf.yaml"
    path.write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        read(path)
    return str(caught.value).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        pytest.param("off", "off", id="off is text"),
        pytest.param("yes", "yes", id="yes is text"),
        pytest.param("true", True, id="true is a boolean"),
        pytest.param("False", False, id="False is a boolean"),
        pytest.param("12:30", "12:30", id="no base 60"),
        pytest.param("010", 10, id="no octal by a leading zero"),
        pytest.param("1_000", "1_000", id="no underscores in numbers"),
        pytest.param("2024-01-01", "2024-01-01", id="no dates"),
        pytest.param("-7", -7, id="negative"),
        pytest.param("1.25", 1.25, id="fraction"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param(".nan", ".nan", id="no not-a-number"),
        pytest.param("~", None, id="tilde is nothing"),
        pytest.param("", None, id="empty is nothing"),
        pytest.param('"4"', "4", id="quoted number is text"),
        pytest.param("!!str 4", "4", id="number tagged as text"),
        pytest.param("::1", "::1", id="address"),
    ],
)
def test_scalars_follow_yaml_1_2(tmp_path: Path, scalar: str, value: object) -> None:
    data = document(tmp_path, f"key: {scalar}\n").data

    assert data == {"key": value}
    assert type(data["key"]) is type(value)


def test_every_key_and_entry_knows_its_line(tmp_path: Path) -> None:
    found = document(
        tmp_path,
        "# a comment\n"
        "listen:\n"
        "  - 127.0.0.1:53\n"
        "  - '[::1]:53'\n"
        "ring:\n"
        "  workers:\n"
        "    - name: w1\n"
        "      weight: 2\n",
    )

    assert found.line(("listen",)) == 2
    assert found.line(("listen", 1)) == 4
    assert found.line(("ring", "workers", 0, "name")) == 7
    assert found.line(("ring", "workers", 0, "weight")) == 8


def test_missing_key_stands_where_its_parent_does(tmp_path: Path) -> None:
    found = document(tmp_path, "\nring:\n  workers:\n    - weight: 1\n")

    assert found.line(("zones",)) == 2
    assert found.line(("ring", "seed")) == 2
    assert found.line(("ring", "workers", 0, "name")) == 4
    assert found.line(("ring", "workers", 7, "name")) == 3


def test_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    found = document(tmp_path, "# nothing yet\n")

    assert found.data == {}
    assert found.line(("listen",)) == 1


def test_alias_stands_for_its_anchor(tmp_path: Path) -> None:
    data = document(tmp_path, "a: &x [1, 2]\nb: *x\n").data

    assert data == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        pytest.param(
            "a: 1\nb: {c: 1,\n c: 2}\n",
            "3: b.c: given twice, first in line 2, want it once",
            id="key given twice",
        ),
        pytest.param(
            "a: !!python/name:os.system x\n",
            "1: a: got the tag tag:yaml.org,2002:python/name:os.system, want none",
            id="unknown tag",
        ),
        pytest.param(
            "a: !!int four\n",
            "1: a: got 'four', which its tag tag:yaml.org,2002:int forbids",
            id="tag that lies",
        ),
        pytest.param(
            "a: {[1]: 2}\n",
            "1: a: got a list or mapping as key, want text",
            id="list as key",
        ),
    ],
)
def test_mistakes_that_leave_the_rest_usable(
    tmp_path: Path, text: str, mistake: str
) -> None:
    found = document(tmp_path, text)

    assert ConfigError("f", found.mistakes).lines() == [f"f:{mistake}"]


@pytest.mark.parametrize(
    ("octets", "start"),
    [
        pytest.param(b"a: [1,\nb: 2\n", "3: YAML: ", id="bracket left open"),
        pytest.param(b"a: 1\n\tb: 2\n", "2: YAML: ", id="tab for indentation"),
        pytest.param(b"a: 1\n---\nb: 2\n", "2: YAML: ", id="two documents"),
        pytest.param(b"a: *x\n", "1: YAML: ", id="alias of nothing"),
        pytest.param(b"- a\n- b\n", "1: YAML: got no mapping", id="a list"),
        pytest.param(b"a: 1\nb: \xff\n", "2: YAML: got octets", id="not UTF-8"),
        pytest.param(b"a: 1\nb: \x07\n", "2: YAML: got the control", id="control"),
        pytest.param(b"a: &x [*x]\n", "1: a[0]: got lists and", id="endless alias"),
        pytest.param(
            b"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + b"".join(
                b"%c: &%c [%s]\n" % (key, key, b", ".join([b"*%c" % (key - 1)] * 9))
                for key in range(ord("b"), ord("h"))
            ),
            "",
            id="alias that grows",
        ),
        pytest.param(b"a: " + b"[" * 5000, "1: YAML: got lists", id="deep brackets"),
    ],
)
def test_mistakes_that_leave_nothing(tmp_path: Path, octets: bytes, start: str) -> None:
    assert refusal(tmp_path, octets).startswith(start)


def test_unreadable_file_has_no_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "none.yaml")

    expected = f"{tmp_path}/none.yaml: cannot read: No such file or directory"
    assert str(caught.value) == expected


def test_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert document(tmp_path, "\ufefflisten: x\n").data == {"listen": "x"}


def test_keys_are_written_as_users_write_them() -> None:
    path = ("upstreams", "servers", 1, "address")

    assert key_text(path) == "upstreams.servers[1].address"

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dnsfront.kernel import objects
from dnsfront.kernel.objects import NoObjectError, ProgramObject
from dnsfront.kernel.placeholders import Function
from dnsfront.kernel.programs import SHIPPED, Program

FUNCTIONS = {
    "one": Function(bytes(range(160)), {"KEY": (0, 7), "MAP_FD": (3,)}),
    "two": Function(bytes(8), {}),
}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    source = tmp_path / "test.bpf.c"
    source.write_text("int one(void *ctx) { return 1; }\n", encoding="ascii")
    return Program(source, maps=("MAP_FD",), numbers=("KEY",), defines={"A": "1"})


def made(program: Program) -> ProgramObject:
    return ProgramObject(program.made_from(), "bcc 0", FUNCTIONS)


def ship(program: Program, text: str) -> Path:
    path = objects.shipped_path(program)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="ascii")
    return path


@pytest.mark.parametrize("program", SHIPPED, ids=lambda program: program.name)
def test_shipped_object_is_made_of_the_sources_as_they_are(program: Program) -> None:
    try:
        objects.read(program, objects.shipped_path(program))
    except NoObjectError as reason:
        pytest.fail(f"{reason}; run `make objects` and commit what it makes")


def test_object_is_read_as_it_was_written(program: Program) -> None:
    path = objects.kept_path(program)

    objects.write(path, made(program))

    assert objects.read(program, path) == made(program)
    assert [entry.name for entry in path.parent.iterdir()] == ["test.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_kept_object_comes_before_the_shipped_one(program: Program) -> None:
    ship(program, made(program).to_text())
    objects.keep(program, replace(made(program), made_by="bcc 1"))

    assert objects.find(program).made_by == "bcc 1"


def test_kept_object_of_another_source_gives_way_to_the_shipped_one(
    program: Program,
) -> None:
    source = program.source.read_text("ascii")
    ship(program, made(program).to_text())
    program.source.write_text(source + "\n", "ascii")
    objects.keep(program, replace(made(program), made_by="bcc 1"))
    program.source.write_text(source, "ascii")

    assert objects.find(program).made_by == "bcc 0"


def test_missing_object_is_named(program: Program) -> None:
    path = objects.shipped_path(program)
    with pytest.raises(NoObjectError) as raised:
        objects.find(program)
    assert str(raised.value) == f"the object of test.bpf.c ({path}) is missing"


def test_missing_source_is_named(program: Program) -> None:
    ship(program, made(program).to_text())
    program.source.unlink()
    with pytest.raises(NoObjectError, match=r"has lost .*test.bpf.c"):
        objects.find(program)


def test_stale_object_names_the_sources_that_changed(program: Program) -> None:
    before = program.made_from()
    files = {**before["files"], "dns.h": "0", "gone.h": "0"}
    stale = replace(made(program), made_from={**before, "files": files})
    ship(program, stale.to_text())
    with pytest.raises(
        NoObjectError, match=r" is stale: dns.h, gone.h changed since it was made$"
    ):
        objects.find(program)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"defines": {"A": "2"}}, "defines"),
        ({"numbers": ("KEY", "SIZE")}, "numbers"),
        ({"maps": ()}, "maps"),
    ],
)
def test_object_for_other_names_is_stale(
    program: Program, change: dict[str, object], named: str
) -> None:
    ship(program, made(program).to_text())
    with pytest.raises(NoObjectError, match=f" is stale: {named} changed since"):
        objects.find(replace(program, **change))  # type: ignore[arg-type]  # a field


def test_cut_object_is_damaged(program: Program) -> None:
    text = made(program).to_text()
    for length in (0, 1, len(text) // 2, len(text) - 3):
        ship(program, text[:length])
        with pytest.raises(NoObjectError, match=r"\(/.*test.json\) is damaged: "):
            objects.find(program)


@pytest.mark.parametrize("content", ["[]", "{}", '{"sha256": 1}', "\0", "7"])
def test_other_text_is_a_damaged_object(program: Program, content: str) -> None:
    ship(program, content)
    with pytest.raises(NoObjectError, match=" is damaged: "):
        objects.find(program)


def test_object_of_which_one_octet_changed_is_damaged(program: Program) -> None:
    content = json.loads(made(program).to_text())
    line = content["functions"]["one"]["instructions"][0]
    content["functions"]["one"]["instructions"][0] = "f" + line[1:]
    ship(program, json.dumps(content))
    with pytest.raises(NoObjectError, match="is damaged: its checksum is wrong"):
        objects.find(program)


def test_directory_that_cannot_be_written_keeps_nothing(program: Program) -> None:
    objects.kept_path(program).parent.write_text("no directory", "ascii")

    objects.keep(program, made(program))

    with pytest.raises(NoObjectError, match="is missing"):
        objects.find(program)

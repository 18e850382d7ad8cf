"""Zone files are compiled by a child, and whatever becomes of it harms nobody."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from dnsfront.config.load import load
from dnsfront.config.model import Config
from dnsfront.supervisor.host import spawning
from dnsfront.supervisor.host.spawning import Forked
from dnsfront.supervisor.zones import files as zone_files
from dnsfront.supervisor.zones.files import ZoneFiles
from dnsfront.worker.answering.images import Images
from tests.unit.asking import HEAD, ask, lines
from tests.waiting import eventually


def config_of(folder: Path, **texts: str) -> Config:
    """Return a config with a zone NAME.test for each NAME and its text."""
    for name, text in texts.items():
        (folder / name).write_text(text)
    zones = ", ".join(f"{{origin: {name}.test, file: {name}}}" for name in texts)
    path = folder / "dnsfront.yaml"
    path.write_text(f'listen: ["127.0.0.1:53"]\nzones: [{zones}]\n')
    return load(path)


def refused(files: ZoneFiles, config: Config) -> list[str]:
    return [fault.text for fault in files(config)]


def served(files: ZoneFiles) -> dict[str, list[str]]:
    """Return what www of each zone answers, by way of a worker's mapping."""
    images = Images()
    packs = {zone.pack.name: os.dup(zone.pack.fd) for zone in files.zones}
    images.map(list(packs), list(packs.values()))
    zones = images.zones([zone.image for zone in files.zones])
    answers = {}
    for zone in files.zones:
        name = zone.image.origin
        found = zones and zones.find(b"\1x\4test\0".replace(b"x", name[:1].encode()))
        assert found
        answers[name] = lines(ask(found, f"www.{name}", "A").answer)
    return answers


def zone_text(address: str) -> str:
    return f"{HEAD}www 60 A {address}\n"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a function
    def begin(kind: str) -> None:
        monkeypatch.setattr(zone_files, "_CHILD", "tests.unit.zone_children")
        monkeypatch.setenv("CHILD", kind)

    return begin


def test_zones_that_were_compiled_are_served_from_shared_memory(tmp_path: Path) -> None:
    files = ZoneFiles()

    assert not refused(
        files, config_of(tmp_path, a=zone_text("192.0.2.1"), b=zone_text("192.0.2.2"))
    )

    assert served(files) == {
        "a.test": ["www.a.test. 60 IN A 192.0.2.1"],
        "b.test": ["www.b.test. 60 IN A 192.0.2.2"],
    }
    assert len({zone.pack.name for zone in files.zones}) == 1


def test_a_zone_that_says_the_same_is_not_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = ZoneFiles(), ZoneFiles()
    config = config_of(tmp_path, a=zone_text("192.0.2.1"), b=zone_text("192.0.2.2"))
    refused(before, config)
    after = ZoneFiles(before.zones)
    (tmp_path / "b").write_text(zone_text("192.0.2.3"))
    asked = []
    ask_child = zone_files._Child.ask

    def note(self: Any, origin: str, path: Path) -> Any:  # noqa: ANN401
        asked.append(origin)
        return ask_child(self, origin, path)

    monkeypatch.setattr(zone_files._Child, "ask", note)

    assert not refused(after, config)

    assert asked == ["b.test"]
    assert after.zones[0] is before.zones[0]
    assert served(after)["b.test"] == ["www.b.test. 60 IN A 192.0.2.3"]


def test_nobody_can_change_what_was_compiled(tmp_path: Path) -> None:
    files = ZoneFiles()
    refused(files, config_of(tmp_path, a=zone_text("192.0.2.1")))
    fd = files.zones[0].pack.fd

    for change in (
        lambda: os.ftruncate(fd, 0),
        lambda: os.ftruncate(fd, 1 << 20),
        lambda: os.pwrite(fd, b"x", 0),
    ):
        with pytest.raises(PermissionError):
            change()


def test_memory_that_nobody_refers_to_is_given_back(tmp_path: Path) -> None:
    files = ZoneFiles()
    refused(files, config_of(tmp_path, a=zone_text("192.0.2.1")))
    fd = files.zones[0].pack.fd

    del files

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("dies", "the process that reads it ended (signal 9)"),
        ("fails", "the process that reads it ended (status 1: ZeroDivisionError)"),
        ("hangs", "reading it takes over 0 s"),
    ],
)
def test_a_child_that_comes_to_grief_costs_the_zone_it_was_at(
    kind: str,
    reason: str,
    tmp_path: Path,
    play: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play(kind)
    if kind == "hangs":
        monkeypatch.setattr(
            zone_files, "_timeout_s", lambda path: 0.3 if "bad" in path.name else 60.0
        )
    files = ZoneFiles()
    config = config_of(
        tmp_path, a=zone_text("192.0.2.1"), bad=HEAD, c=zone_text("192.0.2.3")
    )

    [text] = refused(files, config)

    assert text.startswith(f"{tmp_path}/bad: {reason}")
    assert list(served(files)) == ["a.test", "c.test"]


def test_a_zone_that_takes_too_much_memory_is_refused(
    tmp_path: Path,
    play: Any,  # noqa: ANN401
) -> None:
    play("short of memory")
    many = "".join(f"h{number} A 192.0.2.1\n" for number in range(100_000))

    [text] = refused(ZoneFiles(), config_of(tmp_path, a=HEAD + many))

    assert text.startswith(f"{tmp_path}/a: reading it takes over ")
    assert text.endswith(" MiB, want a zone that can be served")


@pytest.mark.parametrize("size", [100_000, 1_000_000, 3_000_000])
@pytest.mark.parametrize("form", ["{}", '"{}"'], ids=["bare", "quoted"])
def test_a_word_of_any_length_is_refused_with_its_line(
    form: str, size: int, tmp_path: Path
) -> None:
    word = form.format("x" * size)

    [text] = refused(ZoneFiles(), config_of(tmp_path, a=f"{HEAD}www A {word}\n"))

    line = HEAD.count("\n") + 1
    assert text.startswith(f"{tmp_path}/a:{line}: "), text[:200]
    assert len(text) < 3000


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"www A 192.0.2.1\n", ":1: the record has no TTL"),
        (b"\xff", " has octets that are not UTF-8 at 0"),
        (b"", ": the file holds no record"),
    ],
    ids=["a mistake", "not UTF-8", "empty"],
)
def test_what_is_wrong_with_a_zone_is_told(
    octets: bytes, reason: str, tmp_path: Path
) -> None:
    config = config_of(tmp_path, a="", b=zone_text("192.0.2.2"))
    (tmp_path / "a").write_bytes(octets)
    files = ZoneFiles()

    [fault] = files(config)

    assert fault.path == ("zones", 0, "file")
    assert fault.text.startswith(f"{tmp_path}/a{reason}")
    assert "want" in fault.text
    assert list(served(files)) == ["b.test"]


def test_a_file_that_became_something_else_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, a=HEAD, b=HEAD, c=HEAD)
    known = ZoneFiles()
    refused(known, config)
    for name in "ab":
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "a")

    texts = refused(ZoneFiles(known.zones), config)

    assert texts == [
        f"{tmp_path}/a is no regular file, want a zone that can be served",
        f"{tmp_path}/b: No such file or directory, want a zone that can be served",
    ]


@pytest.mark.long
@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "asleep"])
def test_a_child_that_hangs_is_noticed_long_before_its_bound(
    tmp_path: Path,
    play: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_stopped: bool,
) -> None:
    play("stops" if is_stopped else "hangs")
    monkeypatch.setattr(zone_files, "_STILL_S", 0.5)
    monkeypatch.setattr(zone_files, "_LOOK_EVERY_S", 0.1)
    files = ZoneFiles()

    [text] = refused(files, config_of(tmp_path, bad=HEAD, c=zone_text("192.0.2.3")))

    state = "T" if is_stopped else "S"
    assert f"/bad: the process that reads it hangs: state {state}, no " in text
    assert list(served(files)) == ["c.test"]


@pytest.mark.long
def test_a_child_that_is_at_work_is_let_alone(
    tmp_path: Path,
    play: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play("is busy")
    monkeypatch.setattr(zone_files, "_STILL_S", 0.1)
    monkeypatch.setattr(zone_files, "_LOOK_EVERY_S", 0.05)
    files = ZoneFiles()

    assert not refused(files, config_of(tmp_path, bad=zone_text("192.0.2.3")))


def test_a_child_of_a_server_has_none_of_its_sockets_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise AssertionError("this process has the listening sockets, and forks")

    with spawning.nursery():
        monkeypatch.setattr(spawning.subprocess, "Popen", fail)
        files = ZoneFiles()

        assert not refused(files, config_of(tmp_path, a=zone_text("192.0.2.1")))

        assert served(files) == {"a.test": ["www.a.test. 60 IN A 192.0.2.1"]}


@pytest.mark.long
def test_a_child_that_is_stopped_before_it_runs_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_files, "_STILL_S", 0.3)
    monkeypatch.setattr(zone_files, "_LOOK_EVERY_S", 0.1)
    run, begun = spawning.Nursery.run, []

    def run_and_stop(self: Any, *rest: Any) -> Forked:  # noqa: ANN401
        child = run(self, *rest)
        if not begun:
            os.kill(child.pid, signal.SIGSTOP)
        begun.append(child.pid)
        return child

    monkeypatch.setattr(spawning.Nursery, "run", run_and_stop)
    with spawning.nursery():
        files = ZoneFiles()
        config = config_of(tmp_path, a=HEAD, b=zone_text("192.0.2.2"))

        [text] = refused(files, config)

        assert "hangs: state T" in text
        assert list(served(files)) == ["b.test"]
        assert not Path(f"/proc/{begun[0]}").exists()


def test_compiling_can_be_broken_off(
    tmp_path: Path,
    play: Any,  # noqa: ANN401
) -> None:
    play("hangs")
    files = ZoneFiles()
    config = config_of(tmp_path, bad=HEAD, c=HEAD)
    texts: list[str] = []
    thread = threading.Thread(target=lambda: texts.extend(refused(files, config)))
    thread.start()
    eventually(lambda: files._child)

    files.stop()
    thread.join(10)

    assert len(texts) == 2
    assert not files.zones


def test_without_a_process_every_zone_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(spawning.subprocess, "Popen", fail)

    [text] = refused(ZoneFiles(), config_of(tmp_path, a=HEAD))

    assert text.startswith("no process to read it: Resource temporarily unavailable")


def test_a_worker_gives_an_image_back_as_soon_as_it_has_another(
    tmp_path: Path,
) -> None:
    images, ours = Images(), Path("/proc/self/maps")
    files = ZoneFiles()
    refused(files, config_of(tmp_path, a=zone_text("192.0.2.1")))
    for _ in range(3):
        (tmp_path / "a").write_text(zone_text("192.0.2.1") + f"x{_} TXT x\n")
        files = ZoneFiles(files.zones)
        refused(files, load(tmp_path / "dnsfront.yaml"))
        [zone] = files.zones
        images.map([zone.pack.name], [os.dup(zone.pack.fd)])
        zones = images.zones([zone.image])
        images.keep([zone.image], [zone.pack.name])
        found = zones and zones.find(b"\1a\4test\0")
        assert found
        assert ask(found, "www.a.test", "A").answer

    assert ours.read_text().count("dnsfront-zones") == 1


def test_a_zone_that_did_not_change_costs_a_worker_nothing(tmp_path: Path) -> None:
    images, files = Images(), ZoneFiles()
    config = config_of(tmp_path, a=zone_text("192.0.2.1"), b=zone_text("192.0.2.2"))
    for name, address in (("b", "192.0.2.2"), ("b", "192.0.2.3")):
        (tmp_path / name).write_text(zone_text(address))
        files = ZoneFiles(files.zones)
        refused(files, config)
        packs = {zone.pack.name: os.dup(zone.pack.fd) for zone in files.zones}
        images.map(list(packs), list(packs.values()))
        before, wanted = dict(images._zones), [zone.image for zone in files.zones]
        zones = images.zones(wanted)
        images.keep(wanted, list(packs))
        assert zones

    kept = set(before.values()) & set(images._zones.values())
    assert [zone.origin for zone in kept] == [b"\1a\4test\0"]

"""A whole run of the supervisor, with played worker processes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dnsfront.errors import ConfigError, ControlError, UnavailableError
from dnsfront.ipc.asking import ask
from dnsfront.supervisor import main
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.sockets.listeners import check_free
from tests.unit.supervisor_fakes import PlayedProcess, played, running, write_config

__all__ = ["played"]

Played = type[PlayedProcess]
T = TypeVar("T")


@pytest.fixture(autouse=True)
def _logs_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave pytest's log handlers alone."""
    monkeypatch.setattr("dnsfront.logs.set_up", lambda *_: None)
    monkeypatch.setattr("dnsfront.logs.set_level", lambda *_: None)


def serve(path: Path, client: Callable[[], T]) -> T:
    """Run the supervisor with *client* in a thread beside it; stop it by command."""

    def talk() -> T:
        try:
            wait_until_up(path)
            result = client()
            assert ask(path.parent / "control.sock", {"command": "stop"}, 10) == {
                "ok": True,
                "ended": [],
            }
        except BaseException:
            os.kill(os.getpid(), signal.SIGTERM)
            raise
        return result

    with ThreadPoolExecutor(1) as pool:
        talking = pool.submit(talk)
        assert main.run(path) == 0
        return talking.result()


def open_descriptors() -> int:
    """Return how many descriptors this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def wait_until_up(path: Path) -> None:
    """Return when the server answers; fail when it takes five seconds."""
    pause = threading.Event()
    for _ in range(500):
        with suppress(UnavailableError):
            asker(path)("status")
            return
        pause.wait(0.01)
    pytest.fail("no server within 5 s")


def asker(path: Path) -> Callable[..., dict[str, Any]]:
    def command(name: str, **fields: str) -> dict[str, Any]:
        socket_path = path.parent / "control.sock"
        return ask(socket_path, {"command": name, **fields}, 10)

    return command


def fetch(directory: Path, path: str) -> tuple[int, bytes]:
    port = int((directory / "ports").read_text().split()[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_status_has_the_shape_of_the_contract(played: Played, tmp_path: Path) -> None:
    path = write_config(tmp_path)

    status = serve(path, lambda: asker(path)("status"))

    assert status["generation"] == 1
    assert status["kernel"] == {
        "steering": "userspace",
        "answers": "off",
        "reason": "no CAP_BPF",
    }
    assert status["upstreams"] == []
    assert status["not_ready"] == []
    assert [worker["name"] for worker in status["workers"]] == ["w1", "w2"]
    assert sum(worker["slots"] for worker in status["workers"]) == 256
    [first, _] = status["workers"]
    assert first["state"] == "up"
    assert first["hit_ratio"] is None
    assert first.keys() >= {"pid", "backlog", "queries", "share", "restarts"}
    assert played.events


def test_commands_act_and_say_what_they_did(played: Played, tmp_path: Path) -> None:
    path = write_config(tmp_path)
    command = asker(path)

    def client() -> list[dict[str, Any]]:
        return [
            command("drain", worker="w1"),
            command("undrain", worker="w1"),
            command("reload"),
            command("flush"),
            command("flush", qname="WWW.example.test"),
        ]

    drained, undrained, reloaded, flushed, one = serve(path, client)

    assert (drained["generation"], drained["removed"]) == (2, ["w1"])
    assert (undrained["generation"], undrained["added"]) == (3, ["w1"])
    assert reloaded["slots_moved"] == 0
    assert (flushed["entries"], one["entries"]) == (6, 6)
    assert played.events


def test_lookup_and_ring_tell_who_serves_now(played: Played, tmp_path: Path) -> None:
    path = write_config(tmp_path)
    command = asker(path)
    names = [f"name{number}.test" for number in range(20)]

    def client() -> list[Any]:
        both = command("lookup", names=names)["placed"]
        command("drain", worker="w1")
        return [both, command("lookup", names=names)["placed"], command("ring")]

    both, one, ring = serve(path, client)

    assert [x["name"] for x in both] == names
    assert {x["owner"] for x in both} == {"w1", "w2"}
    assert all(x["owner"] == x["preference"][0] for x in both)
    assert [x["slot"] for x in one] == [x["slot"] for x in both]
    assert {x["owner"] for x in one} == {"w2"}
    assert ring["generation"] == 2
    assert [worker["name"] for worker in ring["workers"]] == ["w2"]
    assert played.events


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"command": "dance"}, "got the command 'dance', want one that exists"),
        ({"command": "drain"}, "got no worker, want its name"),
        ({"command": "flush", "qname": "a..b"}, "^qname: "),
        ({"command": "flush", "qname": "a", "zone": "b"}, "got qname and zone"),
        ({"command": "lookup"}, "got no names, want a list of them"),
        ({"command": "lookup", "names": ["a", 1]}, "got no names, want a list"),
        ({"command": "lookup", "names": ["a..b"]}, "^lookup: "),
        ({"command": "lookup", "names": ["a"] * 401}, "got 401 names, want at most"),
    ],
    ids=[
        "unknown",
        "no worker",
        "bad name",
        "two kinds",
        "no names",
        "no text",
        "bad name to look up",
        "too many names",
    ],
)
def test_requests_that_make_no_sense_are_refused(
    played: Played, tmp_path: Path, request_: dict[str, Any], reason: str
) -> None:
    path = write_config(tmp_path)

    def client() -> None:
        with pytest.raises(ControlError, match=reason):
            ask(tmp_path / "control.sock", request_, 10)

    serve(path, client)
    assert played.events


def test_http_shows_health_readiness_and_the_ring(
    played: Played, tmp_path: Path
) -> None:
    path = write_config(tmp_path)
    paths = ("/healthz", "/readyz", "/ring.json", "/", "/metrics")

    def client() -> list[tuple[int, bytes]]:
        return [fetch(tmp_path, path) for path in paths]

    health, ready, ring, overview, metrics = serve(path, client)

    assert health == (200, b"ok\n")
    assert ready == (200, b"ready\n")
    shape = json.loads(ring[1])
    assert shape["generation"] == 1
    assert sum(worker["share"] for worker in shape["workers"]) == pytest.approx(1)
    assert overview[0] == metrics[0] == 200
    assert b"<title>dnsfront</title>" in overview[1]
    assert played.events


def test_a_signal_stops_and_leaves_nothing(played: Played, tmp_path: Path) -> None:
    path = write_config(tmp_path)
    before = open_descriptors()

    def kill_when_up() -> None:
        wait_until_up(path)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=kill_when_up)
    thread.start()
    assert main.run(path) == 0
    thread.join()

    assert not (tmp_path / "control.sock").exists()
    assert ("drain", "w1") in played.events
    port = int((tmp_path / "ports").read_text().split()[0])
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.bind(("127.0.0.1", port))
    assert open_descriptors() == before


def test_a_wrong_config_starts_nothing(played: Played, tmp_path: Path) -> None:
    path = write_config(tmp_path, more="nonsense: 1\n")
    (tmp_path / "zone").write_text("")

    with pytest.raises(ConfigError) as caught:
        main.run(path)

    assert {m.key for m in caught.value.mistakes} == {"nonsense", "zones[0].file"}
    assert played.events == []


def test_a_second_instance_is_turned_away(played: Played, tmp_path: Path) -> None:
    path = write_config(tmp_path)

    async def run() -> None:
        async with running(path):
            with pytest.raises(
                UnavailableError, match="UDP address is in use; stop the"
            ):
                check_free(candidate.read(path).listeners())

    asyncio.run(run())
    assert played.events

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dnsfront.errors import ControlError, UnavailableError
from dnsfront.ipc.asking import ask


@contextmanager
def server(path: Path, response: bytes | None) -> Iterator[list[bytes]]:
    """Answer one request with *response*; None for never."""
    requests: list[bytes] = []
    done = threading.Event()

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            requests.append(connection.makefile("rb").readline())
            if response is None:
                done.wait(5)
            else:
                connection.sendall(response)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        yield requests
        done.set()
        thread.join()


def test_a_request_is_one_line_and_so_is_its_response(tmp_path: Path) -> None:
    with server(tmp_path / "s", b'{"ok": true, "entries": 7}\n') as requests:
        response = ask(tmp_path / "s", {"command": "flush"}, timeout_s=5)

    assert response == {"ok": True, "entries": 7}
    assert requests == [b'{"command": "flush"}\n']


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b'{"ok": false, "reason": "w9: no such worker"}\n', "^w9: no such worker$"),
        (b'{"ok": false}\n', "^the server gave no reason$"),
        (b"nonsense\n", "no JSON"),
        (b"[]\n", "without ok"),
        (b"", "stopped before it responded"),
    ],
    ids=["refused", "refused without reason", "no JSON", "no object", "closed"],
)
def test_a_refusal_is_an_error_with_its_reason(
    tmp_path: Path, response: bytes, reason: str
) -> None:
    with (
        server(tmp_path / "s", response),
        pytest.raises(ControlError, match=reason),
    ):
        ask(tmp_path / "s", {"command": "drain"}, timeout_s=5)


def test_a_silent_server_is_waited_for_only_so_long(tmp_path: Path) -> None:
    with (
        server(tmp_path / "s", None),
        pytest.raises(ControlError, match=r"did not respond within 0\.05 s"),
    ):
        ask(tmp_path / "s", {"command": "status"}, timeout_s=0.05)


def test_a_server_that_is_at_work_is_waited_for(tmp_path: Path) -> None:
    looks = []

    def is_at_work() -> bool:
        looks.append(1)
        return len(looks) < 4

    with (
        server(tmp_path / "s", None),
        pytest.raises(ControlError, match="did not respond"),
    ):
        ask(tmp_path / "s", {"command": "reload"}, 0.02, is_at_work)

    assert len(looks) == 4


def test_without_a_server_the_sentence_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(
        UnavailableError, match="no dnsfront runs with this control sock"
    ):
        ask(tmp_path / "s", {"command": "status"}, timeout_s=1)


def test_a_socket_that_a_dead_server_left_is_no_server(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))

    with pytest.raises(UnavailableError, match="start it with `dnsfront run`"):
        ask(tmp_path / "s", {"command": "status"}, timeout_s=1)

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dnsfront.errors import ControlError, UnavailableError
from dnsfront.ipc.asking import ask
from dnsfront.supervisor.admin.control_socket import ControlSocket

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def echo(request: dict[str, Any]) -> dict[str, Any]:
    assert request.pop("from_pid") == os.getpid()
    return {"got": request}


async def refuse(_request: dict[str, Any]) -> dict[str, Any]:
    raise ControlError("not today")


async def asked(
    path: Path, handler: Handler, request: dict[str, Any]
) -> dict[str, Any]:
    control = ControlSocket(path)
    await control.serve(handler)
    try:
        return await asyncio.to_thread(ask, path, request, 5)
    finally:
        await control.close()


def test_a_request_reaches_the_handler_and_back(tmp_path: Path) -> None:
    response = asyncio.run(asked(tmp_path / "s", echo, {"command": "x"}))

    assert response == {"ok": True, "got": {"command": "x"}}


def test_an_error_of_the_handler_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"^not today$"):
        asyncio.run(asked(tmp_path / "s", refuse, {}))


def test_what_is_no_request_is_told_so(tmp_path: Path) -> None:
    async def run() -> bytes:
        control = ControlSocket(tmp_path / "s")
        await control.serve(echo)
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"{nonsense\n")
        line = await reader.readline()
        writer.close()
        await control.close()
        return line

    assert asyncio.run(run()) == (
        b'{"ok": false, "reason": "want one JSON object on one line"}\n'
    )


def test_only_the_owner_may_connect_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run" / "dnsfront" / "control.sock"

    async def run() -> int:
        control = ControlSocket(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        await control.close()
        return mode

    assert asyncio.run(run()) == 0o600
    assert not path.exists()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    assert asyncio.run(asked(path, echo, {}))["ok"]


def test_the_socket_of_a_live_server_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()

        with pytest.raises(UnavailableError, match="another dnsfront runs with it"):
            ControlSocket(path)

    assert path.exists()


def test_a_file_of_someone_else_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")

    with pytest.raises(UnavailableError, match=r"is no socket; change admin\.socket"):
        ControlSocket(path)

    assert path.read_text() == "precious"


def test_whoever_asked_is_answered_before_the_socket_goes(tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        stopped = asyncio.Event()
        asked_for = asyncio.Event()

        async def stop(_request: dict[str, Any]) -> dict[str, Any]:
            asked_for.set()
            await stopped.wait()
            return {}

        control = ControlSocket(tmp_path / "s")
        await control.serve(stop)
        client = asyncio.create_task(asyncio.to_thread(ask, tmp_path / "s", {}, 5))
        await asked_for.wait()
        stopped.set()
        await control.close()
        return await client

    assert asyncio.run(run()) == {"ok": True}

"""What the control socket understands."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, astuple
from typing import Any

from dnsfront.dns.dumps import MAX_LINES
from dnsfront.dns.names import qname_from_text, qname_to_text
from dnsfront.errors import ControlError, WireError
from dnsfront.ipc.messages import Flush
from dnsfront.ipc.records import is_count
from dnsfront.supervisor.admin.control_socket import ControlRequest
from dnsfront.supervisor.change.apply import Change
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.reports.lookup import MAX_NAMES
from dnsfront.supervisor.reports.status import Reports
from dnsfront.supervisor.takeover.spawn import spawn
from dnsfront.supervisor.takeover.successor import Succession
from dnsfront.supervisor.workers.dumps import Cursor, dump, load
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.state import Ended

_LOG = logging.getLogger(__name__)


class Commands:
    """The commands on one front end.

    *stop* ends the front end and returns when all but the control socket is closed,
    with the workers that did not finish.
    """

    def __init__(
        self,
        in_force: InForce,
        reports: Reports,
        reloader: Reloader,
        succession: Succession,
        roster: Roster,
        stop: Callable[[], Awaitable[Sequence[Ended]]],
    ) -> None:
        self._in_force = in_force
        self._reports = reports
        self._reloader = reloader
        self._succession = succession
        self._roster = roster
        self._stop = stop

    async def __call__(self, request: ControlRequest) -> dict[str, Any]:
        """Do what *request* asks for and return what became of it.

        Raises:
            DnsfrontError: it was not done; the text says why.
        """
        match request.get("command"):
            case "status" | "ring" | "lookup":
                return self._tell(request)
            case "reload":
                return _changed(await self._reloader.reload())
            case "drain":
                change = await self._reloader.drain(_text(request, "worker"))
            case "undrain":
                change = await self._reloader.undrain(_text(request, "worker"))
            case "flush" | "cache_dump" | "cache_load":
                return await self._cached(request)
            case "takeover" | "restart":
                return await self._succeed(request)
            case "stop":
                return {"ended": [asdict(ended) for ended in await self._stop()]}
            case command:
                raise ControlError(f"got the command {command!r}, want one that exists")
        _LOG.info(
            "%s worker=%s generation=%d slots_moved=%d",
            f"{request['command']}ed", request["worker"],
            change.generation, change.slots_moved,
        )  # fmt: skip
        return _changed(change)

    def _tell(self, request: ControlRequest) -> dict[str, Any]:
        """Return what is asked for of what is in force; nothing changes."""
        match request["command"]:
            case "lookup":
                return {"placed": self._reports.lookup(_names(request))}
            case "ring":
                return self._reports.ring()
        return self._reports.status()

    async def _succeed(self, request: ControlRequest) -> dict[str, Any]:
        """Let a successor take over: the one that asks for it, or a new one."""
        if request["command"] == "restart":
            path = self._in_force.candidate.config.path
            return {"pid": await spawn(path, self._succession)}
        return {"channel": self._succession.begin(request)}

    async def _cached(self, request: ControlRequest) -> dict[str, Any]:
        """Forget what is cached, take more in, or tell a piece, and where the next is.

        Dumps and loads have no turn among changes: what moves meanwhile may be missing.
        """
        if request["command"] == "flush":
            return {"entries": await self._flush(request)}
        if request["command"] == "cache_load":
            return asdict(await load(self._roster, _lines(request)))
        asked = request.get("cursor") or [0, 0, 0]
        if not isinstance(asked, list) or not all(map(is_count, asked)):
            raise ControlError("cache_dump: got no cursor, want that of the last piece")
        piece = await dump(self._roster, Cursor(*asked[:3]))
        following = piece.following
        cursor = None if following is None else list(astuple(following))
        return {"lines": piece.lines, "left_out": piece.left_out, "cursor": cursor}

    async def _flush(self, request: ControlRequest) -> int:
        """Flush one qname, one zone or, with neither, everything."""
        keys = [key for key in ("qname", "zone") if key in request]
        if len(keys) > 1:
            raise ControlError("flush: got qname and zone, want one of them")
        name = _name(request, keys[0]) if keys else None
        entries = await self._reloader.flush(Flush(name, is_suffix=keys == ["zone"]))
        _LOG.info("flushed entries=%d", entries)
        return entries


def _changed(change: Change) -> dict[str, Any]:
    return {
        "generation": change.generation,
        "slots_moved": change.slots_moved,
        "entries": change.entries,
        "seconds": change.seconds,
        "added": list(change.added),
        "removed": list(change.removed),
        "ended": [asdict(ended) for ended in change.ended],
    }


def _text(request: ControlRequest, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise ControlError(f"got no {key}, want its name")
    return value


def _names(request: ControlRequest) -> list[str]:
    names = request.get("names")
    if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
        raise ControlError("got no names, want a list of them")
    if len(names) > MAX_NAMES:
        raise ControlError(f"got {len(names)} names, want at most {MAX_NAMES} at once")
    return names


def _lines(request: ControlRequest) -> list[str]:
    lines = request.get("lines")
    if not isinstance(lines, list) or not all(isinstance(x, str) for x in lines):
        raise ControlError("cache_load: got no lines, want a list of them")
    if len(lines) > MAX_LINES:
        text = f"cache_load: got {len(lines)} lines, want at most {MAX_LINES} at once"
        raise ControlError(text)
    return lines


def _name(request: ControlRequest, key: str) -> str:
    """Return a domain name that no worker will stumble over."""
    try:
        return qname_to_text(qname_from_text(_text(request, key)))
    except WireError as exc:
        raise ControlError(f"{key}: {exc}") from exc

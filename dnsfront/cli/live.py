"""Commands on the running server, through its control socket.

They read of the config only where that socket is, so they work while the file is being
edited or wrong otherwise.
"""

# ruff: noqa: T201 - what a command has to say, it prints

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dnsfront.cli.output import print_json, tell
from dnsfront.cli.progress import progress_of, shown
from dnsfront.config.socket_path import control_socket
from dnsfront.dns.names import qname_from_text, qname_to_text
from dnsfront.errors import ControlError, DnsfrontError, UsageError, WireError
from dnsfront.ipc.asking import ask

_TIMEOUT_S: Final = 5.0
#: Whoever drains finishes pending queries first, and upstreams take their time: three
#: times `upstreams.timeout`, after a change that was under way already. Large zones
#: take longer: as long as the server says that it is at work, it is waited for.
_ACT_TIMEOUT_S: Final = 300.0


def status(arguments: argparse.Namespace) -> int:
    """Show the running server."""
    shown = status_of(socket_path(arguments))
    if arguments.json:
        print_json(shown)
        return 0
    from dnsfront.cli.views import show, status_view  # noqa: PLC0415 - for people only

    show(status_view(shown))
    return 0


def status_of(path: Path) -> dict[str, Any]:
    """Return what the server at the control socket *path* tells about itself.

    Raises:
        UnavailableError, PrivilegeError, ControlError: as `ask`.
    """
    return _told(path, {"command": "status"})


def asked(arguments: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """Return what the server that *arguments* name tells in response to *request*.

    Raises:
        UnavailableError, PrivilegeError, ControlError: as `ask`.
    """
    return _told(socket_path(arguments), request)


def _told(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    response = ask(path, request, _TIMEOUT_S)
    return {key: value for key, value in response.items() if key != "ok"}


def reload(arguments: argparse.Namespace) -> int:
    """Have the config read again; a wrong one changes nothing."""
    return _act(arguments, {"command": "reload"}, lambda done: _moved("reloaded", done))


def restart(arguments: argparse.Namespace) -> int:
    """Have a new process take over; if it cannot, the old one goes on."""
    return _act(
        arguments,
        {"command": "restart"},
        lambda done: f"restarted: pid {done['pid']} has taken over",
    )


def stop(arguments: argparse.Namespace) -> int:
    """Have the server finish what is pending and exit."""
    return _act(arguments, {"command": "stop"}, lambda done: "stopped" + _ended(done))


def drain(arguments: argparse.Namespace) -> int:
    """Take a worker's slots away and let it finish."""
    worker: str = arguments.worker
    request = {"command": "drain", "worker": worker}
    return _act(arguments, request, lambda done: _moved(f"drained {worker}", done))


def undrain(arguments: argparse.Namespace) -> int:
    """Give a drained worker its slots back."""
    worker: str = arguments.worker
    request = {"command": "undrain", "worker": worker}
    return _act(arguments, request, lambda done: _moved(f"undrained {worker}", done))


def flush(arguments: argparse.Namespace) -> int:
    """Drop a name, a zone or everything from all caches."""
    request = {"command": "flush"}
    if arguments.name is not None:
        request["qname"] = _folded(arguments.name)
    elif arguments.zone is not None:
        request["zone"] = _folded(arguments.zone)
    return _act(arguments, request, lambda done: f"flushed {done['entries']} entries")


def _moved(what: str, done: Mapping[str, Any]) -> str:
    """Return a sentence about a change of the ring."""
    text = (
        f"{what}: generation {done['generation']}, {done['slots_moved']} slots moved, "
        f"{done['entries']} cached entries handed over, {done['seconds']:.1f} s"
    )
    for key in ("added", "removed"):
        if done[key]:
            text += f", {key} {' '.join(done[key])}"
    return text + _ended(done)


def _ended(done: Mapping[str, Any]) -> str:
    """Return a line for each worker that did not finish what it had."""
    return "".join(
        f"\n{ended['worker']} did not finish and was ended: {ended['pending']} queries "
        f"pending, {ended['connections']} connections open"
        for ended in done.get("ended", ())
    )


def _folded(name: str) -> str:
    try:
        return qname_to_text(qname_from_text(name))
    except WireError as exc:
        raise UsageError(f"flush: {exc}") from exc


def socket_path(arguments: argparse.Namespace) -> Path:
    """Return the control socket that the command line or the config names.

    Raises:
        ConfigError: neither does.
    """
    given: Path | None = arguments.socket
    return control_socket(arguments.config) if given is None else given


def _is_at_work(path: Path) -> bool:
    try:
        return bool(progress_of(status_of(path)))
    except DnsfrontError:
        return False


def _act(
    arguments: argparse.Namespace,
    request: dict[str, Any],
    describe: Callable[[Mapping[str, Any]], str],
) -> int:
    """Send *request* and print what the server did, or why it did not: exit code 1."""
    path = socket_path(arguments)
    try:
        with shown(lambda: status_of(path)):
            response = ask(path, request, _ACT_TIMEOUT_S, lambda: _is_at_work(path))
    except ControlError as exc:
        if arguments.json:
            print_json({"ok": False, "reason": str(exc)})
        else:
            tell(str(exc))
        return 1
    if arguments.json:
        print_json(response)
    else:
        print(describe(response))
    # A reload is in force all the same, and so says its exit code.
    is_done = request["command"] == "reload" or not response.get("ended")
    return 0 if is_done else 1

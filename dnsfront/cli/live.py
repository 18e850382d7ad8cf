"""Commands on the running server, through its control socket.

They read of the config only where that socket is, so they work while the file is being
edited or wrong otherwise.
"""

# ruff: noqa: T201 - what a command has to say, it prints

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from dnsfront.config.control import control_socket
from dnsfront.dns.wire import qname_from_text, qname_to_text
from dnsfront.errors import ControlError, UsageError, WireError
from dnsfront.ipc.control import ask

#: What takes its time finishes pending queries first, and upstreams have theirs.
_TIMEOUT_S: Final = 10.0
_DRAIN_TIMEOUT_S: Final = 60.0


def status(arguments: argparse.Namespace) -> int:
    """Show the running server."""
    shown: dict[str, Any] = ask(
        socket_path(arguments), {"command": "status"}, _TIMEOUT_S
    )["status"]
    if arguments.json:
        print(json.dumps(shown, indent=2))
        return 0
    from dnsfront.cli.views import show, status_view  # noqa: PLC0415 - for people only

    show(status_view(shown))
    return 0


def reload(arguments: argparse.Namespace) -> int:
    """Have the config read again; a wrong one changes nothing."""
    return _act(arguments, {"command": "reload"}, _DRAIN_TIMEOUT_S)


def stop(arguments: argparse.Namespace) -> int:
    """Have the server finish what is pending and exit."""
    return _act(arguments, {"command": "stop"}, _DRAIN_TIMEOUT_S)


def drain(arguments: argparse.Namespace) -> int:
    """Take a worker's slots away and let it finish."""
    request = {"command": "drain", "worker": arguments.worker}
    return _act(arguments, request, _DRAIN_TIMEOUT_S)


def undrain(arguments: argparse.Namespace) -> int:
    """Give a drained worker its slots back."""
    request = {"command": "undrain", "worker": arguments.worker}
    return _act(arguments, request, _DRAIN_TIMEOUT_S)


def flush(arguments: argparse.Namespace) -> int:
    """Drop a name, a zone or everything from all caches."""
    request = {"command": "flush"}
    if arguments.name is not None:
        request["name"] = _folded(arguments.name)
    elif arguments.zone is not None:
        request["zone"] = _folded(arguments.zone)
    return _act(arguments, request, _TIMEOUT_S)


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


def _act(
    arguments: argparse.Namespace, request: dict[str, Any], timeout_s: float
) -> int:
    """Send *request* and print what the server did, or why it did not: exit code 1."""
    path = socket_path(arguments)
    try:
        response = ask(path, request, timeout_s)
    except ControlError as exc:
        if arguments.json:
            print(json.dumps({"ok": False, "reason": str(exc)}, indent=2))
        else:
            print(exc, file=sys.stderr)
        return 1
    print(json.dumps(response, indent=2) if arguments.json else response["text"])
    return 0

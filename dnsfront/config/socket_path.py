"""Where the control socket of a running server is, even if its config is now wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from dnsfront.config.document import UnreadableError, read
from dnsfront.errors import ConfigError

#: For who asks a server whose config does not tell where it listens.
_REMEDY: Final = "name the config with -c, or the control socket with --socket"

DEFAULT_CONTROL_SOCKET: Final = "/run/dnsfront/control.sock"


def control_socket(config_path: Path) -> Path:
    """Return `admin.socket` of the file, whatever its other keys hold.

    Validates nothing else, so a server can be stopped while its config is being edited.

    Raises:
        ConfigError: the file is no YAML, or the key holds no text. There is no guessing
            then: the default socket could be another server's.
    """
    try:
        document = read(config_path)
    except UnreadableError as exc:
        raise UnreadableError(exc.path, f"{exc.reason}; {_REMEDY}") from exc
    except ConfigError as exc:
        told = [replace(x, text=f"{x.text}; {_REMEDY}") for x in exc.mistakes]
        raise ConfigError(exc.path, told) from exc
    admin = document.data.get("admin") or {}
    socket = (
        admin.get("socket", DEFAULT_CONTROL_SOCKET) if isinstance(admin, dict) else None
    )
    if not isinstance(socket, str):
        text = f"got no path, want that of a socket; {_REMEDY}"
        mistake = document.mistake(("admin", "socket"), text)
        raise ConfigError(str(config_path), [mistake])
    return config_path.absolute().parent / socket

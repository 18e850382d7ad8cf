"""Where the control socket of a running server is, even if its config is now wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dnsfront.config.document import read
from dnsfront.errors import ConfigError

DEFAULT_CONTROL_SOCKET: Final = "/run/dnsfront/control.sock"


def control_socket(config_path: Path) -> Path:
    """Return `admin.socket` of the file, whatever its other keys hold.

    Validates nothing else, so a server can be stopped while its config is being edited.

    Raises:
        ConfigError: the file is no YAML, or the key holds no text. There is no guessing
            then: the default socket could be another server's.
    """
    document = read(config_path)
    admin = document.data.get("admin", {})
    socket = (
        admin.get("socket", DEFAULT_CONTROL_SOCKET) if isinstance(admin, dict) else None
    )
    if not isinstance(socket, str):
        text = "got no path, want that of a socket"
        mistake = document.mistake(("admin", "socket"), text)
        raise ConfigError(str(config_path), [mistake])
    return config_path.absolute().parent / socket

"""Which clients are served (RFC 5358: a resolver for everybody is a weapon)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

#: Client addresses remembered as allowed; a flood of spoofed ones starts over.
_MAX_ALLOWED: Final = 65536


class AccessList:
    """Which client addresses are served; remembers its verdicts by packed address."""

    def __init__(self, networks: Sequence[str]) -> None:
        self.allowed: set[bytes] = set()
        self.replace(networks)

    def replace(self, networks: Sequence[str]) -> None:
        """Serve the clients of these networks from now on, and nobody else."""
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self.allowed.clear()

    def allows(self, packed: bytes) -> bool:
        """Return whether the client at *packed*, 4 or 16 octets, is served."""
        if packed in self.allowed:
            return True
        address = ipaddress.ip_address(packed)
        if not any(address in network for network in self._networks):
            return False
        if len(self.allowed) >= _MAX_ALLOWED:
            self.allowed.clear()
        self.allowed.add(packed)
        return True

"""The admin endpoint, at whatever address the config in force gives it."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from dnsfront.config.address import SocketAddress
from dnsfront.supervisor.admin.http import (
    AdminCounts,
    AdminServer,
    Networks,
    PageMaker,
)


class AdminEndpoint:
    """The server of the address in force, once it is opened.

    *networks* returns who may see its pages, at this moment. *counts* go on when the
    address changes.
    """

    def __init__(self, networks: Networks) -> None:
        self.counts = AdminCounts()
        self._networks = networks
        self._server: AdminServer | None = None

    def open(
        self,
        address: SocketAddress,
        pages: Mapping[str, PageMaker],
        listening: socket.socket | None = None,
        beside: socket.socket | None = None,
    ) -> None:
        """Show *pages* at *address*, through *listening* if that is given.

        *beside* is a socket that may stand in the way, and is to go afterwards.

        Raises:
            UnavailableError, PrivilegeError: the address is not to be had.
        """
        given = None if listening is None else listening.dup()
        self._server = AdminServer(
            address, pages, self._networks, self.counts, given, beside
        )

    @property
    def server(self) -> AdminServer:
        """The server that listens."""
        assert self._server is not None, "open() comes first"
        return self._server

    def move_to(self, server: AdminServer) -> None:
        """Have *server* in place of the one of before, which answers who is there."""
        self.server.retire()
        self._server = server

    def close(self) -> None:
        """Hang up, if there is anybody to hang up on."""
        if self._server is not None:
            self._server.close()

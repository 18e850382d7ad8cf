"""Probes over TLS, over a connection that is kept: a handshake a second is no probe."""

from __future__ import annotations

import asyncio
import os
import ssl
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from dnsfront.errors import TlsError
from dnsfront.tls.client import check_pins, context_of, fault_of

if TYPE_CHECKING:
    from dnsfront.ipc.spec import UpstreamServer, UpstreamTls
    from dnsfront.supervisor.upstreams.probe import ProbeForm

#: So often it has to prove anew who it is: certificates end.
_PROVEN_FOR_S: Final = 60.0
#: Round trips of a probe that has to connect first, beside one.
_ROUND_TRIPS: Final = 3

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TlsProbe:
    """Asks *server* whether it is there; `error` is why it was not believed last."""

    def __init__(self, server: UpstreamServer) -> None:
        self.error: TlsError | None = None
        self._server = server
        self._connection: _Connection | None = None
        self._proven_until_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    async def is_answered(self, form: ProbeForm, attempt: int) -> bool:
        """Return whether it answers one probe."""
        now_s = asyncio.get_running_loop().time()
        if self._connection is not None and now_s < self._proven_until_s:
            try:
                async with asyncio.timeout(form.timeout_s):
                    return await self._ask(self._connection, form, attempt)
            except (OSError, EOFError, TimeoutError):
                pass  # it may have closed what was idle, which is no fault
        self._close()
        try:
            async with asyncio.timeout(form.timeout_s * _ROUND_TRIPS):
                connection = await self._connect(form)
                self._proven_until_s = now_s + _PROVEN_FOR_S
                return await self._ask(connection, form, attempt)
        except TlsError as error:
            self.error = error
        except (OSError, EOFError, TimeoutError):
            pass  # it is not there, which says nothing of who it is
        self._close()
        return False

    async def _connect(self, form: ProbeForm) -> _Connection:
        tls = self._server.tls
        assert tls is not None
        try:
            connection = await asyncio.open_connection(
                self._server.address,
                self._server.port,
                ssl=context_of(tls.authorities),
                server_hostname=tls.name,
                ssl_handshake_timeout=form.timeout_s * _ROUND_TRIPS,
            )
        except ssl.SSLError as exc:
            raise fault_of(exc) from exc
        self._connection = connection
        _check(connection, tls)
        self.error = None
        return connection

    async def _ask(
        self, connection: _Connection, form: ProbeForm, attempt: int
    ) -> bool:
        reader, writer = connection
        identity = os.urandom(2)
        query = form.query(identity, attempt)
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        response = await reader.readexactly(size)
        return response[:2] == identity and form.is_answer(response)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection[1].transport.abort()


def _check(connection: _Connection, tls: UpstreamTls) -> None:
    session = connection[1].get_extra_info("ssl_object")
    check_pins(session.getpeercert(binary_form=True), tls.pins)

"""All ways in at once: what a front end lets go of, and may have to take back."""

from __future__ import annotations

from dnsfront.supervisor.admin.control_socket import ControlSocket
from dnsfront.supervisor.admin.endpoint import AdminEndpoint
from dnsfront.supervisor.host.phase import Life, Phase
from dnsfront.supervisor.kernel_cache.kernel_cache import KernelCache
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.workers.broadcast import Broadcast


class Intake:
    """Queries, commands and HTTP: paused together, and resumed together.

    Whatever comes meanwhile waits in sockets that a successor has too.
    """

    def __init__(
        self,
        life: Life,
        datapath: Datapath,
        kernel_cache: KernelCache,
        broadcast: Broadcast,
        endpoint: AdminEndpoint,
        control: ControlSocket,
    ) -> None:
        self._life = life
        self._datapath = datapath
        self._kernel_cache = kernel_cache
        self._broadcast = broadcast
        self._endpoint = endpoint
        self._control = control

    async def pause(self) -> None:
        """Take nothing more."""
        self._life.phase = Phase.HANDING_OVER
        self._kernel_cache.suspend()
        await self._broadcast.pause()
        self._control.pause()
        self._endpoint.server.pause()

    async def resume(self) -> None:
        """Serve again: the sockets are all here, and whatever came waits in them."""
        self._datapath.groups.attach()
        self._broadcast.resume()
        self._kernel_cache.open()
        self._endpoint.server.resume()
        await self._control.resume()
        self._life.phase = Phase.SERVING

    def hand_on(self) -> None:
        """Leave everything to a successor, which serves."""
        self._broadcast.hand_on()
        self._control.hand_on()

"""What a running front end offers to its successor."""

from __future__ import annotations

from dnsfront.ipc.packets import Descriptor
from dnsfront.supervisor.admin.control_socket import ControlSocket
from dnsfront.supervisor.admin.endpoint import AdminEndpoint
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.settings import Settings
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.takeover.conversation import Conversation
from dnsfront.supervisor.takeover.messages import OfferGroup, OfferRest, OfferWorker
from dnsfront.supervisor.workers.roster import Roster


class Offer:
    """The sockets, the sockarrays and the state that a successor goes on with."""

    def __init__(
        self,
        in_force: InForce,
        datapath: Datapath,
        settings: Settings,
        roster: Roster,
        endpoint: AdminEndpoint,
        control: ControlSocket,
    ) -> None:
        self._in_force = in_force
        self._datapath = datapath
        self._settings = settings
        self._roster = roster
        self._endpoint = endpoint
        self._control = control

    @property
    def destinations(self) -> str:
        """The digest of where names go."""
        return self._in_force.candidate.config.destinations_digest

    async def send(self, conversation: Conversation) -> None:
        """Send all that the successor needs to serve in our place.

        Raises:
            UnavailableError: it is gone.
        """
        groups, in_force = self._datapath.groups, self._in_force
        for worker in self._roster:
            if worker.worker_id not in groups:
                continue
            sockets = groups.sockets_of(worker.worker_id, groups.listeners)
            offered = OfferWorker(
                worker.name,
                worker.worker_id,
                tuple(sock.listener for sock in sockets),
                tuple(Descriptor(sock.fileno()) for sock in sockets),
            )
            await conversation.send(offered)
        for listener in groups.listeners:
            fd = self._datapath.steering.sockarray_fd(listener)
            if fd is not None:
                await conversation.send(OfferGroup(listener, Descriptor(fd)))
        rest = OfferRest(
            drained=tuple(sorted(in_force.drained)),
            admin=str(in_force.candidate.config.admin.listen),
            cookie_secret=self._settings.cookie_secret,
            control_fd=Descriptor(self._control.fileno()),
            admin_fd=Descriptor(self._endpoint.server.fileno()),
        )
        await conversation.send(rest)

"""Whether every part of the front end does what it is there for."""

from __future__ import annotations

from typing import Final

from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.host.phase import Life, Phase
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.state import State

#: The state of a configured worker without a process because an operator said so.
DRAINED: Final = "drained"


class Readiness:
    """The states of the workers, and what a load balancer should know."""

    def __init__(
        self,
        life: Life,
        in_force: InForce,
        roster: Roster,
        upstreams: UpstreamRegistry,
    ) -> None:
        self._life = life
        self._in_force = in_force
        self._roster = roster
        self._upstreams = upstreams

    def states(self) -> dict[str, str]:
        """Return the state of each configured worker."""
        running = {worker.name: str(worker.state) for worker in self._roster}
        return {
            worker.name: running.get(worker.name) or self.absence(worker.name)
            for worker in self._in_force.candidate.config.ring.workers
        }

    def absence(self, name: str) -> str:
        """Return the state of a configured worker that is not there."""
        return DRAINED if name in self._in_force.drained else str(State.DOWN)

    def lacks(self) -> list[str]:
        """Return why a load balancer should look elsewhere, a sentence each."""
        phase, candidate = self._life.phase, self._in_force.candidate
        reasons = []
        if phase not in (Phase.SERVING, Phase.HANDING_OVER):
            reasons.append(f"the server is {phase.value}")
        reasons += [
            f"worker {worker.name} is {worker.state}"
            + (f": {worker.refused}" if worker.refused else "")
            for worker in self._roster
            if worker.state is not State.UP and worker.name in candidate.worker_names
        ]
        pools = candidate.config.used_pools
        is_any_heard = any(
            self._upstreams.is_heard(index)
            for name, pool in pools.items()
            for index in self._upstreams.indices(pool.servers, name)
        )
        if not is_any_heard and not candidate.config.zones:
            texts = ", ".join(x.text for pool in pools.values() for x in pool.servers)
            reasons.append(f"no upstream is up ({texts}) and there is no zone to serve")
        return reasons

"""What all workers of a front end share."""

from __future__ import annotations

from dataclasses import dataclass, field

from dnsfront.ipc.spec import WorkerSpec
from dnsfront.supervisor.kernel_cache.kernel_cache import KernelCache
from dnsfront.supervisor.sockets.datapath import Datapath


@dataclass
class Surroundings:
    """The datapath, the kernel cache, upstreams' health and the spec of every worker.

    *spec* is theirs but for the name and the worker_id. *drain_timeout_s* is how long
    whoever leaves has for what is pending.
    """

    datapath: Datapath
    kernel_cache: KernelCache
    health_fd: int
    spec: WorkerSpec
    drain_timeout_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Let those that leave wait as long as a query of *spec* may be pending."""
        self.drain_timeout_s = self.spec.drain_timeout_s

    def change_spec(self, spec: WorkerSpec) -> None:
        """Give *spec* to whoever is started from now on."""
        # Fetches that are under way end as the spec of their beginning has it.
        self.drain_timeout_s = max(self.spec.drain_timeout_s, spec.drain_timeout_s)
        self.spec = spec

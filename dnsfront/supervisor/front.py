"""One front end, put together from its parts.

Each part is handed those that it needs. Only what starts and ends a front end knows all
of them.
"""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from dnsfront.kernel.steering import open_steering
from dnsfront.ring.qhash import hash_key
from dnsfront.supervisor.admin.endpoint import AdminEndpoint
from dnsfront.supervisor.admin.http import PageMaker
from dnsfront.supervisor.change.apply import Applier
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.outcome import Outcome
from dnsfront.supervisor.change.progress import Progress
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.change.settings import Settings
from dnsfront.supervisor.change.turns import Turns
from dnsfront.supervisor.host.phase import Life
from dnsfront.supervisor.kernel_cache.kernel_cache import KernelCache
from dnsfront.supervisor.reports.metrics import Exposition, exposition
from dnsfront.supervisor.reports.pages import pages
from dnsfront.supervisor.reports.readiness import Readiness
from dnsfront.supervisor.reports.status import Reports
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.sockets.groups import Inherited, SocketGroups
from dnsfront.supervisor.sockets.tables import Publisher
from dnsfront.supervisor.upstreams.health import HealthChecker
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from dnsfront.supervisor.workers.broadcast import Broadcast
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.surroundings import Surroundings
from dnsfront.supervisor.workers.tally import Tallies
from dnsfront.supervisor.zones.secondaries import Secondaries

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Front:
    """What lives as long as the front end does, the lowest first."""

    life: Life
    datapath: Datapath
    kernel_cache: KernelCache
    upstreams: UpstreamRegistry
    health: HealthChecker
    endpoint: AdminEndpoint
    roster: Roster
    broadcast: Broadcast
    in_force: InForce
    outcome: Outcome
    progress: Progress
    turns: Turns
    settings: Settings
    applier: Applier
    reloader: Reloader
    readiness: Readiness
    reports: Reports
    expose: Exposition
    pages: dict[str, PageMaker] = field(repr=False)


def put_together(
    wanted: Candidate, stack: AsyncExitStack, inherited: Inherited, cookie_secret: str
) -> Front:
    """Return a front end without sockets and workers, its program already on its way.

    *stack* takes all of it down. *cookie_secret* is for configs without one.

    Raises:
        KernelError: the kernel lacks something that no right would give.
    """
    in_force, progress, turns, life = InForce(wanted), Progress(), Turns(), Life()
    outcome = Outcome(last_success_at=time.time())
    datapath = _datapath(wanted, stack, inherited)
    tallies = Tallies()
    stack.callback(tallies.close)
    upstreams = UpstreamRegistry(lambda: [tally.words for tally in tallies.values()])
    stack.callback(upstreams.close)
    health = HealthChecker(upstreams)
    stack.push_async_callback(health.close)
    kernel_cache = KernelCache(
        datapath.steering,
        hash_key=hash_key(wanted.config.ring.seed),
        slots=wanted.table.slots,
    )
    stack.callback(kernel_cache.close)
    secondaries = Secondaries()
    stack.callback(secondaries.close)
    settings = Settings(
        datapath, kernel_cache, upstreams, health, secondaries, cookie_secret
    )
    around = Surroundings(
        datapath, kernel_cache, upstreams.health_fd, settings.spec(wanted)
    )
    roster = Roster(around, tallies)
    stack.callback(roster.close)
    kernel_cache.on_new_books = roster.give_books
    broadcast = Broadcast(roster, around)
    endpoint = AdminEndpoint(lambda: in_force.candidate.config.admin.allow)
    stack.callback(endpoint.close)
    applier = Applier(
        in_force, progress, settings, datapath, roster, broadcast, endpoint
    )
    reloader = Reloader(in_force, outcome, progress, turns, applier, broadcast)
    readiness = Readiness(life, in_force, roster, upstreams)
    reports = Reports(
        life,
        in_force,
        outcome,
        progress,
        datapath,
        kernel_cache,
        roster,
        upstreams,
        readiness,
        secondaries,
    )
    expose = exposition(
        in_force=in_force,
        outcome=outcome,
        datapath=datapath,
        kernel_cache=kernel_cache,
        roster=roster,
        upstreams=upstreams,
        readiness=readiness,
        admin=endpoint.counts,
        secondaries=secondaries,
    )
    return Front(
        life=life,
        datapath=datapath,
        kernel_cache=kernel_cache,
        upstreams=upstreams,
        health=health,
        endpoint=endpoint,
        roster=roster,
        broadcast=broadcast,
        in_force=in_force,
        outcome=outcome,
        progress=progress,
        turns=turns,
        settings=settings,
        applier=applier,
        reloader=reloader,
        readiness=readiness,
        reports=reports,
        expose=expose,
        pages=pages(reports, readiness, outcome, expose),
    )


def _datapath(
    wanted: Candidate, stack: AsyncExitStack, inherited: Inherited
) -> Datapath:
    key = hash_key(wanted.config.ring.seed)
    steering, degraded = open_steering(slots=wanted.table.slots, hash_key=key)
    stack.callback(steering.close)
    if degraded:
        _LOG.warning("steering_in_user_space reason=%s", degraded)
    publisher = Publisher(steering)
    stack.callback(publisher.close)
    groups = SocketGroups(wanted.listeners(), steering, inherited)
    return Datapath(steering, degraded, groups, publisher)

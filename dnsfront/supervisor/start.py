"""How a front end comes into being, alone or after a predecessor."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus

from dnsfront.errors import ControlError, RingError, UnavailableError
from dnsfront.ipc.stats import Counter
from dnsfront.kernel.pages import MAX_WORKER_ID
from dnsfront.kernel.steering import open_steering
from dnsfront.ring.qhash import hash_key
from dnsfront.supervisor.admin import metrics, page, reports
from dnsfront.supervisor.admin.http import AdminServer, Page, PageMaker
from dnsfront.supervisor.change.candidate import Candidate, without
from dnsfront.supervisor.front import Front, Phase, ReloadCounts
from dnsfront.supervisor.host import heap
from dnsfront.supervisor.sockets.groups import Inherited, SocketGroups
from dnsfront.supervisor.sockets.listeners import check_free
from dnsfront.supervisor.sockets.tables import Publisher
from dnsfront.supervisor.takeover.predecessor import Predecessor
from dnsfront.supervisor.upstreams.health import HealthChecker
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from dnsfront.supervisor.workers.broadcast import Broadcast
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.surroundings import Surroundings
from dnsfront.supervisor.workers.tally import Tallies

_LOG = logging.getLogger(__name__)


async def start(wanted: Candidate, stack: AsyncExitStack) -> Front:
    """Return the front end that serves *wanted*; *stack* takes all of it down.

    Raises:
        DnsfrontError: something is not to be had; the text says what.
    """
    front = _open(wanted, stack, Inherited())
    _open_admin(front, stack)
    names = wanted.worker_names
    # Interpreters start, and sockets are bound, while the loader compiles.
    front.roster.launch(names)
    front.roster.join(names)
    front.steering.wait_loaded()
    front.apply_settings()
    await front.publisher.publish(wanted.table, front.roster.ids)
    front.groups.attach()
    if len(await front.roster.start(names)) == len(names):
        raise UnavailableError("no worker got ready; the lines above say why")
    front.phase = Phase.SERVING
    heap.give_back()
    return front


async def start_after(
    predecessor: Predecessor, wanted: Candidate, stack: AsyncExitStack
) -> Front:
    """Return the front end that has taken over from *predecessor*.

    It has those workers of *wanted* that the predecessor has too, if there are any: who
    is new, or leaves, is the matter of a change like any other.

    Raises:
        DnsfrontError: something is not to be had. The predecessor goes on.
    """
    configured = {worker.name for worker in wanted.config.ring.workers}
    drained = predecessor.drained & configured
    try:
        wanted = without(wanted, drained)
    except RingError as exc:
        left = ", ".join(sorted(drained))
        raise ControlError(
            f"ring.workers: only drained workers are left ({left}); undrain one"
        ) from exc
    first = _among(wanted, drained, predecessor.ids)
    names, listeners = first.worker_names, first.listeners()
    check_free(listeners, predecessor.listeners)
    front = _open(first, stack, predecessor.leave(names, listeners))
    front.drained = set(drained)
    address = wanted.config.admin.listen
    is_admin_new = str(address) != predecessor.admin
    if is_admin_new:
        _open_admin(front, stack, beside=predecessor.admin_socket)
    roster = front.roster
    roster.peering.hold()
    # One after the other, and not before the compiler: the predecessor needs its CPUs.
    await asyncio.to_thread(front.steering.wait_loaded)
    front.apply_settings()
    ids = _worker_ids(names, predecessor.ids)
    await front.publisher.publish(first.table, ids)
    await roster.bring_up(names, ids)
    key = hash_key(first.config.ring.seed)
    table = first.table.with_worker_ids(roster.ids)
    entries = await predecessor.send_caches(table, key, roster.receivers)
    await front.broadcast.catch_up()
    let_go_at = time.monotonic()
    await predecessor.let_go()
    front.groups.attach()
    roster.peering.release()
    await predecessor.serving(
        {name: listeners for name in names if name in predecessor.ids}
    )
    pause_s = time.monotonic() - let_go_at
    if not is_admin_new:
        _open_admin(front, stack, predecessor.admin_socket)
    front.phase = Phase.SERVING
    adopted = sum(front.tallies.of(name).words[Counter.CACHE_ADOPTED] for name in names)
    _LOG.info(
        "taken_over entries_sent=%d adopted=%d pause_ms=%.1f",
        entries, adopted, pause_s * 1000,
    )  # fmt: skip
    if adopted < entries:
        # Some may have expired, or be a zone's; of another version none is understood.
        _LOG.warning("caches_colder entries_sent=%d adopted=%d", entries, adopted)
    heap.give_back()
    return front


def _worker_ids(names: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """Return the worker_id of each name: the one it has, or one that nobody has."""
    taken = set(known.values())
    free = (number for number in range(1, MAX_WORKER_ID + 1) if number not in taken)
    return {name: known[name] if name in known else next(free) for name in names}


def _among(
    wanted: Candidate, drained: frozenset[str], known: Collection[str]
) -> Candidate:
    """Return *wanted* with none but *known* workers; all of it if there are none."""
    new = {worker.name for worker in wanted.config.ring.workers} - set(known)
    try:
        return without(wanted, drained | new)
    except RingError:
        return wanted


def _open(wanted: Candidate, stack: AsyncExitStack, inherited: Inherited) -> Front:
    """Return a front end without sockets and workers, its loader already at work."""
    key = hash_key(wanted.config.ring.seed)
    steering, degraded = open_steering(slots=wanted.table.slots, hash_key=key)
    stack.callback(steering.close)
    if degraded:
        _LOG.warning("steering_in_user_space reason=%s", degraded)
    publisher = Publisher(steering)
    stack.callback(publisher.close)
    tallies = Tallies()
    stack.callback(tallies.close)
    upstreams = UpstreamRegistry(
        lambda: [tally.words for tally in tallies.values()],
    )
    stack.callback(upstreams.close)
    health = HealthChecker(upstreams)
    stack.push_async_callback(health.close)
    groups = SocketGroups(wanted.listeners(), steering, inherited)
    servers = upstreams.assign(wanted.config.upstreams.servers)
    spec = wanted.spec(groups.listeners, servers, steering.mode)
    around = Surroundings(steering, groups, publisher, upstreams.health_fd, spec)
    roster = Roster(around, tallies)
    stack.callback(roster.close)
    return Front(
        candidate=wanted,
        steering=steering,
        degraded=degraded,
        groups=groups,
        publisher=publisher,
        tallies=tallies,
        roster=roster,
        broadcast=Broadcast(roster, around),
        upstreams=upstreams,
        health=health,
        reloads=ReloadCounts(last_success_at=time.time()),
    )


def _open_admin(
    front: Front,
    stack: AsyncExitStack,
    listening: socket.socket | None = None,
    beside: socket.socket | None = None,
) -> None:
    """Show *front* at its admin address, through *listening* if that is given.

    *beside* is a socket that may stand in the way, and is to go afterwards.
    """
    given = None if listening is None else listening.dup()
    address = front.candidate.config.admin.listen
    front.admin = AdminServer(
        address,
        _pages(front),
        networks=lambda: front.candidate.config.admin.allow,
        counts=front.admin_counts,
        listening=given,
        beside=beside,
    )
    stack.callback(_close_admin, front)


def _close_admin(front: Front) -> None:
    """Close the endpoint of today: a reload may have put another one in its place."""
    if front.admin is not None:
        front.admin.close()


def _pages(front: Front) -> dict[str, PageMaker]:
    """Return what is to be seen over HTTP."""
    expose = metrics.exposition(front)

    def metrics_page(accept: str) -> Page:
        return Page(*expose(accept))

    def ready(_accept: str) -> Page:
        if reasons := reports.not_ready(front):
            body = "".join(f"{reason}\n" for reason in reasons).encode()
            return Page(body, status=HTTPStatus.SERVICE_UNAVAILABLE)
        notes = [] if front.reloads.refused is None else front.reloads.refused.lines()
        return Page("".join(f"{line}\n" for line in ["ready", *notes]).encode())

    def ring(_accept: str) -> Page:
        body = json.dumps(reports.ring(front), indent=2) + "\n"
        return Page(body.encode(), "application/json")

    def overview(_accept: str) -> Page:
        return Page(page.html(reports.status(front)), "text/html; charset=utf-8")

    return {
        "/": overview,
        "/metrics": metrics_page,
        "/healthz": lambda _accept: Page(b"ok\n"),
        "/readyz": ready,
        "/ring.json": ring,
    }

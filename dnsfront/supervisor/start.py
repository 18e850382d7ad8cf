"""How a front end comes into being, alone or after a predecessor."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import AsyncExitStack

from dnsfront.dns.cookies import SECRET_OCTETS
from dnsfront.errors import ControlError, RingError, UnavailableError
from dnsfront.ipc.stats import Counter
from dnsfront.kernel.pages import MAX_WORKER_ID
from dnsfront.ring.qhash import hash_key
from dnsfront.supervisor.change.candidate import Candidate, without
from dnsfront.supervisor.front import Front, put_together
from dnsfront.supervisor.host import heap
from dnsfront.supervisor.host.phase import Phase
from dnsfront.supervisor.sockets.groups import Inherited
from dnsfront.supervisor.sockets.listeners import check_free
from dnsfront.supervisor.takeover.predecessor import Predecessor

_LOG = logging.getLogger(__name__)


async def start(wanted: Candidate, stack: AsyncExitStack) -> Front:
    """Return the front end that serves *wanted*; *stack* takes all of it down.

    Raises:
        DnsfrontError: something is not to be had; the text says what.
    """
    cookie_secret = secrets.token_hex(SECRET_OCTETS)
    front = put_together(wanted, stack, Inherited(), cookie_secret)
    front.endpoint.open(wanted.config.admin.listen, front.pages)
    names = wanted.worker_names
    # Interpreters start, and sockets are bound, while a compiler may be at work.
    front.roster.launch(names)
    front.roster.join(names)
    front.datapath.steering.wait_loaded()
    front.settings.apply(wanted)
    await front.datapath.publisher.publish(wanted.table, front.roster.ids)
    front.datapath.groups.attach()
    if len(await front.roster.start(names)) == len(names):
        raise UnavailableError("no worker got ready; the lines above say why")
    front.kernel_cache.open()
    front.life.phase = Phase.SERVING
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
    inherited = predecessor.leave(names, listeners)
    front = put_together(first, stack, inherited, predecessor.cookie_secret)
    front.in_force.drained = set(drained)
    address = wanted.config.admin.listen
    is_admin_new = str(address) != predecessor.admin
    if is_admin_new:
        front.endpoint.open(address, front.pages, beside=predecessor.admin_socket)
    roster = front.roster
    roster.peering.hold()
    # First the program, then one worker after another: the predecessor needs CPUs.
    await asyncio.to_thread(front.datapath.steering.wait_loaded)
    front.settings.apply(first)
    ids = _worker_ids(names, predecessor.ids)
    await front.datapath.publisher.publish(first.table, ids)
    await roster.bring_up(names, ids)
    key = hash_key(first.config.ring.seed)
    table = first.table.with_worker_ids(roster.ids)
    entries = await predecessor.transfer(
        table, key, wanted.config.destinations_digest, roster.receivers
    )
    await front.broadcast.catch_up()
    let_go_at = time.monotonic()
    await predecessor.let_go()
    front.datapath.groups.attach()
    roster.peering.release()
    await predecessor.serving(
        [name for name in names if name in predecessor.ids], listeners
    )
    pause_s = time.monotonic() - let_go_at
    if not is_admin_new:
        front.endpoint.open(address, front.pages, predecessor.admin_socket)
    front.kernel_cache.open()
    front.life.phase = Phase.SERVING
    adopted = _sum(front, Counter.CACHE_ADOPTED)
    understood = _sum(front, Counter.TRANSFER_UNDERSTOOD)
    _LOG.info(
        "taken_over entries_sent=%d adopted=%d pause_ms=%.1f",
        entries, adopted, pause_s * 1000,
    )  # fmt: skip
    if understood < entries:
        # Those of another version may make no sense; others may be there already, have
        # expired, or belong to a zone now.
        _LOG.warning("caches_colder entries_sent=%d understood=%d", entries, understood)
    heap.give_back()
    return front


def _sum(front: Front, counter: Counter) -> int:
    """Return what all workers counted together."""
    tallies = (front.roster.tallies.of(name) for name in front.roster.names)
    return sum(tally.words[counter] for tally in tallies)


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

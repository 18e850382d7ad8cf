"""What the front end tells about itself: status, the ring, and what is not ready."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from dnsfront.errors import ControlError, WireError
from dnsfront.ipc.stats import Counter, Upstream
from dnsfront.ring.qhash import hash_key
from dnsfront.supervisor.admin.placing import place
from dnsfront.supervisor.front import Front, Phase
from dnsfront.supervisor.workers.state import State
from dnsfront.supervisor.workers.tally import Tally
from dnsfront.supervisor.workers.worker import Worker

#: The state of a configured worker without a process because an operator said so.
DRAINED: Final = "drained"


def states(front: Front) -> dict[str, str]:
    """Return the state of each configured worker."""
    running = {worker.name: worker.state for worker in front.roster}
    return {
        worker.name: str(running.get(worker.name, _absent(front, worker.name)))
        for worker in front.candidate.config.ring.workers
    }


def _absent(front: Front, name: str) -> str:
    return DRAINED if name in front.drained else str(State.DOWN)


def status(front: Front) -> dict[str, Any]:
    """Return the shape of `dnsfront status --json`."""
    table = front.candidate.table
    owned = table.slots_of()
    running = {worker.name: worker for worker in front.roster}
    configured = {worker.name: worker for worker in front.candidate.config.ring.workers}
    workers = [
        {
            "name": name,
            "slots": owned.get(name, 0),
            "share": owned.get(name, 0) / table.slots,
            "standby": name in configured and configured[name].standby,
            **_process(front, name, running.get(name)),
            **_traffic(front.tallies.of(name)),
        }
        for name in [*configured, *(running.keys() - configured.keys())]
    ]
    return {
        "generation": front.publisher.generation,
        "phase": front.phase.value,
        "config": _config(front),
        "listen": [str(address) for address in front.candidate.config.listen],
        "workers": workers,
        "upstreams": _upstreams(front),
        "kernel": {
            "steering": front.steering.mode,
            "answers": "off",
            "reason": front.degraded,
        },
        "change": _change(front),
        "not_ready": not_ready(front),
    }


def _config(front: Front) -> dict[str, Any]:
    refused = front.reloads.refused
    return {
        "path": str(front.candidate.config.path),
        "refused": None if refused is None else refused.summary(),
        "notes": [] if refused is None else refused.lines(),
    }


def _change(front: Front) -> dict[str, Any] | None:
    """Return how far the change under way is, None where there is none."""
    progress = front.progress
    if progress is None:
        return None
    words = [front.tallies.of(name).words for name in front.roster.names]
    moved = words if progress.is_move else []
    return {
        "step": progress.step,
        "for_s": time.monotonic() - progress.since,
        "workers": list(progress.workers),
        "entries": sum(word[Counter.MOVE_ENTRIES] for word in moved),
        "entries_sent": sum(word[Counter.MOVE_SENT] for word in moved),
    }


def ring(front: Front) -> dict[str, Any]:
    """Return the shape of `dnsfront ring --json`, of the table that is in force."""
    order = front.candidate.config.ring.workers
    generation = front.publisher.generation
    return {**front.candidate.table.summary(order), "generation": generation}


def lookup(front: Front, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the shape of `dnsfront lookup --json`, with those that serve as owners.

    Raises:
        ControlError: one of *names* is none.
    """
    ids = front.steering.live_ids()
    live = {worker.name for worker in front.roster if worker.worker_id in ids}
    table, key = front.candidate.table, hash_key(front.candidate.config.ring.seed)
    try:
        return [place(name, table, key, live) for name in names]
    except WireError as exc:
        raise ControlError(f"lookup: {exc}") from exc


def not_ready(front: Front) -> list[str]:
    """Return why a load balancer should look elsewhere, a sentence each; or nothing."""
    reasons = []
    if front.phase not in (Phase.SERVING, Phase.HANDING_OVER):
        reasons.append(f"the server is {front.phase.value}")
    reasons += [
        f"worker {worker.name} is {worker.state}"
        + (f": {worker.refused}" if worker.refused else "")
        for worker in front.roster
        if worker.state is not State.UP and worker.name in front.candidate.worker_names
    ]
    config = front.candidate.config
    servers = config.upstreams.servers
    is_any_up = any(
        front.upstreams.is_heard(server.index)
        for server in front.upstreams.assign(servers)
    )
    if not is_any_up and not config.zones:
        texts = ", ".join(server.text for server in servers)
        reasons.append(f"no upstream is up ({texts}) and there is no zone to serve")
    return reasons


def hit_ratio(tally: Tally) -> float | None:
    """Return hits over cache requests, None before the first request."""
    requests = tally.words[Counter.CACHE_REQUESTS]
    return tally.words[Counter.CACHE_HITS] / requests if requests else None


def _process(front: Front, name: str, worker: Worker | None) -> dict[str, Any]:
    if worker is None:
        return {
            "worker_id": None,
            "pid": None,
            "state": _absent(front, name),
            "reason": None,
            "backlog": 0,
            "draining_for_s": None,
            "drain_within_s": None,
        }
    since = worker.draining_since
    return {
        "worker_id": worker.worker_id,
        "pid": worker.pid,
        "state": worker.state.value,
        "reason": worker.refused,
        "backlog": front.steering.backlog(worker.worker_id),
        "draining_for_s": None if since is None else time.monotonic() - since,
        "drain_within_s": None if since is None else front.roster.drain_timeout_s,
    }


def _traffic(tally: Tally) -> dict[str, Any]:
    words = tally.words
    return {
        "queries": words[Counter.QUERIES_UDP] + words[Counter.QUERIES_TCP],
        "hit_ratio": hit_ratio(tally),
        "cache_entries": words[Counter.CACHE_ENTRIES],
        "cache_bytes": words[Counter.CACHE_OCTETS],
        "pending": words[Counter.PENDING],
        "connections": words[Counter.TCP_OPEN],
        "restarts": tally.restarts,
    }


def _why_down(why: tuple[str, float] | None) -> dict[str, Any]:
    if why is None:
        return {"down_by": None, "down_since": None}
    reason, since_s = why
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since_s))
    return {"down_by": reason, "down_since": since}


def _upstreams(front: Front) -> list[dict[str, Any]]:
    servers = front.candidate.config.upstreams.servers
    indexed = front.upstreams.assign(servers)
    return [
        {
            "address": server.text,
            "up": front.upstreams.is_up(index.index),
            **_why_down(front.upstreams.why_down(index.index)),
            "requests": counts[Upstream.REQUESTS],
            "failures": counts[Upstream.FAILURES],
        }
        for server, index in zip(servers, indexed, strict=True)
        for counts in [front.upstreams.counts(index.index)]
    ]

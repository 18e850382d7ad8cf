"""One server from its start to its end, and a list of operations on it."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.soak import jail
from tests.soak.invariants import check_as_fresh, check_counts, check_log
from tests.soak.op_config import Home
from tests.soak.operations import Drawing, Operation
from tests.soak.orphans import reap
from tests.soak.world import BrokenError, World

#: Operations between two countings.
_COUNT_EVERY: Final = 6
_HOME_EVERY: Final = 12
_BETWEEN_S: Final = 0.3
_LOG_OCTETS: Final = 6000
_NUMBERS: Final = itertools.count(1)


@dataclass
class Outcome:
    """What became of an episode: what was done, what was seen, what broke if any."""

    seed: int
    operations: list[Operation] = field(default_factory=list)
    invariant: str = ""
    text: str = ""
    log: str = ""
    seconds: float = 0.0
    sent: int = 0
    answered: int = 0
    in_kernel: int = 0
    rcodes: dict[str, int] = field(default_factory=dict)
    excused: dict[str, int] = field(default_factory=dict)
    held: list[dict[str, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it for the report."""
        fields = dict(vars(self))
        fields["operations"] = [x.to_json() for x in self.operations]
        return fields


def drawn(seed: int) -> Iterable[Operation]:
    """Return the operations that *seed* stands for, without end."""
    return Drawing(seed, every=Home, after=_HOME_EVERY)


def run(
    host: jail.Host,
    outcome: Outcome,
    operations: Iterable[Operation],
    until: float,
    note: Callable[[], None] = lambda: None,
) -> None:
    """Start a server, do *operations* until a monotonic instant, and end it.

    The last of it is a comparison with a server that just started. *outcome* is filled
    as it goes, and *note* called now and then. Whoever interrupts it ends this process,
    and with it everything else: nothing is ended one by one then.
    """
    began_at = time.monotonic()
    folder = jail.SCRATCH / f"episode{next(_NUMBERS)}"
    world: World | None = None
    try:
        world = World(folder, host, outcome.seed)
        world.start()
        _go_through(world, operations, until, outcome, note)
    except BrokenError as exc:
        outcome.invariant, outcome.text = exc.invariant, exc.text
    except Exception as exc:  # noqa: BLE001 - it is what is looked for
        outcome.invariant = f"unforeseen {type(exc).__name__}"
        outcome.text = "".join(traceback.format_exception(exc))[-4000:]
    outcome.seconds = round(time.monotonic() - began_at, 1)
    if world is not None:
        _sum_up(world, outcome)
        with contextlib.suppress(Exception):
            world.close()
    log = folder / "dnsfront.log"
    if log.exists():
        outcome.log = log.read_text(errors="replace")[-_LOG_OCTETS:]
    shutil.rmtree(folder, ignore_errors=True)
    _restore(host)


def _go_through(
    world: World,
    operations: Iterable[Operation],
    until: float,
    outcome: Outcome,
    note: Callable[[], None],
) -> None:
    counted = check_counts(world, None)
    read_to = 0
    for number, operation in enumerate(operations, start=1):
        if time.monotonic() >= until:
            break
        outcome.operations.append(operation)
        _apply(world, operation)
        world.pause(_BETWEEN_S)
        world.check_answers()
        read_to = check_log(world, read_to)
        reap([world.pid])
        if number % _COUNT_EVERY == 0:
            counted = check_counts(world, counted)
            world.check_answers()
            _sum_up(world, outcome)
            note()
    check_counts(world, counted)
    world.check_answers()
    check_as_fresh(world)
    world.check_answers()
    check_log(world, read_to)


def _apply(world: World, operation: Operation) -> None:
    excuse = None
    if operation.excuses:
        name = type(operation).__name__
        excuse = world.excuse(operation.excuses, name, operation.before_s)
    try:
        operation.apply(world)
    finally:
        if excuse is not None:
            excuse.until_s = world.now() + operation.after_s
    world.undo_what_is_due()


def _sum_up(world: World, outcome: Outcome) -> None:
    clients = world.clients
    outcome.sent = clients.udp.sent + clients.tcp.sent
    outcome.answered = clients.udp.answered + clients.tcp.answered
    outcome.in_kernel = world.in_kernel
    outcome.rcodes = {str(x): n for x, n in Counter(clients.rcodes).items()}
    outcome.excused = dict(world.ledger.excused)
    outcome.held = [vars(held) for held in world.held]


def _restore(host: jail.Host) -> None:
    host.renumber(2)
    for cable in (jail.CLIENTS, jail.UPSTREAMS):
        host.plug(cable)

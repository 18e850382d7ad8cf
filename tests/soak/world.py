"""One server with all that is around it: what operations act on and checks look at."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.message
import dns.rcode

from dnsfront.errors import ControlError, DnsfrontError
from dnsfront.ipc.asking import ask as ask_control
from tests.soak import model
from tests.soak.clients import SERVICE, Clients
from tests.soak.excuses import Excuse, Ledger, Usable
from tests.soak.foster import Foster
from tests.soak.home import ADMIN, home
from tests.soak.jail import Host
from tests.soak.model import Fault, Model, Question
from tests.soak.orphans import end_all
from tests.soak.resolvers import ADDRESSES, GOOD_MODES, Resolvers
from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.processes import Program
from tests.waiting import eventually

#: A change is in force, or refused, within this: drains take their time.
APPLIED_WITHIN_S: Final = 30.0
#: A worker that died or hangs is replaced within this, and an upstream's return seen.
MENDED_WITHIN_S: Final = 10.0


class BrokenError(AssertionError):
    """An *invariant* that does not hold, by its name."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant, self.text = invariant, text


class _Server(FrontEnd):
    """A front end whose processes live at the host."""

    def __init__(self, folder: Path, host: Host, **sections: object) -> None:
        super().__init__(folder)
        self.configure(**sections)
        self.address, self.admin = SERVICE, ADMIN
        self._host = host

    def _start(self, *options: str, rights: Any = None) -> Program:  # noqa: ANN401
        with self._host.inside():
            return super()._start(*options, rights=rights)


class World:
    """A server, its config and zone files, its upstreams, its clients, the rules."""

    def __init__(self, folder: Path, host: Host, seed: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.host = folder, host
        self._began_at = time.monotonic()
        self.model = Model()
        self.ledger = Ledger(Usable([str(address) for address in ADDRESSES]))
        self._lock = threading.Lock()
        self.config = home(folder)
        self.drained: set[str] = set()
        self.are_upstreams_out = False
        self._versions = dict.fromkeys(model.ZONES, 0)
        self._undo: list[list[Any]] = []
        for zone in model.ZONES:
            self.write_zone(zone)
        for entry in self.config["zones"]:
            timeline = model.Timeline(self._versions[entry["origin"]])
            self.model.zones[entry["origin"]] = timeline
        self.front = _Server(folder, host, **self.config)
        self.resolvers = Resolvers(self.second)
        self.note_upstreams()
        self.clients = Clients(self.model, self.now, self.report, seed)
        self.queries_fresh = 0
        #: When each worker died, and whether clients' queries can still be counted.
        self.deaths: dict[str, list[float]] = {}
        self.is_counting = True
        #: Queries that a dead worker may have answered and not counted.
        self.unsure = 0
        self.held: list[Any] = []
        self.own_sent = self.own_answered = self.in_kernel = 0

    def close(self) -> None:
        """End all of it, whatever state it is in."""
        for _, undo in self._undo:
            with contextlib.suppress(Exception):
                undo()
        self.clients.close()
        with contextlib.suppress(Exception):
            self.front.program.signal(signal.SIGCONT)
        with contextlib.suppress(Exception):
            self.front.program.end()
        self.resolvers.close()
        end_all()

    # -- time

    def now(self) -> float:
        """Return the seconds since this world began."""
        return time.monotonic() - self._began_at

    def second(self) -> int:
        """Return the second that upstreams put into what they say."""
        return int(self.now())

    def pause(self, seconds: float) -> None:
        """Let the loads go on for a while."""
        threading.Event().wait(seconds)

    def eventually(
        self, check: Callable[[], object], invariant: str, within_s: float
    ) -> None:
        """Wait for *check*, at the latest for *within_s*.

        Raises:
            BrokenError: the *invariant* named, when it is not met in time.
        """
        try:
            eventually(check, within_s)
        except AssertionError as exc:
            raise BrokenError(invariant, str(exc)[:2000]) from exc

    # -- faults and excuses

    def report(self, question: Question, fault: Fault, seen_s: float) -> None:
        """Take note of what a client saw."""
        if question.is_stranger and fault.kind == model.LOST:
            allowed = self.model.stranger.allowed(question.sent_s, seen_s)
            if 0 in allowed:
                return
        is_upstreams = self.model.is_upstreams(question, seen_s)
        with self._lock:
            self.ledger.enter(question, fault, seen_s, is_upstreams=is_upstreams)

    def excuse(self, kinds: Collection[str], why: str, before_s: float = 0) -> Excuse:
        """Excuse faults of *kinds* from some seconds ago until further notice."""
        excuse = Excuse(frozenset(kinds), why, self.now() - before_s)
        with self._lock:
            self.ledger.excuses.append(excuse)
        return excuse

    def check_answers(self) -> None:
        """Raise what clients found wrong and nothing excuses."""
        with self._lock:
            found = self.ledger.open[:]
        if found:
            kind, text = found[0]
            raise BrokenError(f"answer {kind}", f"{text} (and {len(found) - 1} more)")
        if self.resolvers.errors:
            raise BrokenError("query to upstream", self.resolvers.errors[0])

    # -- the server's life

    def start(self) -> None:
        """Start a server with the config and the files of now."""
        self.front.launch()
        self.front.wait_ready()
        self.drained.clear()
        self.clients.resume()

    def stop(self) -> None:
        """End the server as an operator does."""
        self.front.program.signal(signal.SIGTERM)
        code = self.front.program.wait(APPLIED_WITHIN_S)
        if code:
            raise BrokenError("a stop ends well", f"exit code {code}")

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        return self.front.program.pid

    def adopt(self, pid: int) -> None:
        """Take the process *pid*, which the server started itself, for the server."""
        self.front.adopt(Foster(pid, self.folder / "dnsfront.log"))

    def ask(self, command: str, **fields: str) -> dict[str, Any]:
        """Have the running server do something.

        Raises:
            ControlError: it refuses.
            BrokenError: it does not answer.
        """
        request = {"command": command, **fields}
        try:
            return ask_control(self.front.control, request, APPLIED_WITHIN_S)
        except ControlError as exc:
            if "did not respond" in str(exc):
                raise BrokenError("command is answered", f"{request}: {exc}") from exc
            raise
        except DnsfrontError as exc:
            raise BrokenError("command is answered", f"{request}: {exc}") from exc

    # -- config

    def save(self) -> None:
        """Write the config."""
        self.front.configure(**self.config)

    def reloads(self) -> dict[str, int]:
        """Return how many reloads there were, by result."""
        metrics = self.front.metrics()
        return {
            result: int(metrics.value("config_reloads_total", result=result))
            for result in ("success", "failure")
        }

    def reload(self, way: str, save: Callable[[], None] | None = None) -> str:
        """Save, have it read in one of three ways, and return the result.

        Raises:
            BrokenError: nothing comes of it.
        """
        before = self.reloads()
        (save or self.save)()
        if way == "command":
            try:
                self.ask("reload")
            except ControlError:
                return "failure"
            return "success"
        if way == "hangup":
            self.front.program.signal(signal.SIGHUP)
        changed: dict[str, int] = {}

        def is_over() -> bool:
            after = self.reloads()
            changed.update(
                {x: n - before[x] for x, n in after.items() if n > before[x]}
            )
            return bool(changed)

        self.eventually(is_over, "what was saved is read", APPLIED_WITHIN_S)
        return "success" if "success" in changed else "failure"

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return what the status tells of each worker."""
        return {worker["name"]: worker for worker in self.ask("status")["workers"]}

    def configured(self) -> list[str]:
        """Return the names of the workers that the config wants."""
        workers = self.config["ring"]["workers"]
        if isinstance(workers, int):
            return [f"w{number}" for number in range(1, workers + 1)]
        return [worker["name"] for worker in workers]

    def expect_workers(self) -> None:
        """Wait until exactly the workers that are wanted are up."""
        wanted = set(self.configured())
        self.drained &= wanted

        def are_right() -> bool:
            states = {name: x["state"] for name, x in self.workers().items()}
            assert states == {
                name: "drained" if name in self.drained else "up" for name in wanted
            }
            return True

        self.eventually(are_right, "the workers that are wanted are up", 20)

    # -- zones

    def zone_path(self, zone: str) -> Path:
        """Return where the file of a zone is."""
        return self.folder / f"{zone}.zone"

    def write_zone(self, zone: str, *, more: int = 0) -> int:
        """Write the next version of a zone file, return its number.

        So many *more* records are in it that nobody asks for.
        """
        self._versions[zone] += 1
        version = self._versions[zone]
        others = "".join(f"more{number} A 192.0.2.1\n" for number in range(more))
        self._save_zone(zone, model.zone_text(zone, version) + others)
        return version

    def break_zone(self, zone: str) -> None:
        """Write a zone file that cannot be served."""
        text = model.zone_text(zone, self._versions[zone])
        self._save_zone(zone, f"{text}broken A 300.1.2.3\n")

    def _save_zone(self, zone: str, text: str) -> None:
        path = self.zone_path(zone)
        draft = path.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)

    def is_served(self, zone: str) -> bool:
        """Return whether the config has a zone."""
        return any(entry["origin"] == zone for entry in self.config["zones"])

    def expect_zone(self, zone: str, within_s: float = APPLIED_WITHIN_S) -> None:
        """Wait until every name of a zone has its latest version, and settle that."""
        timeline = self.model.zones[zone]
        version = timeline.latest
        names = [f"n{number}.{zone}" for number in range(20)] + [f"y.wild.{zone}"]

        def is_there() -> bool:
            for name in names:
                told = self.address(name)
                if version is None:
                    # Where no zone is, upstreams say; or nobody can.
                    assert not told.startswith("172."), f"{name}: {told}"
                else:
                    assert told == model.zone_address(zone, version), f"{name}: {told}"
            return True

        self.eventually(is_there, "zone is served as saved", within_s)
        timeline.settle(self.now())

    def address(self, name: str) -> str:
        """Return the address that the server tells for *name*, or the rcode."""
        self.own_sent += 1
        try:
            response = ask(SERVICE, name, nsid=False, timeout_s=3)
        except (dns.exception.Timeout, OSError) as exc:
            raise AssertionError(f"{name}: {exc!r}") from exc
        self.own_answered += 1
        for rrset in response.answer:
            if rrset.rdtype == dns.rdatatype.A:
                return str(rrset[0])
        return dns.rcode.to_text(response.rcode())

    # -- upstreams

    def note_upstreams(self) -> None:
        """Take note of which upstreams are of use from now on."""
        configured = [x["address"] for x in self.config["upstreams"]["servers"]]
        good = [
            str(address)
            for address, mode in zip(ADDRESSES, self.resolvers.modes, strict=True)
            if mode in GOOD_MODES and not self.are_upstreams_out
        ]
        with self._lock:
            self.ledger.usable.note(configured, good, self.now())

    def has_upstream(self) -> bool:
        """Return whether one of the configured upstreams is there and good."""
        configured = {x["address"] for x in self.config["upstreams"]["servers"]}
        return not self.are_upstreams_out and any(
            mode in GOOD_MODES and str(address) in configured
            for address, mode in zip(ADDRESSES, self.resolvers.modes, strict=True)
        )

    def expect_misses(self) -> None:
        """Wait until names that were never asked are answered by an upstream."""
        if not self.has_upstream():
            return
        wanted = 6

        def are_answered() -> bool:
            for _ in range(wanted):
                self.queries_fresh += 1
                name = f"fresh{self.queries_fresh}.{model.UPSTREAM_SUFFIX}"
                told = self.address(name)
                assert told.startswith("10."), f"{name}: {told}"
            return True

        self.eventually(are_answered, "misses are answered again", MENDED_WITHIN_S)

    # -- what lasts for some operations

    def later(self, operations: int, undo: Callable[[], object]) -> None:
        """Undo something after so many more operations."""
        self._undo.append([operations, undo])

    def undo_what_is_due(self, *, is_all: bool = False) -> None:
        """Count one operation, and undo what lasted long enough."""
        for item in self._undo[:]:
            item[0] -= 1
            if item[0] < 0 or is_all:
                self._undo.remove(item)
                item[1]()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Have no client ask anything while the body runs."""
        self.clients.pause()
        try:
            yield
        finally:
            self.clients.resume()

    def config_text(self) -> str:
        """Return the config, for reports."""
        return json.dumps(self.config)

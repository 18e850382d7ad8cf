"""A real front end: its config, its processes, and what can be asked of it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from dnsfront.ipc.asking import ask
from tests.system.metrics import Metrics
from tests.system.processes import DNSFRONT, Program, output_of, run
from tests.waiting import eventually

LOOPBACK: Final = "127.0.0.1"
DEMO_ZONE: Final = {
    "origin": "example.test",
    "file": str(Path(__file__).parents[2] / "deploy/example.test.zone"),
}
#: Below net.ipv4.ip_local_port_range.
_PORTS: Final = itertools.count(10_000)
#: The interpreter, LLVM at worst, four workers: under 2 s alone on a machine.
_READY_WITHIN_S: Final = 20.0
_REPEATS: Final = "upstream_retransmissions "
#: What may stand in no log, whatever a test does to the front end.
_FAULTS: Final = ("Traceback", "fault part=", "task_failed", "command_failed")


class Address(NamedTuple):
    """An IP address and a port, as sockets take them."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """The address family for sockets."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


def free_address(host: str = LOOPBACK) -> Address:
    """Return an address whose port is free over UDP and TCP, a new one each time.

    It stays free: nobody else is in this network, and the ports that the kernel gives
    of its own accord, to sockets towards upstreams for instance, begin far above.
    """
    while True:
        address = Address(host, next(_PORTS))
        with (
            contextlib.suppress(OSError),
            socket.socket(address.family, socket.SOCK_STREAM) as tcp,
            socket.socket(address.family, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(address)
            udp.bind(address)
            return address


@dataclass(frozen=True)
class Reply:
    """A response over HTTP."""

    status: int
    content_type: str
    body: str


class FrontEnd:
    """One front end, from its config to its exit.

    *sections* go into the config as they are, on top of one address to listen at and an
    admin endpoint; without one for it the kernel answers nothing, so that every query
    is a worker's and counts can be exact. As a context manager it is started, ready,
    and gone again; its log must then tell of no fault and its exit code be 0.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rights: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        **sections: object,
    ) -> None:
        self.address = free_address()
        self.admin = free_address()
        self.control = folder / "control.sock"
        self.path = folder / "dnsfront.yaml"
        self._log = folder / "dnsfront.log"
        self._rights, self._env = rights, env
        self._config: dict[str, object] = {
            "listen": [str(self.address)],
            "admin": {"listen": str(self.admin), "socket": str(self.control)},
            "kernel_cache": {"mode": "off"},
        }
        self.configure(**sections)
        self._program: Program | None = None

    # -- life

    def configure(self, **sections: object) -> None:
        """Save the config with *sections* in place of those of before."""
        self._config |= sections
        # JSON is YAML; replaced as a whole, as editors do it.
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self._config, indent=2), encoding="utf-8")
        draft.replace(self.path)

    def restore(self, config: str) -> None:
        """Save the text of an earlier config."""
        self._config = {}
        self.configure(**json.loads(config))

    def launch(self) -> Program:
        """Start the process and return at once."""
        self._program = self._start()
        return self._program

    def _start(self, *options: str, rights: Sequence[str] | None = None) -> Program:
        return Program(
            *(*DNSFRONT, "run", *options, "-c", str(self.path)),
            log=self._log,
            rights=self._rights if rights is None else rights,
            env=self._env,
        )

    def start_successor(self, rights: Sequence[str] | None = None) -> Program:
        """Start another process that is to take over, and return at once."""
        return self._start("--takeover", rights=rights)

    def adopt(self, successor: Program) -> None:
        """Take *successor* for the process of this front end from now on."""
        self._program = successor

    def take_over(self, rights: Sequence[str] | None = None) -> None:
        """Have a new process take over, and see the old one go in good order."""
        successor = self.start_successor(rights)
        try:
            eventually(lambda: self._has_given_way_to(successor), _READY_WITHIN_S)
        except BaseException:
            successor.end()
            raise
        self.adopt(successor)
        self.wait_ready()

    def _has_given_way_to(self, successor: Program) -> bool:
        assert successor.exit_code is None, self.log()
        assert self.program.exit_code in (None, 0), self.log()
        return self.program.exit_code == 0

    @property
    def program(self) -> Program:
        """The supervisor's process."""
        assert self._program is not None, "launch() comes first"
        return self._program

    def is_ready(self) -> bool:
        """Return whether /readyz says so; fails if the process has ended."""
        if (code := self.program.exit_code) is not None:
            raise RuntimeError(f"exit code {code}:\n{self.log()}")
        try:
            return self.get("/readyz").status == http.HTTPStatus.OK
        except OSError:
            return False

    def wait_ready(self) -> None:
        """Wait until it serves with all its workers."""
        eventually(self.is_ready, _READY_WITHIN_S)

    def stop(self) -> None:
        """End it as an operator does, and prove that it was in good health."""
        self.program.signal(signal.SIGTERM)
        code = self.program.wait()
        assert code == 0, self.log()
        assert not [fault for fault in _FAULTS if fault in self.log()], self.log()

    def __enter__(self) -> Self:
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.program.end()
            sys.stderr.write(self.log())
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self.program.exit_code is None:
            self.stop()
        else:
            self.program.end()

    # -- what it tells

    def log(self) -> str:
        """Return what all its processes wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str, accept: str = "") -> Reply:
        """Return what the admin endpoint has at *path*."""
        connection = http.client.HTTPConnection(
            self.admin.host, self.admin.port, timeout=10
        )
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Accept": accept})
            response = connection.getresponse()
            return Reply(
                response.status,
                response.headers["Content-Type"],
                response.read().decode(),
            )

    def metrics(self) -> Metrics:
        """Return all metrics of this moment."""
        return Metrics.from_text(self.get("/metrics").body)

    @contextlib.contextmanager
    def counting(self, expected: Mapping[str, int]) -> Iterator[None]:
        """Prove that the body changes the counters by exactly *expected*."""
        before = self.metrics().counts()
        yield
        self.expect(before, expected)

    def expect(self, before: Counter[str], expected: Mapping[str, int]) -> None:
        """Prove that the counters have changed since *before* by exactly *expected*.

        A client may have its response some microseconds before that is counted.
        """

        def is_counted() -> bool:
            change = self.metrics().counts()
            change.subtract(before)
            counted = {
                name: count
                for name, count in change.items()
                # How often a query is repeated is the machine's matter: its haste.
                if count and not (name.startswith(_REPEATS) and name not in expected)
            }
            assert counted == {name: count for name, count in expected.items() if count}
            return True

        eventually(is_counted)

    def status(self) -> dict[str, Any]:
        """Return what `dnsfront status --json` shows."""
        response = ask(self.control, {"command": "status"}, timeout_s=10)
        return {key: value for key, value in response.items() if key != "ok"}

    def worker(self, name: str) -> dict[str, Any]:
        """Return what the status says of one worker."""
        workers = {worker["name"]: worker for worker in self.status()["workers"]}
        return dict(workers[name])

    def pids(self) -> dict[str, int]:
        """Return the pid of each worker that runs."""
        workers = self.status()["workers"]
        return {w["name"]: w["pid"] for w in workers if w["pid"] is not None}

    # -- commands

    def lookup(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return the preference list of each name, as `dnsfront lookup` tells it."""
        return lookup(self.path, names)

    def command(self, *argv: str) -> tuple[int, str]:
        """Run a command on it; return the exit code and everything that it printed."""
        done = run(*DNSFRONT, *argv, "-c", str(self.path))
        return done.returncode, done.stdout + done.stderr


def lookup(config: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the preference list of each name under *config*."""
    printed = output_of(
        *(*DNSFRONT, "lookup", "-c", str(config), "--json", "-"), stdin="\n".join(names)
    )
    return {placed["name"]: placed["preference"] for placed in json.loads(printed)}


def owners(preferences: Mapping[str, Sequence[str]]) -> Counter[str]:
    """Return how many of the names each worker owns."""
    return Counter(preference[0] for preference in preferences.values())

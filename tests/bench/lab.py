"""The place where everything runs: temporary files, CPUs, the upstream, the servers."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from tests.bench.against import forms
from tests.bench.errors import BenchError
from tests.bench.load import Load, reflector_command
from tests.bench.peers import DNSFRONT, MEASURED, UPSTREAM, Peer
from tests.bench.process import machine_busy_s, tree
from tests.bench.server import HOST, Server, free_port, started

#: Distinct names in the hit measurements; 17 octets each on the wire.
HIT_NAMES: Final = 10_000
REFLECTOR: Final = "reflector"

_SOCKET_BYTES: Final = 4 << 20

#: One run of the generator against one server, with what it cost.
Round = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    rounds: int
    seconds: float
    only: Sequence[str]
    edns: bool
    pin: bool
    #: Another commit, which is built, to be measured in the same rounds.
    against: str | None = None
    #: Of the front end, at fixed rates.
    workers: Sequence[int] = (1, 4, 16)


class Lab:
    """Owns all that a benchmark starts; leaving it leaves nothing behind."""

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        peers: Sequence[Peer] = MEASURED,
        upstream: Peer = UPSTREAM,
    ) -> None:
        """Begin with *peers*, those of which cannot take part being left out."""
        self.settings = settings
        self._wanted = peers
        self._upstream_peer = upstream
        self.say = say
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            temporary = TemporaryDirectory(prefix="dnsfront-bench-")
            self.directory = Path(self._stack.enter_context(temporary))
            self._stack.callback(_kill_descendants)
            self._split_cpus()
            self._write_names()
            self._start_upstream()
            self._find_peers()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _start_upstream(self) -> None:
        peer = self._upstream_peer
        if not peer.is_installed():
            raise BenchError(f"unbound is not installed; {peer.remedy}")
        self._upstream_port = 0
        self.upstream = self._start(self._stack, peer, self._client_cpus)
        self._upstream_port = self.upstream.port

    def _find_peers(self) -> None:
        """Start everyone once: whoever cannot take part is told now, not half-way."""
        self.peers: list[Peer] = []
        self.left_out: dict[str, str] = {}
        other = self.settings.against
        #: Both forms of the other commit.
        self.against = forms(other) if other else ()
        for peer in (*self._wanted, *self.against):
            if not peer.is_installed():
                self.left_out[peer.name] = f"not installed; {peer.remedy}"
                continue
            self.say(f"trying {peer.name}")
            try:
                self.first_answer_s(peer)
            except BenchError as error:
                if peer == DNSFRONT:
                    raise
                self.left_out[peer.name] = str(error)
                continue
            self.peers.append(peer)

    def _split_cpus(self) -> None:
        """Give the last CPU to generator and upstream, the others to the servers.

        Otherwise a server's cost depends on how often the generator takes its CPU.
        """
        cpus = sorted(os.sched_getaffinity(0))
        is_pinned = self.settings.pin and len(cpus) > 1
        self._server_cpus: Sequence[int] = cpus[:-1] if is_pinned else ()
        self._client_cpus: Sequence[int] = cpus[-1:] if is_pinned else ()

    def _write_names(self) -> None:
        self.hit_names = self.directory / "hits"
        self.hit_names.write_text(
            "".join(f"host{number:05}.bench A\n" for number in range(HIT_NAMES))
        )
        self.miss_names = self.directory / "misses"
        self.miss_names.write_text("bench A\n")

    # -- servers

    @contextmanager
    def servers(
        self, peers: Iterable[Peer], *, reflector: bool
    ) -> Iterator[list[Server]]:
        """Start *peers*, and the reflector in front of them, for a ``with`` block."""
        with ExitStack() as stack:
            running = [self.start_reflector(stack)] if reflector else []
            running += [self._start(stack, peer, self._server_cpus) for peer in peers]
            yield running

    @contextmanager
    def unpinned(self, peer: Peer) -> Iterator[Server]:
        """Start *peer* on all CPUs; yield it once it answers."""
        with ExitStack() as stack:
            yield self._start(stack, peer, ())

    def first_answer_s(self, peer: Peer) -> float:
        """Start *peer*, end it, and return the seconds to its first answer."""
        with ExitStack() as stack:
            server = self._execute(peer, ())
            stack.callback(server.close)
            return server.wait_first_answer()

    def start_reflector(
        self, stack: ExitStack, prepare: Callable[[socket.socket], None] | None = None
    ) -> Server:
        """Return a running reflector; *prepare* may do things to its bound socket."""
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
            sock.bind((HOST, 0))
            if prepare:
                prepare(sock)
            fd, port = sock.fileno(), sock.getsockname()[1]
            server = Server(
                REFLECTOR,
                reflector_command(fd),
                port=port,
                log=self.directory / "reflector.log",
                pass_fds=[fd],
                cpus=self._server_cpus,
            )
        stack.callback(server.close)
        server.wait_first_answer()
        return server

    def _start(self, stack: ExitStack, peer: Peer, cpus: Sequence[int]) -> Server:
        return started(stack, lambda: self._execute(peer, cpus))

    def _execute(self, peer: Peer, cpus: Sequence[int]) -> Server:
        directory = self.directory / peer.name
        directory.mkdir(exist_ok=True)
        port = free_port()
        command = peer.configure(directory, port, self._upstream_port)
        log = directory / "log"
        return Server(peer.name, command, port=port, log=log, host=peer.host, cpus=cpus)

    # -- load

    def load(self, names: Path, seconds: float, *arguments: str) -> Load:
        """Return a load of *names* as the command line wants it."""
        edns = ["--edns"] if self.settings.edns else []
        return Load(names, [*arguments, *edns], seconds, self._client_cpus)

    def warm(self, server: Server, names: Path, count: int) -> None:
        """Have *server* cache all *count* names; the second pass gets what was lost."""
        in_turn = self.load(names, 60, "--limit", str(count), "--window", "128")
        for _ in range(2):
            done = in_turn.run(server.port, server.host)
            if done["answered"] == done["sent"] == count:
                return
        raise BenchError(f"{server.name} lost {done['lost']} of {count} names twice")

    def measure(self, server: Server, load: Load) -> Round:
        """Put *load* on *server* and return what was seen, CPU per answer included."""
        busy_s = machine_busy_s()
        upstream = self.upstream.cpu()
        before = server.cpu()
        seen = load.run(server.port, server.host)
        used = server.cpu() - before
        upstream_s = (self.upstream.cpu() - upstream).total_s
        busy_s = machine_busy_s() - busy_s
        server.check_alive()
        if not seen["answered"]:
            raise BenchError(f"{server.name} answered none of {seen['sent']} queries")
        generator_s = seen["user_s"] + seen["system_s"]
        others_s = busy_s - used.total_s - upstream_s - generator_s
        per_answer = 1e6 / seen["answered"]
        return {
            "server": server.name,
            "cpu_us": used.total_s * per_answer,
            "user_us": used.user_s * per_answer,
            "system_us": used.system_s * per_answer,
            "generator_us": generator_s * per_answer,
            "upstream_us": upstream_s * per_answer,
            "others_share": max(0.0, others_s / busy_s) if busy_s else 0.0,
            **seen,
        }


def _kill_descendants() -> None:
    """End what an interrupt left over between its start and its being known here."""
    for pid in tree(os.getpid())[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_compared(server: Server) -> bool:
    """Tell whether *server* resolves names, rather than reflecting them."""
    return server.name != REFLECTOR

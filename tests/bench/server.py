"""One program under measurement: its processes, its port, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from tests.bench.errors import BenchError
from tests.bench.process import Cpu, cpu_of, tree

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"

#: Any name below `bench.` is known upstream; this one is in nobody's cache.
_QUESTION: Final = b"\x05first\x05bench\0" + b"\0\1\0\1"
_QUERY: Final = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + _QUESTION
_RETRY_S: Final = 0.005
_STOP_S: Final = 10.0


def free_port() -> int:
    """Return a loopback port that is free for UDP and TCP, chosen by the kernel."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind((HOST, 0))
            port: int = udp.getsockname()[1]
            with suppress(OSError):
                tcp.bind((HOST, port))
                return port


class Server:
    """A running program that answers on `port`; closing it ends all its processes."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        log: Path,
        host: str = HOST,
        pass_fds: Sequence[int] = (),
        cpus: Sequence[int] = (),
    ) -> None:
        """Execute *command*, whose output goes to *log*; it may use *cpus* or all."""
        self.name = name
        self.host = host
        self.port = port
        self._log = log
        self._is_closed = False
        if cpus:
            command = ["taskset", "-c", ",".join(map(str, cpus)), *command]
        self.started_at = time.monotonic()
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches only us, and we end it in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                start_new_session=True,
                cwd=ROOT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def pids(self) -> list[int]:
        """Return its processes, the one that was started first."""
        return tree(self.pid)

    def cpu(self) -> Cpu:
        return cpu_of(self.pids())

    def check_alive(self) -> None:
        """Raise BenchError, with the end of its output, when it has exited."""
        if (status := self._process.poll()) is None:
            return
        last = self._log.read_text(errors="replace").strip().splitlines()[-3:]
        raise BenchError(f"{self.name} exited with {status}: {' / '.join(last)}")

    def wait_first_answer(self, within_s: float = 30) -> float:
        """Ask until there is an answer, and return the seconds since the start."""
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.connect((self.host, self.port))
            sock.settimeout(_RETRY_S)
            while time.monotonic() < self.started_at + within_s:
                asked_at = time.monotonic()
                with suppress(TimeoutError, ConnectionRefusedError):
                    sock.send(_QUERY)
                    response = sock.recv(4096)
                    if response[2] & 0x80 and not response[3] & 15:
                        return time.monotonic() - self.started_at
                self.check_alive()
                # Refused or SERVFAIL comes at once; ask at one pace all the same.
                time.sleep(max(0, asked_at + _RETRY_S - time.monotonic()))
        raise BenchError(f"{self.name} answered nothing within {within_s:.0f} s")

    def close(self) -> None:
        """Ask it to end, and kill what has not ended after ten seconds."""
        if self._is_closed:
            return
        self._is_closed = True
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        # The session outlives its first process only when something is left behind.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def started(stack: ExitStack, start: Callable[[], Server], attempts: int = 3) -> Server:
    """Return a server of *start* that answers; *stack* closes it.

    A port that was free can be taken by another program before the server binds it, so
    a server that exits at once is started again.
    """
    while True:
        server = start()
        stack.callback(server.close)
        attempts -= 1
        try:
            server.wait_first_answer()
        except BenchError:
            if not attempts:
                raise
            server.close()
            continue
        return server

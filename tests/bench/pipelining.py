"""Hits over UDP while TCP clients pipeline: ``python -m tests.bench.pipelining``.

Clients over TCP send as fast as they are read. One client over UDP asks for a cached
name, waits, and asks again. The figure is how long it waits at dnsfront over how long
it waits at unbound, each with one thread, on the same CPU, in the same minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from tests.bench import load
from tests.bench.errors import BenchError
from tests.bench.lab import HIT_NAMES, Lab, Settings
from tests.bench.peers import DNSFRONT, UNBOUND, Configure, Peer
from tests.bench.server import HOST, ROOT, Server

CONNECTIONS: Final = 32
#: The issue asks for no more than this times unbound's.
TO_REACH: Final = 3.0
_QUERIES: Final = 400
_BLOCK_QUERIES: Final = 500
_SETTLE_S: Final = 0.5


def main() -> int:
    """Measure and print; write the rounds where they are wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, metavar="FILE")
    parser.add_argument("--flood", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.flood:
        return flood(arguments.flood)
    load.build()
    settings = Settings(rounds=1, seconds=1, only=(), edns=False, pin=True)
    with Lab(settings, lambda _text: None) as lab:
        rounds = measure(lab, arguments.rounds)
    for line in report(rounds):
        sys.stdout.write(f"{line}\n")
    if arguments.results:
        text = json.dumps(rounds, indent=1)
        arguments.results.write_text(f"{text}\n", encoding="utf-8")
    return os.EX_OK


def measure(lab: Lab, rounds: int) -> list[dict[str, Any]]:
    """Return the interleaved rounds of both servers, at rest and under the flood."""
    seen = []
    # By default it would let ten of them in.
    roomy = f"server:\n  incoming-num-tcp: {2 * CONNECTIONS}\n"
    peers = [DNSFRONT, _with(UNBOUND, roomy)]
    with lab.servers(peers, reflector=False) as running:
        for server in running:
            lab.warm(server, lab.hit_names, HIT_NAMES)
        for number in range(1, rounds + 1):
            for server in running:
                alone = waits_us(server)
                with flooded(server) as answered:
                    waits = waits_us(server)
                server.check_alive()
                seen.append(
                    {
                        "round": number,
                        "server": server.name,
                        "alone_p50_us": median(alone),
                        "p50_us": median(waits),
                        "p99_us": quantiles(waits, n=100)[-1],
                        "tcp_answered": answered(),
                    }
                )
    return seen


def _with(peer: Peer, more: str) -> Peer:
    """Return *peer* with *more* lines in its config."""

    def configure(
        wrapped: Configure, directory: Path, port: int, upstream_port: int
    ) -> Sequence[str]:
        command = wrapped(directory, port, upstream_port)
        [config] = [x for x in directory.iterdir() if x.suffix in {".yaml", ".conf"}]
        config.write_text(config.read_text() + more)
        return command

    return replace(peer, configure=partial(configure, peer.configure))


def waits_us(server: Server) -> list[float]:
    """Return how long each of some hits over UDP took."""
    waits = []
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, server.port))
        sock.settimeout(5)
        for number in range(_QUERIES):
            query = _query(number)
            began = time.perf_counter_ns()
            sock.send(query)
            while sock.recv(512)[:2] != query[:2]:
                pass
            waits.append((time.perf_counter_ns() - began) / 1000)
            time.sleep(0.001)
    return waits


def _query(number: int) -> bytes:
    name = f"host{number % HIT_NAMES:05}"
    head = number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0"
    return head + bytes([len(name)]) + name.encode() + b"\5bench\0\0\1\0\1"


@contextmanager
def flooded(server: Server) -> Iterator[Any]:
    """Have a process of its own pipeline; yield what returns how much was answered."""
    done: list[int] = []
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.bench.pipelining", "--flood"]
        process = subprocess.Popen(
            [*command, str(server.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout
        if process.stdout.readline() != "flowing\n":
            raise BenchError(f"{server.name} took no {CONNECTIONS} connections")
        time.sleep(_SETTLE_S)
        yield lambda: done[0]
        said, _ = process.communicate("\n", timeout=30)
        done.append(int(said))


def flood(port: int) -> int:
    """Pipeline over all connections until standard input says that it is enough."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-1:])
    block = b"".join(
        len(q).to_bytes(2, "big") + q for q in map(_query, range(_BLOCK_QUERIES))
    )
    left = {}
    octets = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            sock = socket.create_connection((HOST, port))
            sock.setblocking(False)  # noqa: FBT003 - its signature
            selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            left[sock] = block
        selector.register(sys.stdin, selectors.EVENT_READ)
        has_told = False
        while True:
            for key, event in selector.select():
                if key.fileobj is sys.stdin:
                    sys.stdout.write(f"{octets // _ANSWER_OCTETS}\n")
                    return os.EX_OK
                sock = key.fileobj  # type: ignore[assignment]
                if event & selectors.EVENT_READ:
                    received = len(sock.recv(1 << 18))
                    if not received:
                        return os.EX_UNAVAILABLE
                    octets += received
                if event & selectors.EVENT_WRITE:
                    with suppress(BlockingIOError):
                        left[sock] = left[sock][sock.send(left[sock]) :] or block
            if octets and not has_told:
                has_told = True
                sys.stdout.write("flowing\n")
                sys.stdout.flush()


#: The length, the query and one record behind it.
_ANSWER_OCTETS: Final = 2 + len(_query(0)) + 16


def report(rounds: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what was seen, and the figure."""
    p50: dict[str, float] = {}
    for name in dict.fromkeys(each["server"] for each in rounds):
        mine = [each for each in rounds if each["server"] == name]
        p50[name] = median(each["p50_us"] for each in mine)
        alone = median(each["alone_p50_us"] for each in mine)
        p99 = median(each["p99_us"] for each in mine)
        tcp = median(each["tcp_answered"] for each in mine)
        yield (
            f"{name}: p50 {p50[name]:.0f} us ({alone:.0f} alone), p99 {p99:.0f} us, "
            f"{tcp:.0f} answers over TCP meanwhile"
        )
    ratio = p50[DNSFRONT.name] / p50[UNBOUND.name]
    verdict = "reached" if ratio <= TO_REACH else "missed"
    yield (
        f"hits beside {CONNECTIONS} pipelining connections: {ratio:.2f} x unbound's, "
        f"to reach {TO_REACH:g}: {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())

"""Time the program in the kernel: `python -m tests.kern.cost`, as root.

Every figure is the kernel's own run_time_ns over run_cnt, the median of several rounds.
The kernel's time-keeping is in it; what an empty program shows is that, and no more.
"""

# ruff: noqa: T201 - printing is what this command is for
from __future__ import annotations

import contextlib
import os
import random
import socket
from statistics import median
from typing import TYPE_CHECKING

from dnsfront.kernel.maps import load_program
from dnsfront.kernel.steering import BpfSteering
from tests.kern.answering import (
    OPT,
    RECORD,
    TTL_AT,
    AnswerLab,
    entry_for,
    message_for,
)
from tests.kern.bpf import PASS_PROGRAM, cost, statistics
from tests.kern.lab import HASH_KEY, SLOTS, Group, Lab, reuseport_socket
from tests.kern.packets import PORT
from tests.kern.queries import label, qname_of, query
from tests.namespaces import private_network

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 7
DATAGRAMS = 20_000
WORKERS = (1, 2, 3, 4)
QNAMES = {
    "17-octet qname": qname_of("www.example.test"),
    "64-octet qname": label(b"a" * 15) * 4,
    "254-octet qname": label(b"b" * 63) * 3 + label(b"c" * 61),
    "127 labels": label(b"d") * 127,
}
_SO_ATTACH_REUSEPORT_EBPF = 52


def nanoseconds(program_fd: int, octets: bytes, target: tuple[str, int]) -> float:
    """Return what one run costs, when *target* gets *octets* again and again."""
    samples = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(ROUNDS):
            before = cost(program_fd)
            for _ in range(DATAGRAMS):
                client.sendto(octets, target)
            after = cost(program_fd)
            runs = after.runs - before.runs
            samples.append((after.run_time_ns - before.run_time_ns) / runs)
    return median(samples)


def empty_program(octets: bytes) -> float:
    """Return what a run costs that only returns."""
    fd = load_program("empty", PASS_PROGRAM)
    with reuseport_socket(socket.AF_INET) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_EBPF, fd)
        result = nanoseconds(fd, octets, sock.getsockname())
    os.close(fd)
    return result


def measure(steering: BpfSteering, group: Group, qname: bytes) -> float:
    """Return what the program costs for one name."""
    return nanoseconds(steering._program_fd, query(qname), group.target())


def report(steering: BpfSteering, worker_ids: Sequence[int]) -> None:
    """Print every case."""
    print(f"verified instructions: {cost(steering._program_fd).verified_insns}")
    lab = Lab(steering)
    group = lab.group(worker_ids)
    rng = random.Random(8)
    lists = (bytes(rng.sample(worker_ids, len(worker_ids))) for _ in range(SLOTS))
    lab.publish(b"".join(lists))

    print(f"{empty_program(query(b'')):6.0f} ns  empty program")
    for text, qname in QNAMES.items():
        print(f"{measure(steering, group, qname):6.0f} ns  {text}")
    steering.set_bound(1250, 1 << 60)
    print(f"{measure(steering, group, QNAMES['17-octet qname']):6.0f} ns  ... bounded")
    steering.set_bound(1 << 20, 0)
    print(
        f"{measure(steering, group, QNAMES['17-octet qname']):6.0f} ns  ... over floor"
    )
    lab.close()


def report_answers(steering: BpfSteering) -> None:
    """Print what an answer costs, the look at the response on its way back included."""
    lab = AnswerLab(steering)
    for mode in ("tc", "xdp_generic"):
        fd = lab.answers.program_fd(mode)
        with contextlib.closing(lab.answers.attach("lo", mode)):
            for text, qname in QNAMES.items():
                for records in (1, 8):
                    question = qname + b"\0\0\1\0\1"
                    offsets = tuple(TTL_AT + n * len(RECORD) for n in range(records))
                    entry = entry_for(
                        question, body=records * RECORD, ttl_offsets=offsets, age_s=1
                    )
                    if not lab.book.fits(entry.key, entry.body, offsets):
                        continue
                    lab.keep(entry)
                    query = message_for(question, opt=OPT)
                    each = 2 * nanoseconds(fd, query, ("127.0.0.1", PORT))
                    print(f"{each:6.0f} ns  {mode}, {text}, {records} records")
    lab.close()


def main() -> None:
    """Measure in a namespace of our own."""
    with private_network(), statistics():
        steering = BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
        steering.wait_loaded()
        report(steering, WORKERS)
        report_answers(steering)
        steering.close()


if __name__ == "__main__":
    main()

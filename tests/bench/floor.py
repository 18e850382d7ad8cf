"""The floor below answers in the kernel: a program that sends queries back.

It sees packets where the front end's own program does, by the same hooks, and looks
nothing up. What is above it in the busy time of the machine is what an answer costs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dnsfront.errors import DnsfrontError
from dnsfront.kernel.hook import Hook, HookMode, program_type_of
from dnsfront.kernel.loader import Job, Loading
from dnsfront.kernel.maps import XDP, load_program
from dnsfront.kernel.programs import Program
from tests.bench.errors import BenchError
from tests.bench.server import free_port
from tests.bench.wires import Wire

_REFLECT: Final = Program(Path(__file__).with_name("reflect.bpf.c"), numbers=("PORT",))
_FUNCTIONS: Final[dict[HookMode, str]] = {
    "tc": "reflect_tc",
    "xdp": "reflect_xdp",
    "xdp_generic": "reflect_xdp",
}
#: r0 = XDP_PASS; exit
_PASS: Final = bytes.fromhex("b700000002000000 9500000000000000")
_WITHIN_S: Final = 30


@contextmanager
def floor(wire: Wire, mode: str) -> Iterator[int]:
    """Send back at *wire* what comes to a port, which is given, for a ``with`` block.

    Raises:
        BenchError: there is no compiler for it, or the interface does not take it.
    """
    at: HookMode = wire.hook_mode(mode)
    port = free_port()
    job = Job(_REFLECT, _FUNCTIONS[at], {"PORT": socket.htons(port)})
    try:
        program = Loading(_typed(job, at)).wait(_WITHIN_S)
        try:
            hook = Hook(wire.interface, at, program)
        finally:
            os.close(program)
    except DnsfrontError as exc:
        raise BenchError(f"the reflecting floor: {exc}") from exc
    try:
        yield port
    finally:
        hook.close()


@contextmanager
def far_end(wire: Wire, mode: str) -> Iterator[None]:
    """Have the far end of a cable take what XDP sends back at ours.

    Without a program there, the driver of our end throws it away.
    """
    if wire.hook_mode(mode) != "xdp":
        yield
        return
    try:
        with wire.clients():
            program = load_program("pass", _PASS, XDP)
            hook = Hook(wire.far_interface, "xdp", program)
            os.close(program)
    except DnsfrontError as exc:
        raise BenchError(f"the far end: {exc}") from exc
    try:
        yield
    finally:
        hook.close()


def _typed(job: Job, mode: HookMode) -> Job:
    return Job(job.program, job.function, job.values, program_type_of(mode))

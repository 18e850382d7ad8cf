"""What `forward` and the choice of a server cost a miss.

``python -m tests.bench.pools``: one worker in this process, in the pure form, with real
sockets; its own CPU time alone is counted. Every round has each kind once, so that all
of them meet the same machine.
"""

from __future__ import annotations

import json
import statistics
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from dnsfront.ipc.spec import ForwardRule, Policy, PoolSettings
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.shared_load import KEY
from tests.unit.stub_client import Client
from tests.unit.worker_rig import TIMEOUT_S, Rig

_ROUNDS: Final = 9
_QUERIES: Final = 6400
_BATCH: Final = 32
_FLOOR: Final = "one server"
_TAIL: Final = b"\0\0\1\0\1"
_RECORDS: Final = (
    b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1" + b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
)


def _query(number: int) -> bytes:
    name = b"n%07d" % number
    header = struct.pack("!6H", number & 0xFFFF, 0x100, 1, 0, 0, 0)
    return header + bytes([len(name)]) + name + b"\4zone\4test" + _TAIL


def _respond(upstream: FakeUpstream) -> None:
    for octets, sender in upstream.take_octets():
        end = octets.index(_TAIL, 12) + len(_TAIL)
        head = octets[:2] + b"\x81\x80\0\1\0\1\0\0\0\1"
        upstream.send(head + octets[12:end] + _RECORDS, sender)


def _forward(
    rig: Rig, servers: list[FakeUpstream], policy: Policy, rules: int, **keys: bool
) -> None:
    specs = tuple(server.spec for server in servers)
    pools = [PoolSettings(policy, TIMEOUT_S, specs, "corp")] if rules else []
    suffixes = [f"corp{number}.example" for number in range(rules - 1)]
    rig.forwarding.replace(
        PoolSettings(policy, TIMEOUT_S, specs, **keys),
        hash_key=KEY,
        udp_size=1232,
        pools=pools,
        rules=[
            ForwardRule(suffix, "corp")
            for suffix in [*suffixes, *(["zone.test"] if rules else [])]
        ],
    )
    for _step in rig.answering.redirect(None):
        pass


def _microseconds(
    configure: Callable[[Rig, list[FakeUpstream]], object], servers: int
) -> float:
    """Return what one miss takes of the worker's CPU."""
    with ExitStack() as stack:
        upstreams = [FakeUpstream(index) for index in range(servers)]
        for upstream in upstreams:
            stack.callback(upstream.close)
        rig = stack.enter_context(Rig())
        configure(rig, upstreams)
        client = rig.client()
        return _spent_s(rig, client, upstreams) / _QUERIES * 1e6


def _spent_s(rig: Rig, client: Client, upstreams: list[FakeUpstream]) -> float:
    spent_s = 0.0
    for first in range(0, _QUERIES, _BATCH):
        for number in range(first, first + _BATCH):
            client.send(_query(number))
        for _ in range(2):
            began_s = time.thread_time()
            rig.round()
            spent_s += time.thread_time() - began_s
            for upstream in upstreams:
                _respond(upstream)
        answered = len(client.receive())
        assert answered == _BATCH, answered
    return spent_s


_KINDS: Final[dict[str, tuple[int, Callable[[Rig, list[FakeUpstream]], object]]]] = {
    _FLOOR: (1, lambda rig, x: _forward(rig, x, "ordered", 0)),
    "1 suffix": (1, lambda rig, x: _forward(rig, x, "ordered", 1)),
    "10,000 suffixes": (1, lambda rig, x: _forward(rig, x, "ordered", 10_000)),
    "4 servers, ordered": (4, lambda rig, x: _forward(rig, x, "ordered", 0)),
    "4 servers, chash": (4, lambda rig, x: _forward(rig, x, "chash", 0)),
    "4 servers, fastest": (4, lambda rig, x: _forward(rig, x, "fastest", 0)),
    "4 servers, least_outstanding": (
        4,
        lambda rig, x: _forward(rig, x, "least_outstanding", 0),
    ),
    "4 servers, chash, hedge": (
        4,
        lambda rig, x: _forward(rig, x, "chash", 0, hedge=True),
    ),
}


def main() -> int:
    """Print the median of each kind, and its ratio to the plainest one.

    Every round goes into the file that the command line names, if it names one.
    """
    found: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    for _round in range(_ROUNDS):
        for kind, (servers, configure) in _KINDS.items():
            found[kind].append(_microseconds(configure, servers))
    floor = found[_FLOOR]
    for kind, values in found.items():
        ratios = [x / y for x, y in zip(values, floor, strict=True)]
        sys.stdout.write(
            f"{kind}: {statistics.median(values):.1f} us,"
            f" {statistics.median(ratios):.2f} of {_FLOOR}\n"
        )
    for path in sys.argv[1:]:
        Path(path).write_text(f"{json.dumps(found, indent=1)}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

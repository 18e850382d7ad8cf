"""What the bench of kernel answers makes of its rounds."""

from __future__ import annotations

import os

from tests.bench.kernel import report
from tests.bench.process import Others, machine_busy_s

_OURS = "dnsfront compiled"
_MACHINE_US = {"floor tc": 30.0, "dnsdist": 50.0, _OURS: 55.0, f"{_OURS} tc": 31.0}


def _round(number: int, server: str) -> dict[str, object]:
    mode = "tc" if server.endswith("tc") else ""
    return {
        "round": number,
        "wire": "veth",
        "rate": 2000,
        "server": server,
        "mode": mode,
        # A busier machine adds to all of a round, which what is above the floor is not.
        "machine_us": _MACHINE_US[server] + number,
        "others_share": 0.01,
        "cost_us": 0.0 if server == "floor tc" else 10.0,
        "program_us": 0.5,
        "p50": 4.0,
        "p99": 9.0,
        "kernel_share": 1.0 if mode else 0.0,
        "wrong": 0,
    }


def test_kernel_answer_is_told_above_the_floor_over_dnsdist() -> None:
    rounds = [_round(number, server) for number in (1, 2, 3) for server in _MACHINE_US]

    heading, floor, dnsdist, worker, kernel = report(rounds)

    assert heading == "veth, 2,000 a second:"
    assert floor.split() == ["floor", "tc", "machine", "32.00", "us", "a", "query"]
    assert "above the floor tc  20.00 ( 1.00 of dnsdist's)" in dnsdist
    assert "above the floor tc  25.00 ( 1.25 of dnsdist's)" in worker
    assert "above the floor tc   1.00 ( 0.05 of dnsdist's)" in kernel


def test_busy_time_grows_by_what_we_do_and_we_are_no_others() -> None:
    others, busy_s, own = Others.now(), machine_busy_s(), os.times()
    while sum(os.times()[:2]) < sum(own[:2]) + 0.1:
        pass
    used_s = sum(os.times()[:2]) - sum(own[:2])
    assert machine_busy_s() - busy_s > used_s - 0.03  # ticks, where we are not root
    assert os.getpid() not in others.ran_ns

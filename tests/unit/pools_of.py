"""A worker with several pools, for tests of where names go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dnsfront.ipc.spec import ForwardRule, PoolSettings
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.shared_load import KEY
from tests.unit.worker_rig import TIMEOUT_S, Rig


def forward(
    rig: Rig,
    rules: Mapping[str, str],
    *,
    default: Sequence[FakeUpstream] = (),
    **pools: Sequence[FakeUpstream],
) -> int:
    """Have names go where *rules* say, as a reload does; return its steps."""
    before = rig.forwarding.destinations
    settings, *named = (
        PoolSettings("ordered", TIMEOUT_S, tuple(x.spec for x in servers), name)
        for name, servers in {"default": default, **pools}.items()
    )
    rig.forwarding.replace(
        settings,
        hash_key=KEY,
        udp_size=1232,
        pools=named,
        rules=[ForwardRule(suffix, where) for suffix, where in rules.items()],
    )
    return sum(1 for _step in rig.answering.redirect(before))

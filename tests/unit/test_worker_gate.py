"""The gate: one verdict on a client, whatever way its query came."""

from __future__ import annotations

from typing import Literal

import pytest

from dnsfront.ipc.spec import AccessSettings
from dnsfront.worker.clients.gate import MAX_REMEMBERED, Gate, Verdict
from tests.unit.worker_rig import interpreted

INSIDE = bytes((192, 0, 2, 1))
OUTSIDE = bytes((198, 51, 100, 1))


@pytest.mark.parametrize(
    ("deny", "verdict"), [("refuse", Verdict.REFUSE), ("drop", Verdict.DROP)]
)
def test_whoever_is_not_allowed_gets_what_the_config_says(
    deny: Literal["refuse", "drop"], verdict: Verdict
) -> None:
    gate = Gate(AccessSettings(("192.0.2.0/24",), deny))

    assert gate.verdict(INSIDE) is Verdict.SERVE
    assert gate.verdict(OUTSIDE) is verdict


def test_clients_that_are_served_are_known_until_the_list_changes() -> None:
    gate = Gate(AccessSettings(("192.0.2.0/24",), "refuse"))
    served = gate.served
    gate.verdict(INSIDE)
    gate.verdict(OUTSIDE)
    assert served == {INSIDE}

    gate.replace(AccessSettings(("198.51.100.0/24",), "drop"))

    assert gate.served is served
    assert served == set()
    assert gate.verdict(INSIDE) is Verdict.DROP
    assert gate.verdict(OUTSIDE) is Verdict.SERVE


def test_remembered_clients_are_bounded_and_only_those_served() -> None:
    gate = Gate(AccessSettings(("0.0.0.0/0",), "refuse"))

    for number in range(2 * MAX_REMEMBERED + 10):
        assert gate.verdict(number.to_bytes(4, "big")) is Verdict.SERVE
        assert gate.verdict(number.to_bytes(16, "big")) is Verdict.REFUSE

    assert len(gate.served) <= MAX_REMEMBERED
    assert {len(client) for client in gate.served} == {4}


@interpreted
def test_a_verdict_may_rest_on_more_than_the_list() -> None:
    """Whatever else is asked keeps a client out of `served` by its own verdict."""

    class Strict(Gate):
        def verdict(self, packed: bytes) -> Verdict:
            return Verdict.DROP if packed == INSIDE else super().verdict(packed)

    gate = Strict(AccessSettings(("0.0.0.0/0",), "refuse"))

    assert gate.verdict(INSIDE) is Verdict.DROP
    assert gate.verdict(OUTSIDE) is Verdict.SERVE
    assert gate.served == {OUTSIDE}

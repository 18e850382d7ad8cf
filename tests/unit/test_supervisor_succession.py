"""What a running front end says to one that wants to take over."""

from __future__ import annotations

from typing import Any

import pytest

from dnsfront.errors import ControlError
from dnsfront.supervisor.takeover.messages import PROTOCOL
from dnsfront.supervisor.takeover.successor import Succession


@pytest.mark.parametrize(
    ("request_fields", "got"),
    [({"protocol": PROTOCOL - 1}, PROTOCOL - 1), ({}, None)],
    ids=["an older one", "none"],
)
def test_successor_of_another_protocol_is_refused_with_what_to_do(
    request_fields: dict[str, Any], got: int | None
) -> None:
    parts: list[Any] = [None] * 5
    succession = Succession(*parts)

    with pytest.raises(ControlError) as caught:
        succession.begin({"from_pid": 1, **request_fields})

    assert str(caught.value) == (
        f"take-over: got protocol {got}, want {PROTOCOL}; stop this instance and start "
        "the other one"
    )
    assert not succession.done.is_set()

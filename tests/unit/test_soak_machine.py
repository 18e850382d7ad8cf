"""The soak's own machine: drawn by seed, written and read again, shrunk."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.soak import op_haste, op_network, op_processes, op_zones
from tests.soak.episode import drawn
from tests.soak.op_config import CHOICES
from tests.soak.operations import Operation, from_json
from tests.soak.shrink import shrink

CATALOGUE = (op_haste, op_network, op_processes, op_zones)
ROOT = Path(__file__).parents[2]


def test_seed_stands_for_its_operations() -> None:
    assert [*islice(drawn(5), 50)] == [*islice(drawn(5), 50)]
    assert [*islice(drawn(5), 50)] != [*islice(drawn(6), 50)]


def test_every_operation_is_drawn_and_can_be_written_and_read_again() -> None:
    operations = [*islice(drawn(1), 2000)]

    written = [json.dumps(operation.to_json()) for operation in operations]

    assert [from_json(json.loads(line)) for line in written] == operations
    assert {type(x).__name__ for x in operations} == set(Operation.kinds)


def test_short_run_holds_operations_that_exist() -> None:
    lines = (ROOT / "tests/soak/short.jsonl").read_text("utf-8").splitlines()

    for line in lines:
        from_json(json.loads(line))


def test_keys_that_are_edited_exist() -> None:
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text("utf-8"))

    for key in CHOICES:
        section, _, name = key.partition(".")
        assert section in example, key
        assert not name or name in example[section], key


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.data())
def test_shrinking_leaves_what_is_needed_and_nothing_else(
    items: list[int], data: st.DataObject
) -> None:
    needed = data.draw(st.lists(st.sampled_from(range(len(items))), unique=True))
    pairs = list(enumerate(items))
    kept = {pairs[index] for index in needed} or {pairs[0]}

    assert set(shrink(pairs, kept.issubset)) == kept


def test_shrinking_that_is_broken_off_keeps_what_is_known() -> None:
    assert shrink([1, 2, 3], lambda _part: False) == [1, 2, 3]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_last_operations_are_tried_first(count: int) -> None:
    tried: list[list[int]] = []

    def is_broken(part: list[int]) -> bool:
        tried.append(part)
        return set(part) >= set(range(20 - count, 20))

    assert shrink(range(20), is_broken) == [*range(20 - count, 20)]
    assert tried[0] == [19]

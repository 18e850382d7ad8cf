from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from dnsfront.errors import KernelError
from dnsfront.kernel.layouts import layout
from dnsfront.kernel.steering import BpfSteering
from tests.kern.bpf import map_exists
from tests.kern.lab import HASH_KEY, SLOTS, Lab
from tests.kern.queries import qname_of, query
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = query(qname_of("www.example.test"))


@pytest.fixture
def fresh() -> Iterator[Lab]:
    """A steering of its own, with a number of slots that is no power of two."""
    steering = BpfSteering(slots=65520, hash_key=HASH_KEY)
    steering.wait_loaded()
    made = Lab(steering)
    yield made
    made.close()
    steering.close()


def test_without_a_table_the_kernel_chooses(fresh: Lab) -> None:
    group = fresh.group((1, 2))
    client = fresh.client(group)

    with fresh.counting(no_table=1):
        client.sendto(QUERY, group.target())
        assert group.receive()[1] == QUERY


def test_slots_need_not_be_a_power_of_two(fresh: Lab) -> None:
    group = fresh.group((1, 2))
    fresh.steering.publish(b"\1\0\0\0" * 65519 + b"\2\0\0\0")
    client = fresh.client(group)

    with fresh.counting(primary=1):
        client.sendto(QUERY, group.target())
        assert group.receive()[0] == 1


def test_publish_takes_effect_before_it_returns(lab: Lab) -> None:
    group = lab.group((1, 2))
    client = lab.client(group)

    with lab.counting(primary=40):
        for turn in range(40):
            owner = turn % 2 + 1
            lab.publish_everywhere(owner)
            client.sendto(QUERY, group.target())
            assert group.receive()[0] == owner


def test_table_that_was_replaced_is_freed(lab: Lab) -> None:
    first_slot = struct.pack("=I", 0)
    lab.publish_everywhere(1)
    before = lab.steering._tables.lookup(first_slot)
    assert before is not None

    lab.publish_everywhere(2)

    after = lab.steering._tables.lookup(first_slot)
    assert after is not None
    assert after != before
    assert map_exists(int.from_bytes(after, "little"))
    eventually(lambda: not map_exists(int.from_bytes(before, "little")))


def test_table_of_the_wrong_size_is_refused_and_the_old_one_stays(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(2)
    client = lab.client(group)

    with pytest.raises(ValueError, match="different structures"):
        lab.steering.publish(b"\1\0\0\0" * (SLOTS - 1))

    with lab.counting(primary=1):
        client.sendto(QUERY, group.target())
        assert group.receive()[0] == 2


def test_every_outcome_has_a_help_text() -> None:
    comments = layout("steering").comments
    assert [field for field, text in comments.items() if len(text) < 20] == []


def test_listener_is_added_only_once(lab: Lab) -> None:
    group = lab.group((1,))
    with pytest.raises(KernelError, match="EEXIST"):
        lab.steering.add_group(group.listener)


@pytest.mark.parametrize("worker_id", [0, -1, 128])
def test_worker_ids_outside_the_bitmap_are_refused(lab: Lab, worker_id: int) -> None:
    with pytest.raises(ValueError, match="want 1 to 127"):
        lab.steering.set_live(worker_id, is_live=True)
    with pytest.raises(ValueError, match="want 1 to 127"):
        lab.steering.steered(worker_id)


def test_live_ids_are_the_ones_that_were_set(lab: Lab) -> None:
    for worker_id in (1, 63, 64, 65, 127):
        lab.steering.set_live(worker_id, is_live=True)
    lab.steering.set_live(64, is_live=False)
    lab.steering.set_live(2, is_live=False)

    assert lab.steering.live_ids() == {1, 63, 65, 127}

"""Who workers become."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from dnsfront.kernel.pages import MAX_WORKER_ID
from dnsfront.supervisor.host import users
from dnsfront.supervisor.host.users import Users, unused

EVERYBODY = [range(1 << 32)]


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    users.users.cache_clear()
    yield
    users.users.cache_clear()


def test_user_of_our_name_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(pw_uid=990, pw_gid=991)
    monkeypatch.setattr(pwd, "getpwnam", {"dnsfront": entry}.__getitem__)

    chosen = users.users()

    assert chosen is not None
    assert {chosen.of(number) for number in (1, MAX_WORKER_ID)} == {(990, 991)}


def test_without_one_every_worker_gets_a_number_that_nobody_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", {}.__getitem__)

    chosen = users.users()

    assert chosen is not None
    assert chosen is users.users()
    numbers = [chosen.of(number) for number in range(1, MAX_WORKER_ID + 1)]
    assert len({uid for uid, _ in numbers}) == MAX_WORKER_ID
    assert all(uid == gid and 61184 <= uid <= 65519 for uid, gid in numbers)


def test_who_is_not_root_stays_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert users.users() is None


def test_block_with_a_running_process_is_left_alone() -> None:
    first = unused((), 0, EVERYBODY)

    second = unused({first.first + 5}, 0, EVERYBODY)

    assert second == Users(first.first + MAX_WORKER_ID + 1)


def test_start_decides_where_the_search_begins_and_wraps() -> None:
    found = {unused((), start, EVERYBODY).first for start in range(100)}

    assert len(found) == 33
    last = max(found)
    assert unused({last}, 32, EVERYBODY).first == min(found)


@pytest.mark.parametrize(
    ("in_use", "mapped"),
    [
        pytest.param(range(61184, 65520), EVERYBODY, id="all in use"),
        pytest.param((), [range(1), range(1, 61200)], id="none in the namespace"),
    ],
)
def test_where_none_is_left_workers_are_nobody(
    in_use: range, mapped: list[range]
) -> None:
    assert unused(in_use, 7, mapped).of(3) == (65534, 65534)

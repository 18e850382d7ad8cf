from __future__ import annotations

from dnsfront.supervisor.workers.respawn import LEFT_OUT_S, RespawnPolicy


def test_the_first_death_is_answered_at_once() -> None:
    policy = RespawnPolicy()

    assert policy.delay_after_death(now=100, lived_s=1) == 0
    assert not policy.is_left_out


def test_delays_double_from_a_tenth_up_to_five_seconds() -> None:
    policy = RespawnPolicy()

    # 20 s of life each: too short to count as healthy, too rare to be left out.
    delays = [policy.delay_after_death(now=20 * i, lived_s=20) for i in range(10)]

    assert delays == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]


def test_five_deaths_in_a_minute_leave_the_worker_out_for_a_minute() -> None:
    policy = RespawnPolicy()

    delays = [policy.delay_after_death(now=i, lived_s=0.1) for i in range(5)]

    assert delays[-1] == LEFT_OUT_S
    assert policy.is_left_out


def test_a_left_out_worker_that_dies_again_stays_out() -> None:
    policy = RespawnPolicy()
    for i in range(5):
        policy.delay_after_death(now=i, lived_s=0.1)

    assert policy.delay_after_death(now=70, lived_s=5) == LEFT_OUT_S
    assert policy.is_left_out


def test_half_a_minute_of_life_makes_good_for_everything() -> None:
    policy = RespawnPolicy()
    for i in range(5):
        policy.delay_after_death(now=i, lived_s=0.1)

    assert policy.delay_after_death(now=200, lived_s=30) == 0
    assert not policy.is_left_out

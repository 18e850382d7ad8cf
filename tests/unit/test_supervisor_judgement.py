"""What is thought of an upstream, from probes and from what its queries came to."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.ipc.stats import Health
from dnsfront.supervisor.upstreams.judgement import Judgement


class Course:
    """A verdict, and a clock that goes on by a second with each look."""

    def __init__(self, *, rise: int = 1, fall: int = 2) -> None:
        self.verdict = Judgement(rise=rise, fall=fall)
        self.now_s = 0.0

    def second(
        self, good: int = 0, bad: int = 0, *, probe: bool | None = None
    ) -> Health:
        self.now_s += 1
        if probe is not None:
            self.verdict.probed(self.now_s, is_answered=probe)
        self.verdict.counted(self.now_s, good, bad)
        return self.verdict.health

    def seconds(
        self, count: int, good: int = 0, bad: int = 0, *, probe: bool | None = None
    ) -> list[Health]:
        return [self.second(good, bad, probe=probe) for _ in range(count)]


def test_the_first_silence_counts_at_once() -> None:
    assert Course().second(probe=False) == Health.DOWN


def test_one_lost_probe_says_nothing() -> None:
    course = Course()
    course.second(probe=True)

    assert course.second(probe=False) == Health.UP
    assert course.second(probe=False) == Health.DOWN


@pytest.mark.parametrize(("rise", "fall"), [(1, 1), (3, 5)])
def test_as_many_probes_decide_as_the_config_says(rise: int, fall: int) -> None:
    course = Course(rise=rise, fall=fall)
    course.second(probe=True)

    assert course.seconds(fall - 1, probe=False) == [Health.UP] * (fall - 1)
    assert course.second(probe=False) == Health.DOWN
    assert course.seconds(rise - 1, probe=True).count(Health.UP) == 0
    assert course.second(probe=True) == Health.UP


def test_what_answers_queries_is_up_whatever_it_thinks_of_the_probe() -> None:
    course = Course()
    course.second(good=5, probe=True)

    assert set(course.seconds(60, good=1, probe=False)) == {Health.UP}


@pytest.mark.parametrize("probe", [True, False], ids=["answered", "silent"])
@pytest.mark.parametrize("good", [0, 1], ids=["all", "nearly all"])
def test_what_fails_nearly_all_queries_is_passed_over(
    *, probe: bool, good: int
) -> None:
    course = Course()
    course.second(good=50, probe=True)

    health = course.seconds(30, good=good, bad=100, probe=probe)

    assert Health.DOWN in health
    assert health.index(Health.DOWN) < 25


def test_what_fails_half_of_all_queries_is_asked() -> None:
    course = Course()

    assert set(course.seconds(60, good=50, bad=50, probe=True)) == {Health.UP}


def test_a_few_failures_are_no_evidence() -> None:
    course = Course()

    assert set(course.seconds(60, bad=1, probe=True)) == {Health.UP}


def test_what_was_passed_over_is_tried_again_with_back_off() -> None:
    course = Course()
    course.second(bad=100, probe=True)
    trials = []

    for second in range(300):
        if course.second(bad=2, probe=True) == Health.TRIAL and (
            not trials or second - trials[-1] > 1
        ):
            trials.append(second)

    pauses = [b - a for a, b in pairwise(trials)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 10
    assert 60 <= pauses[-1] <= 70


def test_a_trial_lasts_until_something_is_asked() -> None:
    course = Course()
    course.second(bad=100, probe=True)
    course.seconds(5, probe=True)

    assert set(course.seconds(10, probe=True)) == {Health.TRIAL}
    assert course.second(good=1, probe=True) == Health.UP


@pytest.mark.parametrize("bad", [10, 100, 1_000_000])
def test_probes_raise_what_queries_felled_once_nobody_asked_for_a_while(
    bad: int,
) -> None:
    course = Course()
    assert course.second(bad=bad, probe=True) == Health.DOWN

    health = course.seconds(40, probe=True)

    assert health.index(Health.UP) < 30
    assert set(health[health.index(Health.UP) :]) == {Health.UP}


def test_silent_probes_raise_nothing_that_queries_felled() -> None:
    course = Course()
    course.second(bad=100, probe=True)

    assert Health.UP not in course.seconds(100, probe=False)


def test_what_probes_raised_and_queries_fell_again_waits_longer() -> None:
    course = Course()
    pauses = []
    for _ in range(4):
        course.second(bad=100, probe=True)
        health = course.seconds(200, probe=True)
        pauses.append(health.index(Health.TRIAL))

    assert pauses == sorted(set(pauses))


def test_silent_probes_end_no_trial() -> None:
    course = Course()
    course.second(probe=False)

    assert course.seconds(5, probe=False)[-1] == Health.TRIAL
    assert course.second(good=1, probe=False) == Health.UP


def test_an_answered_probe_does_not_forgive_failed_queries() -> None:
    course = Course()
    course.second(bad=100, probe=True)

    assert Health.UP not in course.seconds(100, bad=2, probe=True)


def test_who_answers_while_all_are_down_is_up() -> None:
    course = Course()
    course.second(probe=False)

    assert course.second(good=3, probe=False) == Health.UP


def test_who_refuses_is_heard_and_who_is_silent_is_not() -> None:
    refusing, silent = Course(), Course()
    refusing.seconds(5, bad=100, probe=True)
    silent.seconds(5, bad=100, probe=False)

    assert refusing.verdict.is_heard
    assert not silent.verdict.is_heard


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 200),
            st.sampled_from((True, False, None)),
        )
    )
)
def test_whatever_came_before_it_comes_back_when_it_answers(
    past: list[tuple[int, int, bool | None]],
) -> None:
    course = Course()
    for good, bad, probe in past:
        course.second(good, bad, probe=probe)

    health = course.seconds(120, good=10, probe=True)

    assert health[-60:] == [Health.UP] * 60


def probes_until_up(course: Course) -> int:
    """Return how many answered probes it takes to be up."""
    count = 1
    while course.second(probe=True) != Health.UP:
        count += 1
    return count


def fall(course: Course) -> None:
    while course.second(probe=False) != Health.DOWN:
        pass


def test_one_that_flaps_has_to_answer_twice_as_many_probes_each_time() -> None:
    course = Course(rise=2)
    asked = []
    for _ in range(7):
        fall(course)
        asked.append(probes_until_up(course))

    assert asked == [2, 4, 8, 16, 32, 32, 32]


def test_a_fall_after_a_quiet_minute_is_the_first_again() -> None:
    course = Course()
    for _ in range(3):
        fall(course)
        probes_until_up(course)
    course.seconds(61, probe=True)

    fall(course)

    assert probes_until_up(course) == 1


def test_one_that_was_down_gets_its_share_back_in_the_time_of_slow_start() -> None:
    course = Course()
    assert course.verdict.held(8) == 0
    fall(course)
    assert course.verdict.held(8) == 0
    course.second(probe=True)

    held = [course.verdict.held(8)]
    for _ in range(9):
        course.second(probe=True)
        held.append(course.verdict.held(8))

    assert held[0] == 15
    assert held == sorted(held, reverse=True)
    assert held[4] == 8
    assert held[-2:] == [0, 0]


def test_without_slow_start_it_has_all_at_once() -> None:
    course = Course()
    fall(course)
    course.second(probe=True)

    assert course.verdict.held(0) == 0

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.config.units import (
    DURATION_PATTERN,
    duration_ms_from_text,
    duration_ms_to_text,
    size_octets_from_text,
    size_octets_to_text,
)


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        pytest.param("250ms", 250, id="milliseconds"),
        pytest.param("1s", 1_000, id="seconds"),
        pytest.param("5m", 300_000, id="minutes"),
        pytest.param("2h", 7_200_000, id="hours"),
        pytest.param("1d", 86_400_000, id="days"),
        pytest.param("0s", 0, id="zero with a unit"),
        pytest.param("0", 0, id="zero without a unit"),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration_ms: int) -> None:
    assert duration_ms_from_text(text) == duration_ms


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "5 s", "-5s", "1.5s", "5S", "5min", "1h30m", "\u0665s", "1s\n"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="want a whole number with its unit"):
        duration_ms_from_text(text)


@given(st.integers(min_value=0, max_value=10**12 - 1))
def test_a_duration_survives_being_written(duration_ms: int) -> None:
    assert duration_ms_from_text(duration_ms_to_text(duration_ms)) == duration_ms


@given(st.integers(0, 10**12 - 1), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_the_shortest_spelling_is_written(number: int, unit: str) -> None:
    text = duration_ms_to_text(duration_ms_from_text(f"{number}{unit}"))

    assert len(text) <= len(f"{number}{unit}") or text == "0s"


@given(st.one_of(st.text(), st.from_regex(DURATION_PATTERN)))
def test_the_schema_takes_what_the_program_takes(text: str) -> None:
    try:
        duration_ms_from_text(text)
    except ValueError:
        is_taken = False
    else:
        is_taken = True

    # The JSON Schema's $ does not match before a final line feed, as Python's does.
    assert is_taken == bool(re.search(DURATION_PATTERN.replace("$", r"\Z"), text))


@pytest.mark.parametrize(
    ("text", "size_octets"),
    [
        pytest.param("512B", 512, id="octets"),
        pytest.param("16KiB", 16_384, id="kibi"),
        pytest.param("64MiB", 67_108_864, id="mebi"),
        pytest.param("1GiB", 1_073_741_824, id="gibi"),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size_octets: int) -> None:
    assert size_octets_from_text(text) == size_octets
    assert size_octets_to_text(size_octets) == text


@pytest.mark.parametrize("text", ["", "5", "MiB", "1.5MiB", "5MB", "5 MiB", "5mib"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="want a whole number with its unit"):
        size_octets_from_text(text)

"""Where questions go by the end of their names, whatever destinations are."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns.destinations import Destinations, moved
from dnsfront.dns.names import is_under, qname_from_text

RULES: Final = {
    "corp.example": "corp",
    "www.corp.example": "default",
    "ads.example": "refuse",
    "ok.ads.example": "corp",
    "lan": "local",
}


def destinations(rules: dict[str, str]) -> Destinations:
    return Destinations(
        {qname_from_text(name): where for name, where in rules.items()},
        default="default",
        refusing=frozenset(("refuse", "nxdomain")),
    )


def question(name: str, qtype: int = 1) -> bytes:
    return qname_from_text(name) + qtype.to_bytes(2, "big") + b"\0\1"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("corp.example", "corp"),
        ("a.b.corp.example", "corp"),
        ("xcorp.example", "default"),
        ("example", "default"),
        (".", "default"),
        ("www.corp.example", "default"),
        ("a.www.corp.example", "default"),
        ("x.ads.example", "refuse"),
        ("x.ok.ads.example", "corp"),
    ],
)
def test_the_longest_suffix_wins(name: str, where: str) -> None:
    assert destinations(RULES).of(question(name)) == where


def test_the_root_stands_for_all_that_is_not_named() -> None:
    found = destinations({**RULES, ".": "nxdomain"})

    assert found.of(question("www.example")) == "nxdomain"
    assert found.of(question(".")) == "nxdomain"
    assert found.of(question(".", 43)) == "nxdomain"
    assert found.of(question("corp.example")) == "corp"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        pytest.param("corp.example", "default", id="of a pool"),
        pytest.param("a.corp.example", "corp", id="below it"),
        pytest.param("lan", "default", id="of what is local"),
        pytest.param("ads.example", "refuse", id="of what is refused"),
        pytest.param("ok.ads.example", "corp", id="below what is refused"),
        pytest.param("www.corp.example", "corp", id="of another pool's suffix"),
    ],
)
def test_ds_records_of_a_suffix_are_its_parents_to_say(name: str, where: str) -> None:
    assert destinations(RULES).of(question(name, 43)) == where


@given(
    st.dictionaries(
        st.lists(st.sampled_from("abc"), max_size=4).map(lambda x: ".".join(x) or "."),
        st.sampled_from(["p", "q", "refuse"]),
        max_size=6,
    ),
    st.lists(st.sampled_from("abc"), max_size=6).map(lambda x: ".".join(x) or "."),
)
def test_it_is_what_a_search_through_all_suffixes_finds(
    rules: dict[str, str], name: str
) -> None:
    qname = qname_from_text(name)
    fitting = [x for x in rules if is_under(qname, qname_from_text(x))]
    longest = max(fitting, key=lambda x: len(qname_from_text(x)), default=None)

    expected = "default" if longest is None else rules[longest]

    assert destinations(rules).of(question(name)) == expected


def test_what_has_moved_goes_elsewhere_and_nothing_else() -> None:
    before = destinations(RULES)
    after = destinations({**RULES, "corp.example": "other"})

    is_moved = moved(before, after, "default")
    is_new = moved(None, before, "default")

    assert is_moved(question("a.corp.example"))
    assert not is_moved(question("www.corp.example"))
    assert not is_moved(question("corp.example", 43))
    assert is_new(question("corp.example"))
    assert is_new(question("www.corp.example"))
    assert not is_new(question("www.example"))


def test_names_above_suffixes_are_known_to_exist() -> None:
    above = destinations(RULES).above

    assert qname_from_text("ads.example") in above
    assert qname_from_text("example") in above
    assert qname_from_text("lan") not in above

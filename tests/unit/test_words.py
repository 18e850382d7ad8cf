"""One word, one thing: words that once meant several, and what to say instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "dnsfront").rglob("*.py"))

#: What is looked for, and what it is called.
INSTEAD = {
    r"\b_log\b|\b_logger\b": "_LOG",
    r"\bwithin_s\b": "timeout_s",
    r"\buntil_ns\b": "deadline_ns",
    r"\bsettle": "catch up, or a plain verb",
    r"\b_?is_ours\b": "is_to_answer, has_zone_for, or whose it is",
    r"\bdef take_back\b": "end",
    r"\bis_placed\b": "is_to_answer",
    r"\bclass \w*Resolver\b": "Pool; a resolver is another program",
    r"\bclass Place\b": "Endpoint",
    r"\bSocketPair\b|\bListenerSockets\b": "Listener: one address, one transport",
    r"\bmove_caches\b|\bsend_caches\b": "transfer",
    r"\bsee there\b|\bof its own day\b|\bsign of the others\b": "the subject itself",
}


#: A class, or another name for a type, which is no constant.
_TYPE = re.compile(r"^class ([A-Za-z]\w+)|^([A-Z]+[a-z]\w*) = ", re.MULTILINE)


@pytest.mark.parametrize("pattern", INSTEAD)
def test_words_that_mean_another_thing_are_not_used(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: say {INSTEAD[pattern]}"
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]

    assert not found


def test_a_class_name_is_used_once() -> None:
    # But for sections of the config, which are called what their key is.
    classes: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.parent.name == "sections":
            continue
        for found in _TYPE.findall(path.read_text("utf-8")):
            classes.setdefault("".join(found), []).append(
                path.relative_to(ROOT).as_posix()
            )

    twice = {name: paths for name, paths in classes.items() if len(paths) > 1}

    assert not twice

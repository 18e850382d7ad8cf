"""Lines of the log: logfmt, whatever they tell of."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront import logs

PAIR = re.compile(r'(?P<key>[^\s=]+)(?:=(?P<value>"(?:[^"\\]|\\.)*"|[^\s"]*))?(?: |$)')


def parsed(line: str) -> dict[str, str | None]:
    """Return the fields of a line of logfmt, which must hold nothing else."""
    fields: dict[str, str | None] = {}
    at = 0
    while at < len(line):
        match = PAIR.match(line, at)
        assert match, line[at:]
        value = match["value"]
        is_quoted = value is not None and value.startswith('"')
        fields[match["key"]] = json.loads(value) if is_quoted else value
        at = match.end()
    return fields


def line_of(
    template: str, *args: object, name: str = "dnsfront.x", level: int = 20
) -> str:
    record = logging.LogRecord(name, level, "x.py", 1, template, args, None)
    return logs.Logfmt("supervisor", is_journal=True).format(record)


@given(value=st.text(), other=st.text())
def test_values_parse_back_whatever_they_hold(value: str, other: str) -> None:
    line = line_of('event_named reason="%s" number=%d key=%s', value, 7, other)

    assert "\n" not in line
    assert parsed(line) == {
        "<6>INFO": None,
        "supervisor": None,
        "event_named": None,
        "reason": value,
        "number": "7",
        "key": other,
    }


@given(message=st.text())
def test_messages_of_others_parse_back(message: str) -> None:
    line = line_of("%s", message, name="asyncio")

    assert parsed(line)["message"] == message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("10.0.0.1:53,[::1]:53", "10.0.0.1:53,[::1]:53"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a "quoted" word', r'"a \"quoted\" word"'),
        ("a=b", '"a=b"'),
        ("two\nlines", r'"two\nlines"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("Säntis", "Säntis"),
        (None, "None"),
        (1.5, "1.5"),
    ],
)
def test_values_are_quoted_where_they_must_be(value: object, text: str) -> None:
    assert logs.value_text(value) == text


def test_numbers_and_whole_fields_stay_as_they_are() -> None:
    line = line_of("exited id=%d %s late_s=%.1f 100%%", 3, "signal=9", 0.25)

    assert line == "<6>INFO supervisor exited id=3 signal=9 late_s=0.2 100%"


def test_traceback_is_one_value() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord(
            "dnsfront.x", 40, "x.py", 1, "task_failed", (), sys.exc_info()
        )
    line = logs.Logfmt("w1", is_journal=True).format(record)

    fields = parsed(line)
    assert "task_failed" in fields
    assert str(fields["traceback"]).startswith("Traceback (most recent call last):\n")
    assert str(fields["traceback"]).endswith("ValueError: two\nlines")


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    root = logging.getLogger()
    before, level = [*root.handlers], root.level
    yield lambda: capsys.readouterr().err
    root.handlers, root.level = before, level


@pytest.mark.parametrize(
    ("level", "prefix"), [(50, 2), (40, 3), (30, 4), (20, 6), (10, 7)]
)
def test_journal_gets_the_priority_and_no_time(
    stderr: Callable[[], str], monkeypatch: pytest.MonkeyPatch, level: int, prefix: int
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:4711")
    logs.set_up("info", "supervisor")
    logs.set_level("debug")

    logging.getLogger("dnsfront.x").log(level, "event_named key=%s", "a b")

    name = logging.getLevelName(level)
    assert stderr() == f'<{prefix}>{name} supervisor event_named key="a b"\n'


def test_everybody_else_gets_the_time(
    stderr: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.set_up("info", "w1")

    logging.getLogger("dnsfront.x").info("event_named")
    logging.getLogger("dnsfront.x").debug("not_logged")

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO w1 event_named\n", stderr()
    )


def test_what_was_logged_before_the_log_is_set_up_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    # pytest's own would be closed.
    monkeypatch.setattr(root, "handlers", [])
    level, logger = root.level, logging.getLogger("dnsfront.early")

    with logs.held():
        logger.info("zone_compiled origin=%s", "a.test")
        assert not capsys.readouterr().err
        logs.set_up("info", "supervisor")
    told = capsys.readouterr().err
    monkeypatch.setattr(root, "handlers", [])
    with logs.held():
        logger.info("zone_compiled origin=%s", "b.test")
        logger.warning("odd")
        logs.set_up("warning", "supervisor")

    assert told.endswith("INFO supervisor zone_compiled origin=a.test\n")
    told = capsys.readouterr().err
    assert "odd" in told
    assert "zone_compiled" not in told
    root.setLevel(level)


def test_the_log_is_as_before_where_nobody_sets_it_up() -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)

    with logs.held():
        pass

    assert (root.level, root.handlers) == before

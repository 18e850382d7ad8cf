"""What the tests on a real kernel share, and the gate against skipping them all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dnsfront.errors import PrivilegeError
from dnsfront.kernel.maps import PASS_PROGRAM, load_program
from dnsfront.kernel.steering import Steering
from tests.kern.lab import HASH_KEY, SLOTS, Lab
from tests.namespaces import private_network

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
_outcomes: set[str] = set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.kern)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # A skip shows in the set-up, everything else in the call, errors in either.
    if "tests/kern/" in report.nodeid and (report.when == "call" or not report.passed):
        _outcomes.add(report.outcome)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _outcomes == {"skipped"}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _outcomes == {"skipped"}:
        terminalreporter.write_line(
            "FAILED: every test of tests/kern was skipped, so the program was not tried"
        )


@pytest.fixture(scope="package", autouse=True)
def _namespace() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("root is missing: kernel tests make namespaces and load programs")
    try:
        os.close(load_program("may_load", PASS_PROGRAM))
    except PrivilegeError as error:
        pytest.skip(f"the right to load programs is missing: {error}")
    with private_network():
        yield


@pytest.fixture(scope="package")
def _steering(_namespace: None) -> Iterator[Steering]:
    steering = Steering(slots=SLOTS, hash_key=HASH_KEY)
    try:
        steering.wait_loaded()
        yield steering
    finally:
        steering.close()


@pytest.fixture
def lab(_steering: Steering) -> Iterator[Lab]:
    made = Lab(_steering)
    yield made
    made.close()

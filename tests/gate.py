"""A pytest plugin for `make`: a run in which a kind of test never ran is a failure.

Kernel and system tests skip themselves where something is missing, and say what. That
is right for one test and wrong for all: nothing would have been tested. Every directory
named on the command line must therefore have at least one test that was not skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest


class Gate:
    """Counts per directory the tests that ran."""

    def __init__(self, directories: list[str]) -> None:
        self._ran = dict.fromkeys(directories, 0)

    def idle(self) -> list[str]:
        """Return the directories of which no test ran."""
        return [directory for directory, ran in self._ran.items() if not ran]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or report.skipped:
            return
        for directory in self._ran:
            if report.nodeid.startswith(f"{directory}/"):
                self._ran[directory] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_TRIED_AGAIN] = _tried_again()
        elif self.idle() and session.exitstatus in _WITHOUT_FAILURE:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Keep what one of several processes has to tell at the end."""
        _tried_again().extend(getattr(node, "workeroutput", {}).get(_TRIED_AGAIN, ()))

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        for failure in _tried_again():
            terminalreporter.write_line(f"BUSY tried again: {failure}", yellow=True)
        for directory in self.idle():
            terminalreporter.write_line(
                f"GATE {directory}: no test ran; what is missing stands above", red=True
            )


def _tried_again() -> list[str]:
    from tests.waiting import tried_again  # noqa: PLC0415 - or no assert is explained

    return tried_again


#: Under which name a process of several hands over the tests that it tried again.
_TRIED_AGAIN: Final = "dnsfront_tried_again"
_WITHOUT_FAILURE: Final = {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def pytest_configure(config: pytest.Config) -> None:
    directories = [
        argument.rstrip("/") for argument in config.args if Path(argument).is_dir()
    ]
    config.pluginmanager.register(Gate(directories))

"""A process that gets little CPU, whatever there is: a control group of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path("/sys/fs/cgroup")
_PERIOD_US: Final = 20_000


@contextlib.contextmanager
def throttled(pid: int, percent: float) -> Iterator[None]:
    """Let *pid* have at most *percent* of one CPU while the body runs."""
    quota_us = round(_PERIOD_US * percent / 100)
    name = f"dnsfront-test-{os.getpid()}"
    if (_ROOT / "cpu" / "cpu.cfs_quota_us").parent.is_dir():  # version 1
        parent = _ROOT / "cpu"
        settings = {"cpu.cfs_period_us": _PERIOD_US, "cpu.cfs_quota_us": quota_us}
    else:
        parent = _ROOT
        settings = {"cpu.max": f"{quota_us} {_PERIOD_US}"}
    group = parent / name
    try:
        group.mkdir()
    except OSError as exc:
        pytest.skip(f"no control group can be made in {parent}: {exc.strerror}")
    try:
        if not all((group / file).exists() for file in settings):
            pytest.skip(f"control groups in {parent} have no limit of CPU time")
        for file, value in settings.items():
            (group / file).write_text(str(value))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            (parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()

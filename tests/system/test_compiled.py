"""The compiled query path passes the unit tests that the pure one passes."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.system.processes import ROOT


def test_query_path_passes_its_unit_tests_compiled() -> None:
    # It waits for `make test`, which builds it beside the tests.
    built = subprocess.run([ROOT / "deploy/compile.sh", "--check"], check=False)
    if built.returncode and "DNSFRONT_COMPILED" not in os.environ:
        pytest.skip("the compiled form is missing: make compiled builds it")
    assert not built.returncode, "the compiled form could not be built; see above"

    tested = subprocess.run(
        ["nice", ROOT / "tests/compiled.sh", "-q", "-n", "2", "--dist", "worksteal"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert not tested.returncode, tested.stdout

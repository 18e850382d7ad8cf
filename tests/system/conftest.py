"""Every module of these tests has a network of its own, which goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfront.errors import PrivilegeError
from dnsfront.kernel.maps import PASS_PROGRAM, load_program
from tests.namespaces import private_network

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("root is missing: system tests make namespaces and load programs")
    try:
        os.close(load_program("may_load", PASS_PROGRAM))
    except PrivilegeError as error:
        pytest.skip(f"the right to load programs is missing: {error}")
    with private_network():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for the module's own front end."""
    return tmp_path_factory.mktemp("front")

"""Every module of these tests has a network of its own, which goes with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.namespaces import private_network, skip_without_rights

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    skip_without_rights()
    with private_network():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for the module's own front end."""
    return tmp_path_factory.mktemp("front")

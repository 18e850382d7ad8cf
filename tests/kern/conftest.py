"""What the tests on a real kernel share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dnsfront.kernel.steering import BpfSteering
from tests.kern.answering import AnswerLab
from tests.kern.lab import HASH_KEY, SLOTS, Lab
from tests.namespaces import private_network, skip_without_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.kern)


@pytest.fixture(scope="package", autouse=True)
def _namespace() -> Iterator[None]:
    skip_without_rights()
    with private_network():
        yield


@pytest.fixture(scope="package")
def _steering(_namespace: None) -> Iterator[BpfSteering]:
    steering = BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
    try:
        steering.wait_loaded()
        yield steering
    finally:
        steering.close()


@pytest.fixture
def lab(_steering: BpfSteering) -> Iterator[Lab]:
    made = Lab(_steering)
    yield made
    made.close()


@pytest.fixture(scope="package")
def _answering(_steering: BpfSteering) -> Iterator[AnswerLab]:
    made = AnswerLab(_steering)
    yield made
    made.close()


@pytest.fixture
def answering(_answering: AnswerLab, lab: Lab) -> AnswerLab:
    """The program that answers, worker 1 with an empty book, and all clients served."""
    del lab  # which takes worker 1 out when the test ends
    _answering.reset()
    return _answering

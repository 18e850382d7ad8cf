"""What holds for every kind of test."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

# Timings never decide a test: the machine may be busy with something else.
settings.register_profile("dnsfront", deadline=None)
settings.load_profile("dnsfront")

# What is asserted in these shows its values too, as in a test.
pytest.register_assert_rewrite(
    "tests.waiting", "tests.system.clients", "tests.system.front"
)


def pytest_collection_finish() -> None:
    """Take what lives as long as the tests out of each collection of garbage.

    The supervisor collects all garbage when it gives memory back.
    """
    gc.collect()
    gc.freeze()

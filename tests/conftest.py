"""What holds for every kind of test."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Timings never decide a test: the machine may be busy with something else.
settings.register_profile("dnsfront", deadline=None)
settings.load_profile("dnsfront")

# What is asserted in these shows its values too, as in a test.
pytest.register_assert_rewrite(
    "tests.waiting", "tests.system.clients", "tests.system.front"
)

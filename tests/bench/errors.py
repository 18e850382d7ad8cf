"""What can keep a measurement from being made; the text is one sentence."""

from __future__ import annotations


class BenchError(Exception):
    """Something that is needed for a measurement is not there or did not work."""

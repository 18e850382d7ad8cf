"""The page `load`: how many datagrams each worker was given, took and lost."""

from __future__ import annotations

from typing import Final

from dnsfront.kernel.layouts import layout

_LOAD: Final = layout("load")
#: Octets of one worker's element, and its words.
LOAD_OCTETS: Final = _LOAD.size_octets
LOAD_WORDS: Final = LOAD_OCTETS // 8
#: Words inside an element.
STEERED_AT: Final = _LOAD.word_at("steered")
TAKEN_AT: Final = _LOAD.word_at("taken")
DROPPED_AT: Final = _LOAD.word_at("dropped")


def backlog(load: memoryview, worker_id: int) -> int:
    """Return how many datagrams wait for *worker_id*, as the program reckons it."""
    at = worker_id * LOAD_WORDS
    return max(0, load[at + STEERED_AT] - load[at + TAKEN_AT] - load[at + DROPPED_AT])

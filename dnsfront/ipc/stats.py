"""The counters of one worker, in memory that it shares with the supervisor.

A worker is the only writer of its page and adds to what is there, so that a respawned
worker goes on where its predecessor stopped and no counter ever falls. The supervisor
only reads. Every value is one aligned 64-bit word, so no reader sees half of one.

The page is an array of words: single counters, then one histogram per response source,
then one block per upstream.
"""

from __future__ import annotations

import mmap
from enum import IntEnum
from typing import Final

from dnsfront.ipc import memory

#: Upper bounds of the latency buckets in seconds; one more bucket takes the rest.
BUCKET_BOUNDS_S: Final = (
    50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.5,
)  # fmt: skip
BUCKETS: Final = len(BUCKET_BOUNDS_S) + 1

#: Places for upstreams: several times what one config may have, so that those that
#: come and those that go have one each, and a gone one's is not soon used again.
MAX_UPSTREAMS: Final = 256
#: Response codes 0 to 16 (BADVERS); what is higher counts as the last, OTHER.
RCODES: Final = 18


class Counter(IntEnum):
    """Word index of each single counter."""

    QUERIES_UDP = 0
    QUERIES_TCP = 1
    #: Datagrams that get no response, as the protocol wants it.
    IGNORED_SHORT = 2
    IGNORED_RESPONSE = 3
    REFUSED = 4
    CACHE_REQUESTS = 5
    CACHE_HITS = 6
    CACHE_STALE = 7
    CACHE_ENTRIES = 8  # a gauge
    CACHE_EVICTIONS = 9
    CACHE_PREFETCHES = 10
    COALESCED = 11
    HANDOVER_TCP = 12
    HANDOVER_MISPLACED = 13
    HANDOVER_USERSPACE = 14
    HANDOVER_FAILED = 15
    TCP_CONNECTIONS = 16
    TCP_REFUSED = 17
    SEND_ERRORS = 18
    EXCEPTIONS = 19
    PENDING = 20  # a gauge
    CACHE_ADOPTED = 21
    TCP_OPEN = 22  # a gauge
    #: How many entries the last move is about, and how many of them are on their way.
    MOVE_ENTRIES = 23  # a gauge
    MOVE_SENT = 24  # a gauge
    #: What another worker passed here and no sense could be made of.
    HANDOVER_REFUSED = 25
    CACHE_OCTETS = 26  # a gauge
    #: Queries of clients that are not allowed, where those get no response.
    IGNORED_DENIED = 27
    RCODE_0 = 32


class Limit(IntEnum):
    """Word index of each bound that strangers may meet: how often it took effect.

    The lower-case name is the `limit` label of `dnsfront_limit_reached_total`.
    """

    CACHE_SIZE = 64
    CACHE_ENTRY_SIZE = 65
    TCP_CONNECTIONS = 66
    TCP_CONNECTIONS_PER_CLIENT = 67
    TCP_QUERIES_PER_CONNECTION = 68
    TCP_IDLE = 69
    TCP_MEMORY = 70
    PENDING = 71
    PENDING_PER_ZONE = 72
    WAITERS_PER_FETCH = 73
    DESCRIPTORS = 74
    PENDING_PER_CLIENT = 75
    WAITERS = 76
    FAILURES = 77
    ALIASES = 78
    RECORDS = 79


class Source(IntEnum):
    """Where a response came from; the `source` label of the latency histogram."""

    HIT = 0
    MISS = 1
    STALE = 2
    ZONE = 3


class Upstream(IntEnum):
    """Word offset inside an upstream's block; the histogram follows at DURATION."""

    REQUESTS = 0
    FAILURES = 1
    #: Ports given up, by reason.
    PORTS_ERROR = 2
    PORTS_SILENT = 3
    PORTS_AGE = 4
    PORTS_WORN = 5
    #: Queries sent again to a server that was asked already.
    RETRANSMISSIONS = 6
    TCP_CONNECTIONS = 7
    #: Responses that were of no use, and count among the failures too.
    REFUSALS = 8
    DURATION = 9


class Health(IntEnum):
    """What a word of the health page says of an upstream."""

    #: Others are asked first.
    DOWN = 0
    UP = 1
    #: It is asked a query now and then, to see what it does.
    TRIAL = 2


_HISTOGRAM_WORDS: Final = BUCKETS + 1  # the buckets, then the sum in nanoseconds
_HISTOGRAMS_AT: Final = 128
_UPSTREAMS_AT: Final = _HISTOGRAMS_AT + len(Source) * _HISTOGRAM_WORDS
#: Words of an upstream's block.
UPSTREAM_WORDS: Final = Upstream.DURATION + _HISTOGRAM_WORDS
_WORDS: Final = _UPSTREAMS_AT + MAX_UPSTREAMS * UPSTREAM_WORDS
STATS_OCTETS: Final = _WORDS * 8


def histogram_at(source: Source) -> int:
    """Return where the first bucket of *source* is; the sum stands after the last."""
    return _HISTOGRAMS_AT + source * _HISTOGRAM_WORDS


def upstream_at(index: int) -> int:
    """Return the index of the first word of the block of upstream *index*."""
    return _UPSTREAMS_AT + index * UPSTREAM_WORDS


def create() -> int:
    """Return a memfd with a page of zeroes; the caller owns it."""
    return memory.shared_page("dnsfront-stats", STATS_OCTETS)


def words(fd: int) -> memoryview:
    """Return the page behind *fd* as a writable view of 64-bit words.

    The mapping lives as long as the view; *fd* may be closed.
    """
    return memoryview(mmap.mmap(fd, STATS_OCTETS)).cast("Q")

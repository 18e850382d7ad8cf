"""What a worker counts, each declared once, in memory shared with the supervisor.

A worker is the only writer of its page and adds to what is there, so that a respawned
worker goes on where its predecessor stopped and no counter ever falls. The supervisor
only reads. Every value is one aligned 64-bit word, so no reader sees half of one.

The page is an array of words: those of `Counter`, `Limit`, `Rcode`, `Source` and
`Ruled`, then a block of the words of `Upstream` for each upstream. A line in one of
these classes declares a metric, or one value of a metric's last label. Where it stands
in the page, how it is shown, and whether a worker's death sets it to 0, all follow from
that line.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Final, Self

from dnsfront.ipc import memory
from dnsfront.ipc.spec import MAX_RULES
from dnsfront.ipc.transports import TRANSPORTS

#: Upper bounds of the latency buckets in seconds; one more bucket takes the rest.
BUCKET_BOUNDS_S: Final = (
    50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.5,
)  # fmt: skip
BUCKETS: Final = len(BUCKET_BOUNDS_S) + 1

#: How many upstreams have a block, one for each pool that they are in: several times
#: what one config may have, so that those that come and those that go have one each,
#: and the block of an upstream that is gone is not soon used again.
MAX_UPSTREAMS: Final = 1024
#: Response codes 0 to 16, by their mnemonics of RFC 6895, 2.3; any higher code counts
#: as the last of them.
RCODE_NAMES: Final = (
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN",
    "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI", "RCODE12", "RCODE13",
    "RCODE14", "RCODE15", "BADVERS", "OTHER",
)  # fmt: skip
RCODES: Final = len(RCODE_NAMES)
#: What TLS handshakes with upstreams come to: a new session, one of before that is
#: resumed, or why there is none.
TLS_RESULTS: Final = (
    "full", "resumed", "expired", "name", "authority", "pin", "certificate",
    "handshake",
)  # fmt: skip


class Kind(Enum):
    """How the words of a metric behave."""

    #: It never falls.
    COUNTER = auto()
    #: It tells the state of a process, and is 0 when that is gone.
    GAUGE = auto()
    #: One counter per bucket, then the sum of what was observed, in nanoseconds.
    HISTOGRAM = auto()


@dataclass(frozen=True)
class Metric:
    """What Prometheus is told of some words.

    *name* is without `dnsfront_` and `_total`. Without the label `worker`, the words of
    all workers are summed up.
    """

    name: str
    text: str
    labels: tuple[str, ...] = ("worker",)
    kind: Kind = Kind.COUNTER
    #: Where one line declares several words in a row: the last label of each of them.
    #: Only the first of them is shown while it is 0.
    values: tuple[str, ...] = ()

    @property
    def is_shown(self) -> bool:
        """Whether Prometheus reads it; else only commands or health checks do."""
        return bool(self.name)

    @property
    def words(self) -> int:
        """How many words one line of it takes."""
        return BUCKETS + 1 if self.kind is Kind.HISTOGRAM else len(self.values) or 1


class Word(IntEnum):
    """The index of a word, counted up line by line."""

    metric: Metric
    label: str

    def __new__(cls, metric: Metric, label: str = "") -> Self:
        """Take the next index; *label* is the value of the metric's last label."""
        before = cls.__members__.values()
        index = cls.begin() + sum(word.metric.words for word in before)
        word = int.__new__(cls, index)
        word._value_ = index
        word.metric, word.label = metric, label
        return word

    @classmethod
    def begin(cls) -> int:
        """Return the index of the first line."""
        return 0

    @classmethod
    def end(cls) -> int:
        """Return the index behind the last line."""
        last = max(cls)
        return last + last.metric.words


def _counter(name: str, text: str) -> Metric:
    return Metric(name, text)


def _gauge(name: str, text: str) -> Metric:
    return Metric(name, text, kind=Kind.GAUGE)


def _hidden(kind: Kind) -> Metric:
    return Metric("", "", kind=kind)


_QUERIES: Final = Metric("queries", "Queries received.", ("worker", "transport"))
_IGNORED: Final = Metric(
    "ignored_datagrams", "Messages that get no response.", ("worker", "reason")
)
_HANDOVER: Final = Metric(
    "handover",
    "Queries passed to their owner in user space, or failed to be.",
    ("reason",),
)
_WORDS: Final = Metric(
    "forward_words",
    "Queries answered by a word that forward has in place of a pool.",
    ("worker", "word"),
)
_LIMIT: Final = Metric(
    "limit_reached",
    "How often a bound on what strangers may cost took effect.",
    ("limit",),
)
_DURATION: Final = Metric(
    "response_duration_seconds",
    "Time from a query's arrival in the worker to its response.",
    ("worker", "source"),
    Kind.HISTOGRAM,
)
_UPSTREAM: Final = ("upstream",)
_PORTS: Final = Metric(
    "upstream_ports_replaced",
    "Source ports given up, by reason: error, a send failed; silent, nothing "
    "came to it any more; age; worn, by the queries sent.",
    ("upstream", "reason"),
)


class Counter(Word):
    """The counters and gauges that stand for themselves."""

    CACHE_REQUESTS = _counter("cache_requests", "Cache look-ups.")
    CACHE_HITS = _counter("cache_hits", "Cache look-ups that found a response.")
    CACHE_STALE = _counter("cache_stale", "Responses given after they expired.")
    CACHE_EVICTIONS = _counter("cache_evictions", "Entries dropped to make room.")
    CACHE_PREFETCHES = _counter("cache_prefetches", "Entries fetched anew early.")
    CACHE_ADOPTED = _counter("cache_adopted", "Entries taken from the owner before.")
    COALESCED = _counter("coalesced_queries", "Queries that joined a pending one.")
    REFUSED = _counter("refused_queries", "Queries from clients not allowed.")
    TCP_CONNECTIONS = _counter("tcp_connections", "TCP connections accepted.")
    TCP_REFUSED = _counter("tcp_refused_connections", "TCP connections over a limit.")
    SEND_ERRORS = _counter("send_errors", "Responses that the kernel did not take.")
    EXCEPTIONS = _counter("exceptions", "Faults of ours that were survived.")
    CACHE_ENTRIES = _gauge("cache_entries", "Responses in the cache.")
    CACHE_OCTETS = _gauge("cache_size_bytes", "Memory of these responses.")
    PENDING = _gauge("pending_queries", "Queries sent to upstreams and not matched.")
    TCP_OPEN = _hidden(Kind.GAUGE)
    #: What of the cache the kernel answers.
    KERNEL_ENTRIES = _hidden(Kind.GAUGE)
    KERNEL_OCTETS = _hidden(Kind.GAUGE)
    #: How many entries the last transfer is about, and how many of them were sent.
    TRANSFER_ENTRIES = _hidden(Kind.GAUGE)
    TRANSFER_SENT = _hidden(Kind.GAUGE)
    #: Entries that came and could be read, whether they were of use here or not.
    TRANSFER_UNDERSTOOD = _hidden(Kind.COUNTER)
    QUERIES_UDP = _QUERIES, "udp"
    QUERIES_TCP = _QUERIES, "tcp"
    #: Datagrams that get no response, as the protocol wants it.
    IGNORED_SHORT = _IGNORED, "short"
    IGNORED_RESPONSE = _IGNORED, "response"
    #: Queries of clients that are not allowed, where those get no response.
    IGNORED_DENIED = _IGNORED, "denied"
    #: Queries that a rule drops.
    IGNORED_RULED = _IGNORED, "rule"
    HANDOVER_TCP = _HANDOVER, "tcp"
    HANDOVER_MISPLACED = _HANDOVER, "misplaced"
    HANDOVER_USERSPACE = _HANDOVER, "userspace"
    HANDOVER_FAILED = _HANDOVER, "failed"
    #: What another worker passed here and no sense could be made of.
    HANDOVER_REFUSED = _HANDOVER, "refused"
    #: Responses for another worker that was gone, or had no room.
    HANDOVER_LOST = _HANDOVER, "lost"
    WORD_REFUSE = _WORDS, "refuse"
    WORD_NXDOMAIN = _WORDS, "nxdomain"
    WORD_LOCAL = _WORDS, "local"


#: What counts the queries of each transport.
QUERIES: Final = {word.label: word for word in Counter if word.metric is _QUERIES}
#: The same for those over which queries come in datagrams.
DATAGRAM_QUERIES: Final = tuple(
    QUERIES[name] for name, transport in TRANSPORTS.items() if transport.is_datagram
)


class Limit(Word):
    """Each bound that strangers may meet: how often it took effect."""

    @classmethod
    def begin(cls) -> int:
        """Return the index of the first line."""
        return Counter.end()

    CACHE_SIZE = _LIMIT, "cache_size"
    CACHE_ENTRY_SIZE = _LIMIT, "cache_entry_size"
    TCP_CONNECTIONS = _LIMIT, "tcp_connections"
    TCP_CONNECTIONS_PER_CLIENT = _LIMIT, "tcp_connections_per_client"
    TCP_QUERIES_PER_CONNECTION = _LIMIT, "tcp_queries_per_connection"
    TCP_IDLE = _LIMIT, "tcp_idle"
    TCP_MEMORY = _LIMIT, "tcp_memory"
    PENDING = _LIMIT, "pending"
    PENDING_PER_ZONE = _LIMIT, "pending_per_zone"
    WAITERS_PER_FETCH = _LIMIT, "waiters_per_fetch"
    DESCRIPTORS = _LIMIT, "descriptors"
    PENDING_PER_CLIENT = _LIMIT, "pending_per_client"
    WAITERS = _LIMIT, "waiters"
    FAILURES = _LIMIT, "failures"
    ALIASES = _LIMIT, "aliases"
    RECORDS = _LIMIT, "records"


class Rcode(Word):
    """Responses by their code: one line stands for all codes."""

    @classmethod
    def begin(cls) -> int:
        """Return the index of the first line."""
        return Limit.end()

    FIRST = Metric(
        "responses",
        "Responses sent, by response code.",
        ("worker", "rcode"),
        values=RCODE_NAMES,
    )


class Source(Word):
    """Where a response came from: a histogram of how long that took."""

    @classmethod
    def begin(cls) -> int:
        """Return the index of the first line."""
        return Rcode.end()

    HIT = _DURATION, "hit"
    MISS = _DURATION, "miss"
    STALE = _DURATION, "stale"
    ZONE = _DURATION, "zone"


class Ruled(Word):
    """Queries that rules decided: one line stands for all of them."""

    @classmethod
    def begin(cls) -> int:
        """Return the index of the first line."""
        return Source.end()

    FIRST = Metric(
        "rule_hits",
        "Queries that a rule decided, by the place of the rule in the config.",
        ("rule",),
        values=tuple(str(number) for number in range(1, MAX_RULES + 1)),
    )


class Upstream(Word):
    """Words of an upstream's block, counted from its first."""

    REQUESTS = Metric("upstream_requests", "Queries sent.", _UPSTREAM)
    FAILURES = Metric(
        "upstream_failures", "Queries without a usable response.", _UPSTREAM
    )
    #: Responses that were of no use, and count among the failures too.
    REFUSALS = _hidden(Kind.COUNTER)
    RETRANSMISSIONS = Metric(
        "upstream_retransmissions",
        "Queries sent again to the same server before its time-out.",
        _UPSTREAM,
    )
    TCP_CONNECTIONS = Metric(
        "upstream_tcp_connections",
        "TCP connections opened.",
        _UPSTREAM,
    )
    TCP_RETRIES = Metric(
        "upstream_tcp_retries",
        "Queries sent over TCP as well, for nothing came over UDP.",
        _UPSTREAM,
    )
    FORGED = Metric(
        "upstream_forged",
        "Questions asked over TCP, for responses with wrong ids came to them.",
        _UPSTREAM,
    )
    TLS_HANDSHAKES = Metric(
        "upstream_tls_handshakes",
        "TLS handshakes: full; resumed; or failed, for a certificate that is expired, "
        "has another name, an authority that is not trusted, a key that is not the "
        "pin, or is wrong otherwise; handshake, they do not get that far.",
        ("upstream", "result"),
        values=TLS_RESULTS,
    )
    HEDGES = Metric(
        "upstream_hedges",
        "Questions that another server was asked besides, since this one was late.",
        _UPSTREAM,
    )
    PORTS_ERROR = _PORTS, "error"
    PORTS_SILENT = _PORTS, "silent"
    PORTS_AGE = _PORTS, "age"
    PORTS_WORN = _PORTS, "worn"
    DURATION = Metric(
        "upstream_duration_seconds",
        "Time from a query to the upstream's response.",
        _UPSTREAM,
        Kind.HISTOGRAM,
    )


#: A word of the health page: the lowest octet is a `Health`, the next one how many of
#: so many of its names others are asked for, while one that was down comes back.
HEALTH_MASK: Final = 0xFF
HELD_SHIFT: Final = 8
HELD_OF: Final = 16


class Health(IntEnum):
    """What a word of the health page says of an upstream."""

    #: Others are asked first.
    DOWN = 0
    UP = 1
    #: It is asked a query now and then, to see what it does.
    TRIAL = 2


#: The single words of a page, in the order in which Prometheus reads them.
PAGE_WORDS: Final[tuple[Word, ...]] = (*Counter, *Limit, *Rcode, *Source, *Ruled)
#: Words of an upstream's block.
UPSTREAM_WORDS: Final = Upstream.end()
#: What tells the state of a process.
GAUGES: Final = tuple(word for word in PAGE_WORDS if word.metric.kind is Kind.GAUGE)
STATS_OCTETS: Final = 8 * (Ruled.end() + MAX_UPSTREAMS * UPSTREAM_WORDS)
_UPSTREAMS_AT: Final = Ruled.end()


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

"""The sections of the config, each a frozen model.

Field descriptions are the help text of the JSON Schema. What no single key can be wrong
about is told by the `mistakes` of its section, in the user's spelling of the keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, NamedTuple, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from dnsfront.config.control import DEFAULT_CONTROL_SOCKET
from dnsfront.config.document import KeyPath
from dnsfront.config.units import duration_ms_to_text, size_octets_to_text
from dnsfront.config.values import (
    Address,
    Interface,
    Interval,
    Name,
    Network,
    Origin,
    Size,
    SocketPath,
    Timeout,
    Ttl,
    WorkerName,
    ZoneFile,
)
from dnsfront.errors import RingError
from dnsfront.ring.placement import MAX_PLACES, Worker, exact_slots
from dnsfront.ring.table import MAX_SLOTS, MAX_WORKERS, SlotTable, build

_MAX_UPSTREAM_SERVERS: Final = 64
#: Half of what the shortest patience of common stub resolvers is.
MOST_PATIENT_S: Final = 1.0
#: The default, which stands in every copy of this program.
PUBLIC_SEED: Final = "dnsfront"


class Fault(NamedTuple):
    """A mistake between keys that are valid one by one, reported at *path*.

    It says nothing when one of *depends_on* is itself mistaken.
    """

    path: KeyPath
    text: str
    depends_on: tuple[KeyPath, ...] = ()


def repeated(values: Sequence[Hashable]) -> list[int]:
    """Return the index of each value that was there before."""
    first = {value: index for index, value in reversed([*enumerate(values)])}
    return [index for index, value in enumerate(values) if first[value] != index]


def as_written(value: Any) -> Any:  # noqa: ANN401 - so that any field takes it
    """Return a default in the user's spelling, which validation makes the field's."""
    return value


class Section(BaseModel):
    """A mapping in the YAML file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:  # noqa: ANN401 - whatever YAML held
        """Take a section or a list with nothing in it, not even brackets, as absent.

        That is what is left when all below a key is commented out.
        """
        if not isinstance(data, dict):
            return data
        empty = {key for key, value in data.items() if value is None}
        return {x: data[x] for x in data if x not in empty & cls.may_be_empty()}

    @classmethod
    def may_be_empty(cls) -> set[str]:
        """Return the keys of sections, and of lists that have no other spelling."""
        return {
            field.alias or name
            for name, field in cls.model_fields.items()
            if _is_section(field.annotation)
            or (get_origin(field.annotation) is tuple and not field.metadata)
        }

    def mistakes(self) -> Iterator[Fault]:
        """Yield what is wrong with the keys of this section taken together."""
        yield from ()

    def warnings(self) -> Iterator[Fault]:
        """Yield what is allowed in this section and hardly ever meant."""
        yield from ()


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


class _CountOrList:
    """Lets `workers: 4` stand for the list of w1 to w4."""

    @staticmethod
    def expand(value: Any) -> Any:  # noqa: ANN401 - whatever YAML held
        """Return the list that *value* stands for, if it is a count."""
        if isinstance(value, list) and value:
            return value
        if type(value) is not int or not 1 <= value <= MAX_WORKERS:
            raise ValueError(f"want 1 to {MAX_WORKERS}, or a list of workers")
        return [{"name": f"w{number}"} for number in range(1, value + 1)]

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        count = {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}
        return {"anyOf": [count, {**handler(core_schema), "minItems": 1}]}


class WorkerEntry(Section):
    """One worker of the ring."""

    name: WorkerName = Field(
        description="Name that places it on the ring and that NSID tells; to rename a "
        "worker is to remove it and to add another."
    )
    weight: StrictInt = Field(
        1, ge=1, le=100, description="Its share of the slots, relative to the others."
    )
    standby: StrictBool = Field(
        default=False,
        description="true: owns no slots; stands last in every preference list.",
    )
    place: StrictInt | None = Field(
        None,
        ge=1,
        le=MAX_PLACES,
        description="Its place in the permutations of method exact; by default the "
        "number that its name ends in.",
    )


class Ring(Section):
    """Who owns which names. Hosts with equal rings place every name alike."""

    seed: StrictStr = Field(
        PUBLIC_SEED,
        description="Any text; the hash key is made of it. Who knows it can choose "
        "names that all meet in one worker: choose your own and keep it to yourself.",
    )
    method: Literal["ring", "exact"] = Field(
        "ring",
        description="ring: consistent hashing with vnodes. exact: equal shares to the "
        "slot, for up to 16 places.",
    )
    slots: StrictInt = Field(
        65536,
        ge=256,
        le=MAX_SLOTS,
        description="Entries of the flattened ring; exact rounds this down.",
    )
    vnodes: StrictInt = Field(
        1024,
        ge=1,
        le=16384,
        description="Points on the ring for each worker and unit of weight.",
    )
    places: StrictInt = Field(
        12,
        ge=2,
        le=MAX_PLACES,
        description="Places of method exact: the most workers it will ever hold.",
    )
    bounded_load: StrictFloat = Field(
        1.25,
        le=100,
        description="A worker with more than this times the mean backlog passes "
        "queries on to the next in the preference list; at least 1, or 0 for never.",
        json_schema_extra={"anyOf": [{"const": 0}, {"minimum": 1}]},
    )
    entries: Annotated[
        tuple[WorkerEntry, ...],
        Field(max_length=MAX_WORKERS),
        BeforeValidator(_CountOrList.expand),
        _CountOrList(),
    ] = Field(
        as_written(4),
        alias="workers",
        description="How many (named w1, w2, ...), or a list of them. The default is a "
        "number and not the count of CPUs, so that it means the same ring on any host.",
    )

    @cached_property
    def workers(self) -> tuple[Worker, ...]:
        """The workers, in the order of the config."""
        return tuple(
            Worker(entry.name, entry.weight, entry.standby, entry.place)
            for entry in self.entries
        )

    def table(self) -> SlotTable:
        """Return the slot table; the first call builds it.

        Raises:
            RingError: never, for a config that was loaded.
        """
        return self._table

    @cached_property
    def _table(self) -> SlotTable:
        return build(
            self.workers,
            method=self.method,
            slots=self.slots,
            vnodes=self.vnodes,
            seed=self.seed,
            places=self.places,
        )

    def mistakes(self) -> Iterator[Fault]:
        """Yield twins, a valve always shut, and what no table can be made of."""
        if 0 != self.bounded_load < 1:
            text = f"got {self.bounded_load:g}, want 0 or at least 1"
            yield Fault(("bounded_load",), text)
        twins = repeated([worker.name for worker in self.workers])
        for index in twins:
            text = f'got "{self.workers[index].name}" again, want a name of its own'
            yield Fault(("workers", index, "name"), text)
        if not twins:
            yield from self._table_mistakes()

    def warnings(self) -> Iterator[Fault]:
        """Yield the seed that everybody knows."""
        if self.seed == PUBLIC_SEED:
            text = (
                f'"{PUBLIC_SEED}" is the default, which is public: whoever may ask can '
                "choose names that all meet in one worker; want a text of your own"
            )
            yield Fault(("seed",), text)

    def _table_mistakes(self) -> Iterator[Fault]:
        whole: tuple[KeyPath, ...] = ((),)
        if self.method == "exact":
            try:
                exact_slots(self.slots, self.places)
            except RingError as exc:
                yield Fault(("slots",), str(exc), whole)
                return
        try:
            self.table()
        except RingError as exc:
            yield Fault(("workers",), str(exc), whole)


class UpstreamServer(Section):
    """A resolver that misses go to."""

    socket_address: Address = Field(alias="address", description="Its IP:port.")
    weight: StrictInt = Field(
        1, ge=1, le=100, description="Its share of the names, for policy chash."
    )

    @property
    def address(self) -> str:
        """The IP address, without brackets and port."""
        return self.socket_address.host

    @property
    def port(self) -> int:
        """The port, for UDP and for TCP."""
        return self.socket_address.port

    @property
    def family(self) -> int:
        """``socket.AF_INET`` or ``AF_INET6``."""
        return self.socket_address.family

    @property
    def text(self) -> str:
        """``IP:port`` in its shortest form, the name of the upstream for people."""
        return str(self.socket_address)


class HealthCheck(Section):
    """How upstreams are probed. Queries of clients count as well, and for more."""

    name: Name = Field(
        ".",
        description="The name that probes ask for. Of the root any response will do; "
        "any other name must be answered, by NOERROR or NXDOMAIN.",
    )
    type: Literal["A", "AAAA", "CNAME", "MX", "NS", "SOA", "TXT"] = Field(
        "NS", description="The type that probes ask for."
    )
    interval_s: Interval = Field(
        as_written("1s"),
        alias="interval",
        description="How long after a probe the next one is sent.",
    )
    rise: StrictInt = Field(
        1, ge=1, le=100, description="Probes answered in a row that make it up."
    )
    fall: StrictInt = Field(
        2, ge=1, le=100, description="Probes missed in a row that make it down."
    )


class Upstreams(Section):
    """Where misses are forwarded to."""

    policy: Literal["chash", "ordered", "least_outstanding"] = Field(
        "chash",
        description="chash: each name has one server, by the same ring. ordered: the "
        "first that is up. least_outstanding: the one with the fewest pending queries.",
    )
    servers: tuple[UpstreamServer, ...] = Field(
        (),
        max_length=_MAX_UPSTREAM_SERVERS,
        description="The resolvers; none is right where zones are all there is to say.",
    )
    timeout_s: Timeout = Field(
        as_written("800ms"),
        alias="timeout",
        description="How long to wait for one server before the next is asked; its "
        "query is repeated before that, by the round trip measured.",
    )
    health: HealthCheck = Field(
        as_written({"name": ".", "type": "NS", "interval": "1s", "rise": 1, "fall": 2}),
        description="How they are probed.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield servers that are listed twice."""
        addresses = [server.socket_address for server in self.servers]
        for index in repeated(addresses):
            text = f"got {addresses[index]} again, want it once, with a weight"
            yield Fault(("servers", index, "address"), text)

    def warnings(self) -> Iterator[Fault]:
        """Yield a time-out that outlasts the patience of clients."""
        if self.timeout_s > MOST_PATIENT_S:
            got = duration_ms_to_text(round(self.timeout_s * 1000))
            text = (
                f"{got} is more than {MOST_PATIENT_S:g}s: many clients give up after "
                "2s, before a second server was asked; want at most 1s"
            )
            yield Fault(("timeout",), text)


class Zone(Section):
    """A zone that is answered here, from a file."""

    origin: Origin = Field(description="Its name, like example.test.")
    file: ZoneFile = Field(description="Its records, in the form of RFC 1035, 5.")


class Cache(Section):
    """The cache of each worker, which holds the names that the worker owns."""

    max_entries: StrictInt = Field(
        100_000, ge=1, le=100_000_000, description="Responses kept, per worker."
    )
    max_size_octets: Size = Field(
        as_written("64MiB"),
        alias="max_size",
        description="Memory that they may take, per worker, bookkeeping included; when "
        "it is full, large responses go before small ones that are in use.",
    )
    max_entry_size_octets: Size = Field(
        as_written("16KiB"),
        alias="max_entry_size",
        description="The largest response kept; larger ones are passed on only.",
    )
    min_ttl_s: Ttl = Field(
        as_written("0s"),
        alias="min_ttl",
        description="Shorter TTLs are raised to this.",
    )
    max_ttl_s: Ttl = Field(
        as_written("1d"), alias="max_ttl", description="Longer TTLs are cut to this."
    )
    serve_stale_s: Ttl = Field(
        as_written("1d"),
        alias="serve_stale",
        description="How long an expired response may still be given when no upstream "
        "answers (RFC 8767); 0s for never.",
    )
    prefetch: StrictBool = Field(
        default=True,
        description="Fetch popular names anew shortly before they expire.",
    )
    rotate: StrictBool = Field(
        default=False,
        description="Give the addresses of an answer in another order each time.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield TTL limits that leave no TTL."""
        if self.min_ttl_s > self.max_ttl_s:
            least = duration_ms_to_text(self.min_ttl_s * 1000)
            most = duration_ms_to_text(self.max_ttl_s * 1000)
            text = f"got {least}, want at most max_ttl, which is {most}"
            yield Fault(("min_ttl",), text, (("max_ttl",),))
        if self.max_entry_size_octets > self.max_size_octets:
            entry = size_octets_to_text(self.max_entry_size_octets)
            whole = size_octets_to_text(self.max_size_octets)
            text = f"got {entry}, want at most max_size, which is {whole}"
            yield Fault(("max_entry_size",), text, (("max_size",),))


class Limits(Section):
    """What strangers may cost, per worker."""

    tcp_connections: StrictInt = Field(
        1000, ge=1, le=1_000_000, description="TCP connections of clients at once."
    )
    tcp_connections_per_client: StrictInt = Field(
        100,
        ge=1,
        le=1_000_000,
        description="The same for one client: one IPv4 address, or one IPv6 /64.",
    )
    tcp_queries_per_connection: StrictInt = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="Queries after which a TCP connection is closed; 0 for no end.",
    )
    tcp_idle_s: Timeout = Field(
        as_written("10s"),
        alias="tcp_idle",
        description="How long a TCP connection may do nothing before it is closed.",
    )
    tcp_memory_octets: Size = Field(
        as_written("64MiB"),
        alias="tcp_memory",
        description="Memory for what TCP clients sent, and for what they do not read.",
    )
    pending: StrictInt = Field(
        20_000, ge=1, le=1_000_000, description="Questions asked of upstreams at once."
    )
    pending_per_zone: StrictInt = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="The same for the names of one zone that has not answered.",
    )
    waiters_per_fetch: StrictInt = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Queries that may wait for the answer to one question.",
    )


class KernelCache(Section):
    """Answers from inside the kernel, before any worker wakes."""

    mode: Literal["off", "auto", "xdp", "tc"] = Field(
        "off", description="Only off: the kernel cache is not in this version."
    )
    interfaces: tuple[Interface, ...] = Field(
        (), description="Network interfaces to answer at; none for all."
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield modes to come."""
        if self.mode != "off":
            text = (
                f'got "{self.mode}", want off: the kernel cache is not in this version'
            )
            yield Fault(("mode",), text)


class Access(Section):
    """Who may ask."""

    allow: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Client networks that are served.",
        json_schema_extra={"minItems": 1},
    )
    deny: Literal["refuse", "drop"] = Field(
        "refuse",
        description="What all others get over UDP: REFUSED, or no response at all.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield a list that lets nobody in."""
        if not self.allow:
            text = "got an empty list, want a network (all clients would be refused)"
            yield Fault(("allow",), text)


class Admin(Section):
    """Where operators and their programs reach the running server."""

    listen: Address = Field(
        as_written("127.0.0.1:9353"),
        description="IP:port of /metrics, /healthz, /readyz and /ring.json over HTTP.",
    )
    allow: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Networks that may read them; all others get 403. Whoever scrapes "
        "from another host has to be in it.",
        json_schema_extra={"minItems": 1},
    )
    socket: SocketPath = Field(
        as_written(DEFAULT_CONTROL_SOCKET),
        description="Control socket of status, reload, stop, drain and flush.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield a list that lets nobody in."""
        if not self.allow:
            text = "got an empty list, want a network (nobody could read the metrics)"
            yield Fault(("allow",), text)

    def warnings(self) -> Iterator[Fault]:
        """Yield an address for other hosts that none of them may use."""
        is_loopback = ip_address(self.listen.host).is_loopback
        if not is_loopback and "allow" not in self.model_fields_set:
            text = (
                f"not given while listen is {self.listen}: only this host's loopback "
                "addresses may read the metrics; want the networks that scrape them"
            )
            yield Fault(("allow",), text)


class Log(Section):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important lines that are written."
    )

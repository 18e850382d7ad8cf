"""The section `ring`: the workers, and who owns which names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from dnsfront.config.document import KeyPath
from dnsfront.config.sections.section import Fault, Section, as_written, repeated
from dnsfront.config.values import WorkerName
from dnsfront.errors import RingError
from dnsfront.ring.placement import MAX_PLACES, Member, exact_slots
from dnsfront.ring.table import MAX_SLOTS, MAX_WORKERS, SlotTable, build

#: The default, which stands in every copy of this program.
PUBLIC_SEED: Final = "dnsfront"


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
    def workers(self) -> tuple[Member, ...]:
        """The workers, in the order of the config."""
        return tuple(
            Member(entry.name, entry.weight, entry.standby, entry.place)
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

"""What a section of the config is: a frozen model, with mistakes of its own.

Field descriptions are the help text of the JSON Schema. What no single key can be wrong
about is told by the `mistakes` of its section, in the user's spelling of the keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

from dnsfront.config.document import KeyPath

R = TypeVar("R")


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
            or get_origin(field.annotation) is dict
            or (get_origin(field.annotation) is tuple and not field.metadata)
        }

    def record(self, kind: type[R], **others: object) -> R:
        """Return a dataclass of *kind* with the keys of this section, by their names.

        *others* are its fields that have other values.
        """
        names = {field.name for field in fields(kind)} - others.keys()  # type: ignore[arg-type]  # one it is
        return kind(**{name: getattr(self, name) for name in names}, **others)

    def mistakes(self) -> Iterator[Fault]:
        """Yield what is wrong with the keys of this section taken together."""
        yield from ()

    def warnings(self) -> Iterator[Fault]:
        """Yield what is allowed in this section and hardly ever meant."""
        yield from ()


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)

"""A config file to a Config, with every mistake at once."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dnsfront.config.document import KeyPath, read
from dnsfront.config.model import Config
from dnsfront.config.sections.section import Fault
from dnsfront.config.values import BASE, NOTICE
from dnsfront.errors import ConfigError

#: One more look at a config whose keys are valid one by one.
Inspection = Callable[[Config], Iterable[Fault]]

_MAX_SHOWN: Final = 60
_OF_A_KEY: Final = "[key]"

#: What is wanted, by pydantic's type of error; filled in from the error's context.
_WANTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a mapping of names",
    "finite_number": "a number",
    "float_type": "a number",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "model_type": "a mapping of keys",
    "string_type": "text (in quotes)",
    "string_too_short": "some text",
    "too_long": "at most {max_length} entries",
    "tuple_type": "a list",
}


def load(
    path: str | Path,
    *,
    inspect: Inspection | None = None,
    notice: Callable[[Path], object] = bool,
) -> Config:
    """Return the config in the file at *path*.

    *inspect* may add mistakes to those of the config itself, so that they are told
    together. *notice* is told of every file before it is looked at, here or by
    *inspect*, whatever comes of it.

    Raises:
        ConfigError: with every mistake.
    """
    absolute = Path(path).absolute()
    notice(absolute)
    document = read(path)
    context = {"path": absolute, BASE: absolute.parent, NOTICE: notice}
    removed: set[KeyPath] = set()
    config, faults = _validate(document.data, context, removed)
    wrong = [fault.path for fault in faults]
    if config is not None:
        looks = filter(None, (Config.mistakes, inspect))
        for fault in itertools.chain.from_iterable(look(config) for look in looks):
            where = _original(fault.path, removed)
            if not _follows((where, *fault.depends_on), wrong):
                faults.append(Fault(where, fault.text))
    mistakes = document.mistakes + [
        document.mistake(fault.path, fault.text) for fault in faults
    ]
    if mistakes or config is None:
        raise ConfigError(str(path), mistakes)
    config.tell(document.mistake(x.path, x.text) for x in config.warnings())
    return config


def _follows(paths: Iterable[KeyPath], wrong: list[KeyPath]) -> bool:
    """Return whether a fault at *paths* may just follow from what is *wrong*."""
    return any(
        all(ours == theirs for ours, theirs in zip(path, other, strict=False))
        for path in paths
        for other in wrong
    )


def _validate(
    data: dict[str, Any], context: dict[str, Any], removed: set[KeyPath]
) -> tuple[Config | None, list[Fault]]:
    """Return what can be made of *data* without its faulty keys, and the faults.

    The rest is validated too because keys that are right one by one can still be wrong
    together, and that should not wait for the next run. What is left out goes into
    *removed*, which comes empty.
    """
    faults: list[Fault] = []
    rest: dict[str, Any] = data
    while True:
        try:
            return Config.model_validate(rest, context=context), faults
        except ValidationError as exc:
            errors = exc.errors(include_url=False)
        paths = [_original(_place(error), removed) for error in errors]
        if not removed:
            faults = [
                _fault(path, error) for path, error in zip(paths, errors, strict=True)
            ]
        count = len(removed)
        for path, error in zip(paths, errors, strict=True):
            # Without one of its keys, a list entry is gone; `listen` is made up for.
            removed.add(path[:-1] or path if error["type"] == "missing" else path)
        if len(removed) == count:
            return None, faults
        rest = {"listen": [], **_without(removed, (), data)}


def _place(error: ErrorDetails) -> KeyPath:
    """Return where *error* stands: pydantic has a word behind keys that are wrong."""
    place = error["loc"]
    return place[:-1] if place[-1] == _OF_A_KEY else place


def _without(removed: set[KeyPath], path: KeyPath, value: Any) -> Any:  # noqa: ANN401 - YAML
    if isinstance(value, dict):
        return {
            key: _without(removed, (*path, key), inner)
            for key, inner in value.items()
            if (*path, key) not in removed
        }
    if isinstance(value, list):
        return [
            _without(removed, (*path, index), inner)
            for index, inner in enumerate(value)
            if (*path, index) not in removed
        ]
    return value


def _original(path: KeyPath, removed: set[KeyPath]) -> KeyPath:
    """Return *path* with the list indices from before entries were *removed*."""
    whole: KeyPath = ()
    for part in path:
        if isinstance(part, str):
            whole = (*whole, part)
            continue
        kept = ((*whole, i) for i in itertools.count() if (*whole, i) not in removed)
        whole = next(itertools.islice(kept, part, None))
    return whole


def _fault(path: KeyPath, error: ErrorDetails) -> Fault:
    """Return pydantic's *error* in our words."""
    kind = error["type"]
    context = error.get("ctx", {})
    got = _shown(error["input"])
    if kind == "missing":
        description = _keys_beside(path)[str(path[-1])]
        return Fault(path, f"missing, want: {description}")
    if kind == "extra_forbidden":
        return Fault(path, f"unknown key, want {_likely_key(path)}")
    if kind == "value_error":
        return Fault(path, f"got {got}, {context['error']}")
    wanted = _WANTED[kind].format(**context).replace("'", "")
    return Fault(path, f"got {got}, want {wanted}")


def _likely_key(path: KeyPath) -> str:
    known = _keys_beside(path)
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return close[0] if close else "one of " + ", ".join(known)


def _keys_beside(path: KeyPath) -> dict[str, str]:
    """Return the keys of the section that *path* is in, with their descriptions."""
    model: type[BaseModel] = Config
    is_name = False
    for part in path[:-1]:
        if isinstance(part, str) and not is_name:
            annotation = next(
                field.annotation
                for name, field in model.model_fields.items()
                if part == (field.alias or name)
            )
            model = _model_in(annotation)
            is_name = get_origin(annotation) is dict  # its keys are the operator's
        else:
            is_name = False
    return {
        field.alias or name: field.description or ""
        for name, field in model.model_fields.items()
    }


def _model_in(annotation: Any) -> type[BaseModel]:  # noqa: ANN401 - a type expression
    """Return the model itself, or that of a tuple's or a mapping's entries."""
    inner = get_args(annotation)
    is_mapping = get_origin(annotation) is dict
    found: type[BaseModel] = inner[1 if is_mapping else 0] if inner else annotation
    return found


def _shown(value: object) -> str:
    """Return *value* as YAML would spell it, if that is short."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "a mapping"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."

"""Objects: compiled programs as files, and which of them is good for a source.

An object lies beside its source: in `objects` the one that came with the package, in
`__objects__` the one that was compiled here since. It tells what it was made from, so
one of another source, or one that is damaged, is never loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dnsfront.errors import KernelError
from dnsfront.kernel.placeholders import INSTRUCTION_OCTETS, Function
from dnsfront.kernel.programs import Program

#: Instructions on one line of the file.
_A_LINE: Final = 8


class NoObjectError(KernelError):
    """No object is good for a source; the text says why."""


@dataclass(frozen=True)
class ProgramObject:
    """All functions of a source in byte code; *made_by* is the compiler."""

    made_from: Mapping[str, Any]
    made_by: str
    functions: Mapping[str, Function]

    def to_text(self) -> str:
        """Return the object as it stands in its file."""
        content = {
            "made_from": self.made_from,
            "made_by": self.made_by,
            "functions": {
                name: {
                    "places": {key: list(at) for key, at in function.places.items()},
                    "instructions": _lines(function.instructions),
                }
                for name, function in self.functions.items()
            },
        }
        return json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str) -> ProgramObject:
        """Return the object that *text* is.

        Raises:
            ValueError: it is none, or not as it was written.
        """
        try:
            content = json.loads(text)
            if content.pop("sha256") != _digest(content):
                raise ValueError("its checksum is wrong")
            return cls(
                content["made_from"],
                content["made_by"],
                {
                    name: Function(
                        bytes.fromhex("".join(function["instructions"])),
                        {key: tuple(at) for key, at in function["places"].items()},
                    )
                    for name, function in content["functions"].items()
                },
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"it lacks {exc}") from exc


def shipped_path(program: Program) -> Path:
    """Return where the object lies that came with the package."""
    return program.source.parent / "objects" / f"{program.name}.json"


def kept_path(program: Program) -> Path:
    """Return where the object lies that was compiled here."""
    return program.source.parent / "__objects__" / f"{program.name}.json"


def find(program: Program) -> ProgramObject:
    """Return an object that was made from the sources as they are now.

    Raises:
        NoObjectError: there is none; the text is about the one that was shipped.
    """
    with contextlib.suppress(NoObjectError):
        return read(program, kept_path(program))
    return read(program, shipped_path(program))


def read(program: Program, path: Path) -> ProgramObject:
    """Return the object at *path*, if it is good for *program*.

    Raises:
        NoObjectError: it is missing, damaged or stale, as the text says.
    """
    what = f"the object of {program.source.name} ({path})"
    try:
        made_from = program.made_from()
        found = ProgramObject.from_text(path.read_text(encoding="ascii"))
    except FileNotFoundError as exc:
        missing = "is missing" if exc.filename == str(path) else f"has lost {exc}"
        raise NoObjectError(f"{what} {missing}") from exc
    except OSError as exc:
        raise NoObjectError(f"{what} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # of JSON and of decoding, too
        raise NoObjectError(f"{what} is damaged: {exc}") from exc
    if found.made_from != made_from:
        changes = _changes(found.made_from, made_from)
        raise NoObjectError(f"{what} is stale: {changes} changed since it was made")
    return found


def keep(program: Program, made: ProgramObject) -> None:
    """Have *made* found from now on, where the directory of the source can be written.

    Elsewhere it is compiled again at the next start, which costs time and nothing else.
    """
    with contextlib.suppress(OSError):
        write(kept_path(program), made)


def write(path: Path, made: ProgramObject) -> None:
    """Put *made* at *path* in one step, for everybody to read.

    Raises:
        OSError: it cannot be written there.
    """
    path.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        try:
            file.write(made.to_text())
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the files that differ; if none does, what else the source is given."""
    old, new = before.get("files", {}), now["files"]
    files = {name for name in (*old, *new) if old.get(name) != new.get(name)}
    others = {
        key for key in ("maps", "numbers", "defines") if before.get(key) != now[key]
    }
    return ", ".join(sorted(files) or sorted(others))


def _lines(instructions: bytes) -> list[str]:
    step = _A_LINE * INSTRUCTION_OCTETS
    return [
        instructions[at : at + step].hex() for at in range(0, len(instructions), step)
    ]


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

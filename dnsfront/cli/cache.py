"""``dnsfront cache``: what all caches hold, to a file and back."""

# ruff: noqa: T201 - what a command has to say, it prints

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from dnsfront.cli.live import asked
from dnsfront.cli.output import print_json, tell
from dnsfront.dns.dumps import HEAD, DamagedError, pieces_in, plain_in
from dnsfront.dns.messages import readable
from dnsfront.errors import OutputError, UsageError, WireError

#: Damaged lines that are named; all are counted.
_NAMED: Final = 10


def cache(arguments: argparse.Namespace) -> int:
    """Write what is cached to a file, or take it from there."""
    return _dump(arguments) if arguments.action == "dump" else _load(arguments)


def _dump(arguments: argparse.Namespace) -> int:
    entries = left_out = 0
    with _output(arguments.file) as file:
        file.write(json.dumps(HEAD) + "\n")
        cursor: list[int] | None = [0, 0, 0]
        while cursor:
            piece = asked(arguments, {"command": "cache_dump", "cursor": cursor})
            for line in piece["lines"]:
                file.write(_with_records(line) + "\n")
            entries += len(piece["lines"])
            left_out += piece["left_out"]
            cursor = piece["cursor"]
    if arguments.json and arguments.file != "-":
        print_json({"ok": True, "entries": entries, "left_out": left_out})
        return 0
    text = f"dumped {entries} entries"
    if left_out:
        text += f", left out {left_out} that are too large"
    if arguments.file == "-":
        tell(text)
    else:
        print(text)
    return 0


@contextlib.contextmanager
def _output(name: str) -> Iterator[IO[str]]:
    """Yield what becomes the file *name* when all of it is written.

    Names that were asked for are nobody else's business: only its owner reads it.

    Raises:
        OutputError: it cannot be written; then what was there still is.
    """
    if name == "-":
        yield sys.stdout
        return
    path = Path(name)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(partial, flags, 0o600), "w") as file:
            yield file
        partial.replace(path)
    except OSError as exc:
        raise OutputError(f"{path}: {exc.strerror or exc}") from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _with_records(line: str) -> str:
    """Return *line* with its records as people read them, which no load looks at."""
    try:
        plain = plain_in(line)
        said = readable(base64.b64decode(plain["message"]))
    except (DamagedError, WireError, KeyError, ValueError):
        return line
    plain["rcode"] = said.rcode
    for key in ("answer", "authority"):
        plain[key] = [f"{x.name} {x.ttl} {x.type} {x.data}" for x in getattr(said, key)]
    plain["message"] = plain.pop("message")  # long, so at the end
    return json.dumps(plain)


def _load(arguments: argparse.Namespace) -> int:
    entries = kept = 0
    damaged: list[int] = []
    for numbers, lines in _pieces(arguments.file):
        done = asked(arguments, {"command": "cache_load", "lines": lines})
        entries += len(lines)
        kept += done["kept"]
        damaged += [numbers[index] for index in done["damaged"]]
    passed = entries - kept - len(damaged)
    if arguments.json:
        found = {"kept": kept, "passed": passed, "damaged": damaged}
        print_json({"ok": True, **found})
        return 0
    text = f"loaded {kept} entries; {passed} had expired or are of no use now"
    print(text)
    if damaged:
        named = ", ".join(map(str, damaged[:_NAMED]))
        more = ", ..." if len(damaged) > _NAMED else ""
        tell(f"{arguments.file}: {len(damaged)} damaged lines: {named}{more}")
    return 0


def _pieces(name: str) -> Iterator[tuple[list[int], list[str]]]:
    """Yield the lines of a dump, so many at once, with their numbers.

    Raises:
        UsageError: it is no such file, or of another version.
    """
    try:
        with _input(name) as file:
            yield from pieces_in(file)
    except DamagedError as exc:
        raise UsageError(f"{name}: {exc}") from exc


@contextlib.contextmanager
def _input(name: str) -> Iterator[IO[str]]:
    if name == "-":
        yield sys.stdin
        return
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield file
    except OSError as exc:
        raise UsageError(f"{name}: {exc.strerror or exc}") from exc

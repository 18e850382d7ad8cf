"""Commands on config files: no privileges, and no server but for `--live`."""

# ruff: noqa: T201 - what a command has to say, it prints

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnsfront.cli.output import print_json, tell
from dnsfront.config.load import load
from dnsfront.config.model import json_schema
from dnsfront.dns.names import qname_from_text
from dnsfront.errors import (
    ConfigError,
    Mistake,
    PrivilegeError,
    UnavailableError,
    UsageError,
    WireError,
)
from dnsfront.ring.qhash import hash_key
from dnsfront.ring.table import moves
from dnsfront.supervisor.reports.lookup import MAX_NAMES, Destined, look_up


def check(arguments: argparse.Namespace) -> int:
    """Validate a config and the zones that it names, or print the schema."""
    if arguments.schema:
        print_json(json_schema())
        return 0
    from dnsfront.supervisor.zones.files import ZoneFiles  # noqa: PLC0415 - only here

    try:
        config = load(arguments.config, inspect=ZoneFiles())
    except ConfigError as exc:
        if not arguments.json:
            raise
        print_json({"ok": False, "mistakes": exc.lines(), "warnings": []})
        return exc.exit_code
    if arguments.json:
        warnings = [warning.line_in(arguments.config) for warning in config.told]
        print_json({"ok": True, "mistakes": [], "warnings": warnings})
        return 0
    for warning in config.told:
        text = Mistake(warning.line, warning.key, f"warning: {warning.text}")
        tell(text.line_in(arguments.config))
    counts = (
        _counted(len(config.listen), "address", "es"),
        _counted(len(config.ring.workers), "worker"),
        _counted(len(config.upstreams.servers), "upstream"),
        *([_counted(len(config.pools), "pool")] if config.pools else []),
        _counted(len(config.zones), "zone"),
    )
    print(f"{arguments.config}: OK, {', '.join(counts)}")
    return 0


def _counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"


def ring(arguments: argparse.Namespace) -> int:
    """Show each worker's slots and share; draw them when asked to."""
    if arguments.live:
        shares = _ring_in_force(arguments)
    else:
        section = load(arguments.config).ring
        table = section.table()
        if arguments.svg is not None:
            from dnsfront.ring.diagram import svg  # noqa: PLC0415 - rarely asked for

            _write(arguments.svg, svg(table))
        shares = table.summary(section.workers)
    if arguments.json:
        print_json(shares)
        return 0
    from dnsfront.cli.views import ring_view, show  # noqa: PLC0415 - only people need it

    show(ring_view(shares))
    return 0


def _ring_in_force(arguments: argparse.Namespace) -> dict[str, Any]:
    from dnsfront.cli.live import asked  # noqa: PLC0415 - no need without a server

    if arguments.svg is not None:
        raise UsageError(
            "ring: got --live and --svg, want one; the file has the vnodes"
        )
    return asked(arguments, {"command": "ring"})


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        reason = f"{path}: cannot write: {exc.strerror or exc}"
        if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise PrivilegeError(reason) from exc
        raise UnavailableError(reason) from exc


def lookup(arguments: argparse.Namespace) -> int:
    """Print where names are steered: by the config, or by the running server."""
    names = [*_names(arguments.names)]
    try:
        for name in names:
            qname_from_text(name)
    except WireError as exc:
        raise UsageError(f"lookup: {exc}") from exc
    placed = _asked(arguments, names) if arguments.live else _computed(arguments, names)
    if arguments.json:
        print_json([*placed])
        return 0
    for where in placed:
        owner = where["owner"]
        rest = [worker for worker in where["preference"] if worker != owner]
        types = ",".join(where.get("in_kernel", ()))
        by_kernel = [f"(in the kernel: {types})"] if types else []
        shown = "-" if owner is None else owner
        to = forward_text(where.get("forward"))
        print(where["name"], where["slot"], shown, *rest, *to, *by_kernel)
    return 0


def forward_text(forward: dict[str, Any] | None) -> list[str]:
    """Return in brackets where a name goes to, nothing where all names go there."""
    if not forward or forward["by"] is None:
        return []
    server = f" {forward['server']}" if forward["server"] else ""
    return [f"(to {forward['to']}{server} by {forward['by']})"]


def _computed(
    arguments: argparse.Namespace, names: Iterable[str]
) -> Iterator[dict[str, Any]]:
    config = load(arguments.config)
    table, key = config.ring.table(), hash_key(config.ring.seed)
    destined = Destined(config)
    return (
        {**look_up(name, table, key), "forward": destined.of(name)} for name in names
    )


def _asked(
    arguments: argparse.Namespace, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    from dnsfront.cli.live import asked  # noqa: PLC0415 - no need without a server

    for at in range(0, len(names), MAX_NAMES):
        request = {"command": "lookup", "names": names[at : at + MAX_NAMES]}
        yield from asked(arguments, request)["placed"]


def _names(arguments: Iterable[str]) -> Iterator[str]:
    for name in arguments:
        if name == "-":
            yield from filter(None, map(str.strip, sys.stdin))
        else:
            yield name


def diff(arguments: argparse.Namespace) -> int:
    """Tell what a change of config would move, and how much of that must move."""
    old, new = load(arguments.old).ring, load(arguments.new).ring
    change = asdict(moves(old.table(), new.table()))
    # Another seed gives every name another slot. Owners then differ as they do between
    # any two unrelated tables, so the figures hold for names all the same.
    change["seed_changed"] = old.seed != new.seed
    if arguments.json:
        print_json(change)
        return 0
    from dnsfront.cli.views import diff_view, show  # noqa: PLC0415 - only people need it

    show(diff_view(change))
    return 0

"""What the queries of a file would find, by ring and by chance, for many workers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from dnsfront.cli.main import DEFAULT_CONFIG
from dnsfront.cli.output import print_json
from dnsfront.config.address import SocketAddress
from dnsfront.config.load import load
from dnsfront.config.sections.cache import Cache, KernelCache
from dnsfront.config.sections.protocol import Edns
from dnsfront.config.sections.ring import Ring
from dnsfront.dns.settings import CacheSettings
from dnsfront.errors import InputError, RingError, UsageError
from dnsfront.ring.placement import Member
from dnsfront.ring.qhash import hash_key
from dnsfront.ring.table import SlotTable, build
from dnsfront.simulation.captures import (
    MAGIC_OCTETS,
    AskedServer,
    is_capture,
    read_capture,
)
from dnsfront.simulation.hosts import Host
from dnsfront.simulation.kernel import KernelSettings
from dnsfront.simulation.names import read_names
from dnsfront.simulation.traffic import Traffic

_WORKERS: Final = (1, 2, 4, 8, 16, 32, 64)
_ANY_SERVER: Final = AskedServer(None, 53)
#: What a kernel answer can be long, in octets, as in the config.
_KERNEL_ANSWER_RANGE: Final = (512, 1232)
_DEFAULT_ZIPF: Final = 1.0


@dataclass(frozen=True)
class _Served:
    """What of the config matters here, and where it stands; None for the defaults."""

    path: str | None
    ring: Ring
    cache: CacheSettings
    kernel: KernelSettings
    kernel_mode: str
    udp_size: int


def simulate(arguments: argparse.Namespace) -> int:
    """Read the file, have every number of workers serve it, and show how they do."""
    _check(arguments)
    served = _served(arguments)
    tables = _tables(served.ring, arguments.workers)
    traffic = _traffic(arguments, served.udp_size)
    if arguments.warm_up >= len(traffic):
        raise UsageError(
            f"simulate: got --warm-up {arguments.warm_up} for {len(traffic)} queries,"
            " want fewer, or nothing is counted"
        )
    host = Host(
        traffic,
        hash_key=hash_key(served.ring.seed),
        cache=served.cache,
        kernel=served.kernel,
        warm_up=arguments.warm_up,
    )
    found = {
        "file": arguments.file,
        "config": served.path,
        "seed": arguments.seed,
        "queries": len(traffic),
        "warm_up": arguments.warm_up,
        "questions": len(traffic.questions),
        "seconds": traffic.lasts_s,
        "left_out": traffic.left_out,
        "method": served.ring.method,
        "cache": {
            "max_entries": served.cache.max_entries,
            "max_size_octets": served.cache.max_size_octets,
        },
        "kernel_cache": {"mode": served.kernel_mode, **asdict(served.kernel)},
        "workers": [_row(host, table) for table in tables],
    }
    if arguments.json:
        print_json(found)
        return 0
    from dnsfront.cli.views import show, simulation_view  # noqa: PLC0415 - for people

    show(simulation_view(found))
    return 0


def _row(host: Host, table: SlotTable) -> dict[str, Any]:
    count = len(table.workers)
    return {
        "workers": count,
        "ring": host.by_ring(table).summary(),
        "by_client": host.by_client(count).summary(),
    }


def _check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that are good one by one, and mean nothing."""
    if arguments.zipf is not None and arguments.queries is None:
        raise UsageError("simulate: got --zipf without --queries, want both or neither")
    low, high = _KERNEL_ANSWER_RANGE
    if not low <= (arguments.kernel_answer or low) <= high:
        raise UsageError(
            f"simulate: --kernel-answer: got {arguments.kernel_answer}B, want a size"
            f" from {low}B to {high}B"
        )


def _served(arguments: argparse.Namespace) -> _Served:
    path: Path = arguments.config
    shown = None
    if path == DEFAULT_CONFIG and not path.exists():
        ring, edns = Ring.model_validate({}), Edns.model_validate({})
        cache, answers = Cache.model_validate({}), KernelCache.model_validate({})
    else:
        config = load(path)
        ring, edns = config.ring, config.edns
        cache, answers = config.cache, config.kernel_cache
        shown = str(path)
    settings: CacheSettings = cache.record(CacheSettings)
    if arguments.max_entries is not None:
        settings = replace(settings, max_entries=arguments.max_entries)
    if arguments.max_size is not None:
        largest = min(settings.max_entry_size_octets, arguments.max_size)
        settings = replace(
            settings,
            max_size_octets=arguments.max_size,
            max_entry_size_octets=largest,
        )
    kernel: KernelSettings = answers.record(KernelSettings)
    if arguments.kernel_size is not None:
        kernel = replace(kernel, max_size_octets=arguments.kernel_size)
    if arguments.kernel_answer is not None:
        kernel = replace(kernel, max_answer_octets=arguments.kernel_answer)
    return _Served(shown, ring, settings, kernel, answers.mode, edns.udp_size)


def _tables(section: Ring, asked: Sequence[int] | None) -> list[SlotTable]:
    """Return a table for each number of workers; the config's own have their names.

    Where nobody asked for numbers, those are left out that the ring has no room for.
    """
    tables: list[SlotTable] = []
    for count in asked or _WORKERS:
        members = section.workers
        if count != len(members):
            members = tuple(Member(f"w{number}") for number in range(1, count + 1))
        try:
            table = build(
                members,
                method=section.method,
                slots=section.slots,
                vnodes=section.vnodes,
                seed=section.seed,
                places=section.places,
            )
        except RingError as exc:
            if asked or not tables:
                raise UsageError(f"simulate: --workers {count}: {exc}") from exc
            break
        tables.append(table)
    return tables


def _traffic(arguments: argparse.Namespace, udp_size: int) -> Traffic:
    name: str = arguments.file
    try:
        if name == "-":
            stdin = sys.stdin.buffer
            assert isinstance(stdin, BufferedReader)
            traffic = _read("standard input", stdin, arguments, udp_size)
        else:
            with Path(name).open("rb") as file:
                traffic = _read(name, file, arguments, udp_size)
    except OSError as exc:
        raise InputError(f"{name}: cannot read: {exc.strerror or exc}") from exc
    if arguments.queries is None:
        return traffic
    zipf = _DEFAULT_ZIPF if arguments.zipf is None else arguments.zipf
    return traffic.drawn(arguments.queries, zipf, arguments.rate, arguments.seed)


def _read(
    name: str, file: BufferedReader, arguments: argparse.Namespace, udp_size: int
) -> Traffic:
    if is_capture(file.peek(MAGIC_OCTETS)):
        return read_capture(
            name,
            file,
            server=_ANY_SERVER
            if arguments.server is None
            else _asked_server(arguments.server),
            udp_size=udp_size,
            ttl_s=arguments.ttl,
            size_octets=arguments.size,
            seed=arguments.seed,
        )
    lines = file.read().splitlines()
    return read_names(
        name,
        lines,
        rate=arguments.rate,
        ttl_s=arguments.ttl,
        size_octets=arguments.size,
        seed=arguments.seed,
    )


def _asked_server(text: str) -> AskedServer:
    try:
        address = SocketAddress.from_text(text)
    except ValueError as exc:
        raise UsageError(f'simulate: --server: got "{text}", {exc}') from exc
    return AskedServer(address.host, address.port)

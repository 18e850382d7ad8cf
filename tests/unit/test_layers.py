"""The module map: who may import whom, and which file owns which foreign library."""

from __future__ import annotations

import ast
import functools
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dnsfront"

#: A room may import the rooms named here, and itself; some names are one file.
MAY_IMPORT = {
    "errors": (),
    "tls": ("errors",),
    "paths": (),
    "logs": ("errors",),
    "ring": ("errors",),
    "dns": ("errors",),
    "ipc": ("errors", "dns.settings"),
    "config": ("errors", "tls", "ring", "dns", "ipc.spec"),
    "kernel": ("errors", "paths", "ipc"),
    "worker": (
        "errors",
        "tls",
        "logs",
        "dns",
        "ring",
        "ipc",
        "kernel.layouts",
        "kernel.load",
        "kernel.book",
    ),
    "supervisor": (
        "errors",
        "tls",
        "paths",
        "logs",
        "ipc",
        "ring",
        "dns",
        "config",
        "kernel",
    ),
    "simulation": (
        "errors",
        "ring",
        "dns",
        "ipc.stats",
        "kernel.book",
        "kernel.layouts",
        "worker.answering.bookkeeper",
        "worker.process.clock",
        "worker.process.meter",
    ),
    "cli": (
        "errors",
        "logs",
        "ipc",
        "ring",
        "dns",
        "config",
        "kernel",
        "supervisor",
        "simulation",
    ),
}

#: Rooms and files inside a room, the lowest first: each may import those before it, and
#: itself. Those on one line do not know each other.
FLOORS = {
    "worker": (
        ("process",),
        ("clients",),
        ("peers", "upstreams"),
        ("answering",),
        ("transports",),
        ("orders", "counts"),
        ("loop",),
        ("main",),
        ("nursery",),
        ("__main__",),
    ),
    "supervisor": (
        ("host",),
        ("sockets",),
        ("admin", "kernel_cache", "upstreams", "zones"),
        ("workers",),
        ("change",),
        ("reports", "takeover"),
        ("commands", "front"),
        ("start",),
        ("main",),
    ),
}

#: One file, or one room, imports each foreign library.
OWNER = {
    "bcc": "kernel/compiler.py",
    "dns": (
        "dns/zones/text.py",
        "dns/zones/tokens.py",
        "dns/zones/data.py",
        "supervisor/zones/keeper.py",
    ),
    "dnslib": "dns/messages.py",
    "dpkt": "simulation/captures.py",
    "prometheus_client": "supervisor/reports/",
    "pydantic": "config/",
    "pydantic_core": "config/",
    "rich": "cli/",
    "siphash24": ("ring/qhash.py", "dns/cookies.py"),
    "yaml": "config/document.py",
}

#: The worker's memory budget has no room for these.
NOT_IN_A_WORKER = {
    "bcc",
    "dnslib",
    "dns",
    "dpkt",
    "prometheus_client",
    "pydantic",
    "rich",
    "yaml",
}

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def module_of(file: str) -> str:
    """Return the dotted name of *file* below the package, "" for the package."""
    name = file.removesuffix(".py").replace("/", ".")
    return "" if name == "__init__" else name.removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


@functools.cache
def imports_of(file: str) -> frozenset[str]:
    """Return what *file* imports, in functions and for type checking too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@functools.cache
def inner_imports_of(file: str) -> frozenset[str]:
    """Return the modules of the package that *file* imports, without the package."""
    modules = set()
    for name in imports_of(file):
        package, _, inner = name.partition(".")
        if package == "dnsfront":
            modules.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return frozenset(modules - {""})


@functools.cache
def foreign_imports_of(file: str) -> frozenset[str]:
    """Return the libraries that *file* imports, without the standard one."""
    libraries = frozenset(name.partition(".")[0] for name in imports_of(file))
    return libraries - sys.stdlib_module_names - {"dnsfront"}


def test_every_room_is_on_the_map() -> None:
    rooms = {module.partition(".")[0] for module in MODULES} - {"", "__main__"}

    assert rooms <= set(MAY_IMPORT)


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down_the_map(file: str) -> None:
    room = module_of(file).partition(".")[0]
    allowed = (room, *MAY_IMPORT.get(room, MAY_IMPORT))

    wrong = {
        module
        for module in inner_imports_of(file)
        if not any(f"{module}.".startswith(f"{name}.") for name in allowed)
    }

    assert not wrong


def floor_of(module: str) -> int:
    """Return how high *module* is in a room with floors, 0 for the room itself."""
    room, _, rest = module.partition(".")
    inner = rest.partition(".")[0]
    floors = enumerate(FLOORS[room], 1)
    return next(n for n, rooms in floors if inner in rooms) if rest else 0


@pytest.mark.parametrize("room", FLOORS)
def test_every_file_and_room_inside_is_on_one_floor(room: str) -> None:
    there = {
        module.split(".")[1] for module in MODULES if module.startswith(f"{room}.")
    }

    named = [name for rooms in FLOORS[room] for name in rooms]

    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("room", FLOORS)
def test_the_architecture_has_every_floor(room: str) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    [table] = re.findall(rf"\| floor \| in the {room} .*?\n\n", text, re.DOTALL)

    told = [
        re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[2])
        for line in reversed(table.strip().splitlines()[2:])
    ]

    named = {name for rooms in FLOORS[room] for name in rooms} - {"__main__"}
    assert {name for rooms in told for name in rooms} == named
    heights = [{floor_of(f"{room}.{name}") for name in rooms} for rooms in told]
    for lower, upper in pairwise(heights):
        assert max(lower) < min(upper)


@pytest.mark.parametrize("file", FILES)
def test_imports_inside_a_room_point_down_its_floors(file: str) -> None:
    module = module_of(file)
    place = module.split(".")[:2]
    if place[0] not in FLOORS:
        return
    mine = floor_of(module)

    wrong = {
        other
        for other in inner_imports_of(file)
        if other.split(".")[0] == place[0]
        and other.split(".")[:2] != place
        and floor_of(other) >= mine
    }

    assert not wrong


def reached_from(module: str) -> set[str]:
    """Return the modules that *module* imports, and those that they import."""
    waiting, reached = set(inner_imports_of(MODULES[module])), set[str]()
    while waiting:
        reached.add(other := waiting.pop())
        waiting |= inner_imports_of(MODULES[other]) - reached
    return reached


def test_no_file_imports_itself_by_way_of_others() -> None:
    circles = {
        module for module in MODULES if module and module in reached_from(module)
    }

    assert not circles


@pytest.mark.parametrize("file", FILES)
def test_foreign_libraries_are_imported_by_their_owner(file: str) -> None:
    wrong = {
        library
        for library in foreign_imports_of(file)
        if not file.startswith(OWNER.get(library, "nobody"))
    }

    assert not wrong


def libraries_reached_from(waiting: set[str]) -> set[str]:
    """Return the foreign libraries that come with the modules *waiting*."""
    reached: set[str] = set()
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= inner_imports_of(MODULES[module]) - reached
    return {x for module in reached for x in foreign_imports_of(MODULES[module])}


def test_worker_never_reaches_heavy_libraries() -> None:
    workers = {module for module in MODULES if module.startswith("worker")}

    assert not libraries_reached_from(workers) & NOT_IN_A_WORKER


def test_the_supervisor_never_reaches_what_reads_zone_text() -> None:
    assert "dns" not in libraries_reached_from({"supervisor.main", "cli.main"})
    assert "dns" in libraries_reached_from({"supervisor.zones.child"})


def test_only_the_cache_knows_its_queues() -> None:
    knowing = {
        module
        for module, file in MODULES.items()
        if "dns.residents" in inner_imports_of(file)
    }

    assert knowing == {"dns.cache"}

"""Memory, empty and with a filled cache, and the time from start to first answer."""

from __future__ import annotations

from typing import Final

from tests.bench.lab import Lab, Round
from tests.bench.peers import FORMS, Peer
from tests.bench.process import Memory, memory_of
from tests.bench.server import Server

#: Responses of 100 octets that are put into a cache.
ENTRIES: Final = 100_000


def measure_memory(lab: Lab) -> list[Round]:
    """Fill a fresh cache of every program and return what its processes hold."""
    names = lab.directory / "fills"
    names.write_text("".join(f"{number:016x}.fills TXT\n" for number in range(ENTRIES)))
    rounds = []
    for peer in lab.peers:
        lab.say(f"memory: {peer.name}")
        with lab.unpinned(peer) as server:
            empty = _memory_by_process(server, peer)
            lab.warm(server, names, ENTRIES)
            full = _memory_by_process(server, peer)
        rounds.append(
            {
                "server": peer.name,
                "entries": ENTRIES,
                "empty": {name: vars(memory) for name, memory in empty.items()},
                "full": {name: vars(memory) for name, memory in full.items()},
                "bytes_per_entry": (_pss(full) - _pss(empty)) / ENTRIES,
                "full_rss_mb": sum(memory.rss_bytes for memory in full.values()) / 1e6,
            }
        )
    return rounds


def measure_start(lab: Lab) -> list[Round]:
    """Start every program again and again; return the seconds to its first answer.

    All CPUs are free to it: compiling and starting workers go on side by side.
    """
    rounds = []
    for number in range(1, lab.settings.rounds + 1):
        lab.say(f"start: round {number} of {lab.settings.rounds}")
        for peer in lab.peers:
            seconds = lab.first_answer_s(peer)
            rounds.append({"round": number, "server": peer.name, "start_s": seconds})
    return rounds


def _memory_by_process(server: Server, peer: Peer) -> dict[str, Memory]:
    """Return the memory of each process; dnsfront's by the part that it plays."""
    first, *others = server.pids()
    if peer not in FORMS:
        return {str(pid): memory_of(pid) for pid in (first, *others)}
    workers = {f"worker {number}": pid for number, pid in enumerate(others, start=1)}
    parts = {"supervisor": first, **workers}
    return {part: memory_of(pid) for part, pid in parts.items()}


def _pss(parts: dict[str, Memory]) -> int:
    return sum(memory.pss_bytes for memory in parts.values())

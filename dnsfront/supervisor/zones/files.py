"""The zone files and lists of a config and their images: a child compiles them.

A file that says what it said before keeps its image: it is neither read by the child
nor sent to the workers again.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from dnsfront.config.document import KeyPath
from dnsfront.config.model import Config
from dnsfront.config.sections.section import Fault
from dnsfront.config.sections.zones import Zone
from dnsfront.dns.zones.image import Image
from dnsfront.errors import ZoneError
from dnsfront.ipc import memory
from dnsfront.ipc.channel import receive_fds
from dnsfront.ipc.spec import ZoneImage
from dnsfront.supervisor.host import spawning
from dnsfront.supervisor.zones.digests import digest
from dnsfront.supervisor.zones.lists import LoadedList, loaded_list, tell
from dnsfront.supervisor.zones.packs import Pack

_LOG = logging.getLogger(__name__)

#: How long a zone may take: so much, and this for each MiB of its file. 35 MiB, which
#: are 1,000,000 records, take 10 s on a machine that has nothing else to do.
TIMEOUT_S: Final = 60.0
_TIMEOUT_S_PER_MIB: Final = 10.0
_CHILD: Final = "dnsfront.supervisor.zones.child"
_NICE: Final = 10
_UNAVAILABLE: Final = Path(__file__).with_name("unavailable.zone")
#: How long the child may take no processor time while nothing but itself keeps it
#: from it, and how often it is looked at.
_STILL_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.5
#: States of proc(5) in which a process waits for a processor, or for a disk.
_WAITING_STATES: Final = "RD"
_MAX_PACKET_OCTETS: Final = 1 << 16
#: What stands in place of an origin where a list is meant: no zone has it.
_A_LIST: Final = ""


@dataclass(frozen=True, eq=False)
class LoadedZone:
    """A zone that can be served: its image and the memory that holds it.

    *included* are the files that its zone file includes, in their order.
    """

    image: ZoneImage
    pack: Pack
    included: tuple[Path, ...] = ()


_Loaded = LoadedZone | LoadedList


class ZoneFiles:
    """Has the zone files and lists of a config compiled, and keeps what can be used.

    An instance is an inspection for `dnsfront.config.load.load`, for one config.
    *known* are those of before, which may still be right. `notice` is told of files
    that zone files include before they are read. Somebody serves meanwhile, and goes
    first where there are too few processors, unless *is_urgent*.
    """

    def __init__(
        self, known: Iterable[_Loaded] = (), *, is_urgent: bool = False
    ) -> None:
        self._niceness = 0 if is_urgent else _NICE
        self.zones: list[LoadedZone] = []
        self.lists: dict[Path, LoadedList] = {}
        self.notice: Callable[[Path], object] = bool
        self._known: dict[str | Path, _Loaded] = {
            x.image.origin if isinstance(x, LoadedZone) else x.path: x for x in known
        }
        self._child: _Child | None = None
        self._is_stopped = False

    def __call__(self, config: Config) -> Iterator[Fault]:
        """Yield what is wrong with each zone file, and with each list."""
        keys: list[KeyPath] = []
        wanted: list[tuple[str, Path]] = []
        for index, zone in enumerate(config.zones):
            keys.append(("zones", index, "file"))
            wanted.append((zone.origin, self._path_of(zone)))
        for index, path in config.list_files():
            keys.append(("rules", index, "match", "suffixes", "file"))
            wanted.append((_A_LIST, path))
        for key, found in zip(keys, self._load(wanted), strict=True):
            if isinstance(found, LoadedZone):
                self.zones.append(found)
            elif isinstance(found, LoadedList):
                self.lists[found.path] = found
            else:
                yield Fault(key, found)

    def _path_of(self, zone: Zone) -> Path:
        """Return where the records of *zone* are; what never came is unavailable."""
        if zone.primary is not None:
            self.notice(zone.path)
            if not zone.path.is_file():
                return _UNAVAILABLE
        return zone.path

    def stop(self) -> None:
        """Break off, from another thread: what is not compiled is refused."""
        self._is_stopped = True
        if self._child is not None:
            self._child.kill()

    def _load(self, wanted: Sequence[tuple[str, Path]]) -> list[_Loaded | str]:
        """Return for each of *wanted* its zone or list, or what is wrong with it."""
        found: dict[int, _Loaded | str] = {}
        for index, (origin, path) in enumerate(wanted):
            known = self._known.get(origin or path)
            if known is None:
                continue
            for included in known.included:
                self.notice(included)
            if digest((path, *known.included)) == known.image.digest:
                found[index] = known
        todo = [index for index in range(len(wanted)) if index not in found]
        while todo:
            locations = self._compile(wanted, todo, found)
            for index, (location, pack) in locations.items():
                found[index] = _loaded(*wanted[index], location, pack)
            # What a child had not handed over when it ended is lost.
            todo = [index for index in todo if index not in found]
        return [found[index] for index in range(len(wanted))]

    def _compile(
        self,
        wanted: Sequence[tuple[str, Path]],
        todo: Sequence[int],
        found: dict[int, _Loaded | str],
    ) -> dict[int, tuple[dict[str, Any], Pack]]:
        """Have one child compile *todo*; return where the images are.

        What is wrong with a zone goes into *found*.
        """
        locations: dict[int, dict[str, Any]] = {}
        packs: dict[int, Pack] = {}
        try:
            child = _Child(packs, self._niceness, self.notice)
        except OSError as exc:
            reason = f"no process to read it: {exc.strerror}, want memory and processes"
            found.update(dict.fromkeys(todo, reason))
            return {}
        with child:
            self._child = child
            for index in todo:
                origin, path = wanted[index]
                if self._is_stopped:
                    found.update(dict.fromkeys(todo, "not read: this process ends"))
                    return {}
                try:
                    answer = child.ask(origin, path)
                except ZoneError as exc:
                    found[index] = _with_want(f"{path}: {exc}")
                    break
                if "reason" in answer:
                    found[index] = _with_want(answer["reason"])
                else:
                    locations[index] = answer
            else:
                try:
                    child.finish()
                except ZoneError as exc:
                    lost = [i for i in locations if locations[i]["pack"] not in packs]
                    found.update(dict.fromkeys(lost, str(exc)))
        return {
            index: (location, packs[location["pack"]])
            for index, location in locations.items()
            if location["pack"] in packs
        }


class _Child:
    """One process that compiles zones; it is gone when the context ends."""

    def __init__(
        self,
        packs: dict[int, Pack],
        niceness: int,
        notice: Callable[[Path], object],
    ) -> None:
        """Start it; what it hands over goes into *packs*.

        *notice* is told of files that are included.

        Raises:
            OSError: the system starts no process.
        """
        self._packs = packs
        self._notice = notice
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output_fd = memory.output("dnsfront-zones-output")
        with theirs:
            try:
                self._process = spawning.run(
                    _CHILD, str(niceness), theirs.fileno(), self._output_fd
                )
            except OSError:
                self._channel.close()
                os.close(self._output_fd)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._channel.close()
        os.close(self._output_fd)

    def kill(self) -> None:
        """End it, from another thread."""
        self._process.kill()

    def ask(self, origin: str, path: Path) -> dict[str, Any]:
        """Return what it says about a zone, or about a list.

        Raises:
            ZoneError: it came to an end over it, or did not come to one in time.
        """
        try:
            timeout_s = _timeout_s(path)
        except OSError as exc:
            return {"reason": f"{path}: {exc.strerror}"}
        began_at = time.monotonic()
        answer = self._say({"origin": origin, "path": str(path)}, timeout_s)
        if "names" in answer:
            tell(path, answer, time.monotonic() - began_at)
        elif "reason" not in answer:
            _LOG.info(
                "zone_compiled origin=%s records=%d octets=%d seconds=%.2f peak_mib=%d",
                origin, answer["records"], answer["octets"],
                time.monotonic() - began_at, answer["peak_kib"] >> 10,
            )  # fmt: skip
        return answer

    def finish(self) -> None:
        """Have it hand over what it still has.

        Raises:
            ZoneError: it came to an end before.
        """
        self._say({}, TIMEOUT_S)

    def _say(self, request: dict[str, str], timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        watch = _Watch(self._process.pid)
        self._channel.settimeout(_LOOK_EVERY_S)
        try:
            self._channel.send(json.dumps(request).encode())
            while True:
                try:
                    octets, fds, _flags = receive_fds(
                        self._channel, _MAX_PACKET_OCTETS, 1
                    )
                except TimeoutError:
                    watch.look()
                    if time.monotonic() > deadline:
                        raise
                    continue
                if not octets:
                    break
                answer: dict[str, Any] = json.loads(octets)
                if "include" in answer:
                    deadline += self._go_on_with(Path(answer["include"]))
                    continue
                if "memory" not in answer:
                    return answer
                self._packs[answer["memory"]] = Pack(fds[0])
        except TimeoutError as exc:
            raise ZoneError(f"reading it takes over {timeout_s:.0f} s") from exc
        except (ConnectionError, BrokenPipeError):
            pass
        raise ZoneError(f"the process that reads it ended ({self._ending()})")

    def _go_on_with(self, path: Path) -> float:
        """Let it read a file that is included; return how long that may take."""
        self._notice(path)
        try:
            more_s = _timeout_s(path) - TIMEOUT_S
        except OSError:
            more_s = 0.0
        self._channel.send(b"{}")
        return more_s

    def _ending(self) -> str:
        code = self._process.wait()
        last = memory.last_line(self._output_fd)
        return f"signal {-code}" if code < 0 else f"status {code}: {last}"


class _Watch:
    """Tells a child that hangs from one that is busy, or has to wait."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/stat")
        self._taken = -1
        self._looked_at = time.monotonic()
        self._still_s = 0.0

    def look(self) -> None:
        """Look at it, every now and then.

        Raises:
            ZoneError: it has done nothing for too long.
        """
        now = time.monotonic()
        # While this process itself stood still, it could not see the child work.
        passed_s = min(now - self._looked_at, 2 * _LOOK_EVERY_S)
        self._looked_at = now
        try:
            # What follows the name, which may hold anything: state is the first field.
            fields = self._path.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            return
        state, taken = fields[0], int(fields[11]) + int(fields[12])
        if taken != self._taken or state in _WAITING_STATES:
            self._taken, self._still_s = taken, 0.0
            return
        self._still_s += passed_s
        if self._still_s >= _STILL_S:
            raise ZoneError(
                f"the process that reads it hangs: state {state}, no processor time "
                f"for {_STILL_S:.0f} s"
            )


def _timeout_s(path: Path) -> float:
    return TIMEOUT_S + _TIMEOUT_S_PER_MIB * path.stat().st_size / (1 << 20)


def _with_want(reason: str) -> str:
    return reason if "want" in reason else f"{reason}, want a zone that can be served"


def _loaded(
    origin: str, path: Path, location: dict[str, Any], pack: Pack
) -> _Loaded | str:
    """Return the zone or list at *location* in *pack*, after a look at its head."""
    if origin == _A_LIST:
        return loaded_list(path, location, pack)
    image = ZoneImage(
        origin, location["digest"], pack.name, location["at"], location["octets"]
    )
    octets = memoryview(memory.constant(pack.fd))
    try:
        Image(octets[image.at : image.at + image.octets])
    except ZoneError as exc:
        return str(exc)
    return LoadedZone(image, pack, tuple(map(Path, location["included"])))

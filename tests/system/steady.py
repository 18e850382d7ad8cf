"""A steady, heavy load, and what became of each of its queries.

The generator is that of the benchmarks (`tests/bench/dnsload.c`); it writes a record a
query (`tests/bench/record.h`), so that a test can tell which were lost, who answered
each, and when. Instants are nanoseconds of `time.time_ns`.
"""

from __future__ import annotations

import json
import signal
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import pytest

from tests.bench.errors import BenchError
from tests.bench.load import BIN, build
from tests.system.front import Address
from tests.system.processes import ROOT
from tests.waiting import eventually

_RECORD: Final = struct.Struct("=QQIBB10s")
_ADDRESS_BASE: Final = 10 << 24
_SOCKETS: Final = 16
_TIMEOUT_S: Final = 4
_LONGEST_S: Final = 300


class Record(NamedTuple):
    """One query: *name* is its number, *nsid* the worker that answered, if any did."""

    sent_ns: int
    answered_ns: int
    name: int
    rcode: int
    is_right: int
    nsid: str


class Names:
    """Names by number, each with an address of its own that tells the number."""

    def __init__(self, folder: Path, count: int) -> None:
        self.texts = [f"n{number}.load.test" for number in range(count)]
        self.path = folder / "names"
        self.path.write_text("".join(f"{text} A\n" for text in self.texts))

    def zone(self) -> str:
        """Return the records of all names, for a zone file."""
        return "".join(
            f"{text}. 86400 IN A {_address(number)}\n"
            for number, text in enumerate(self.texts)
        )


def _address(number: int) -> str:
    return ".".join(map(str, (_ADDRESS_BASE + number).to_bytes(4, "big")))


class Generator:
    """One run of the generator on *address*; *arguments* are those of dnsload."""

    def __init__(self, address: Address, names: Names, *arguments: str) -> None:
        try:
            build()
        except BenchError as exc:
            pytest.fail(f"no load generator: {exc}")
        self._path = names.path.with_suffix(f".records{id(self)}")
        self._process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--", str(BIN / "dnsload")),
                *("--server", address.host, "--port", str(address.port)),
                *("--names", str(names.path), "--records", str(self._path), "--nsid"),
                *("--timeout", str(_TIMEOUT_S), *arguments),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.report: dict[str, Any] = {}

    def has_begun(self) -> bool:
        """Return whether the first responses are there."""
        return self._path.exists() and self._path.stat().st_size > 0

    def stop(self) -> None:
        """Send no more; :meth:`wait` tells what came of it."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> list[Record]:
        """Return what became of each query, in the order in which that was known."""
        output, errors = self._process.communicate(timeout=_LONGEST_S)
        assert self._process.returncode == 0, errors
        self.report = json.loads(output)
        octets = self._path.read_bytes()
        self._path.unlink()
        names: dict[bytes, str] = {}
        return [
            Record(*fields, names.setdefault(nsid, nsid.rstrip(b"\0").decode()))
            for *fields, nsid in _RECORD.iter_unpack(octets)
        ]

    def end(self) -> None:
        """See to it that it is gone."""
        self._process.kill()
        self._process.communicate()


class SteadyLoad:
    """Zipf-distributed queries at a steady rate, from the context's start to its end.

    Then *records* has what became of each.
    """

    def __init__(
        self, address: Address, names: Names, per_second: int, *arguments: str
    ) -> None:
        self._generator = Generator(
            *(address, names, "--rate", str(per_second), "--zipf", "1"),
            *("--sockets", str(_SOCKETS), "--seconds", str(_LONGEST_S), *arguments),
        )
        self._is_over = False
        self.records: list[Record] = []

    @property
    def report(self) -> Mapping[str, Any]:
        """What the generator says of the whole run."""
        return self._generator.report

    def __enter__(self) -> Self:
        try:
            eventually(self._generator.has_begun)
        except BaseException:
            self._generator.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._generator.end()
        elif not self._is_over:
            self._generator.stop()
            self.finish()

    def finish(self) -> None:
        """Wait until it ends by itself, which it does if `--seconds` are given."""
        self.records = self._generator.wait()
        self._is_over = True

    def lost(self) -> list[Record]:
        """Return the queries that had no response."""
        return [record for record in self.records if not record.answered_ns]

    def wrong(self) -> list[Record]:
        """Return the responses that were not the answer to their question."""
        return [x for x in self.records if x.answered_ns and not x.is_right]


def owners_seen(address: Address, names: Names) -> dict[int, str]:
    """Ask for every name once, and return who answered it."""
    records = Generator(address, names, "--limit", str(len(names.texts))).wait()
    assert all(record.is_right for record in records), "a name without its answer"
    owners = {record.name: record.nsid for record in records}
    assert len(owners) == len(names.texts)
    return owners

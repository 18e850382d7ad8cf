"""Zone files with many records, saved again and again while somebody asks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import dns.exception

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.steady import Names, SteadyLoad

ORIGIN: Final = "load.test"
_HEAD: Final = """\
$ORIGIN load.test.
$TTL 1h
@ SOA ns1 hostmaster {version} 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.53
version TXT "{version}"
"""
_KINDS: Final = (
    "h{0} 300 IN A 192.0.2.1",
    "h{0} 300 IN A 192.0.2.2",
    "v{0} IN AAAA 2001:db8::1",
    "d{0} IN NS ns.provider{0}.example.",
    "c{0} CNAME h{0}",
    't{0} TXT "v=spf1 -all"',
    "m{0} MX 10 mail",
    "x{0} HTTPS 1 . alpn=h2",
)


class LargeZone:
    """A zone file of some *records*, those of *names* among them."""

    def __init__(self, path: Path, names: Names, records: int) -> None:
        self.path = path
        kinds = len(_KINDS)
        filler = (
            _KINDS[number % kinds].format(number // kinds) + "\n"
            for number in range(records - len(names.texts))
        )
        self._rest = names.zone() + "".join(filler)
        self.version = 0
        self.save()

    def save(self) -> None:
        """Replace the file by one of another version."""
        self.version += 1
        draft = self.path.with_suffix(".draft")
        draft.write_text(_HEAD.format(version=self.version) + self._rest, "ascii")
        draft.replace(self.path)

    def is_served(self, front: FrontEnd) -> bool:
        """Return whether what was saved last is what *front* answers."""
        try:
            response = ask(front.address, f"version.{ORIGIN}", "TXT")
        except dns.exception.Timeout:
            return False
        return str(response.answer[0][0]) == f'"{self.version}"'


def latencies_ms(load: SteadyLoad) -> list[float]:
    """Return how long each answered query of *load* waited, the shortest first."""
    return sorted(
        (record.answered_ns - record.sent_ns) / 1e6
        for record in load.records
        if record.answered_ns
    )

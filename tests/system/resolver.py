"""Unbound, the resolver that stands behind the front end in real life.

It is told nothing about the world: a root zone of our own holds every name there is.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Final, Self

import dns.exception

from tests.system.clients import ask
from tests.system.front import Address, free_address
from tests.system.processes import Program, needed
from tests.waiting import eventually

_CONFIG: Final = """\
server:
  interface: {host}
  port: {port}
  directory: "{folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  log-queries: yes
  module-config: "iterator"
  num-threads: 1
  do-not-query-localhost: no
  local-zone: "test." nodefault
  trust-anchor-signaling: no
remote-control:
  control-enable: no
auth-zone:
  name: "."
  zonefile: "{zone}"
  for-downstream: no
  for-upstream: yes
  fallback-enabled: no
"""


def _strings(count: int, octets: int) -> str:
    return " ".join(f'"{number:0{octets}}"' for number in range(count))


_SIGNATURE: Final = "c2lnbmVkIGJ5IG5vYm9keSwgY2hlY2tlZCBieSBub2JvZHk="
_ZONE: Final = f"""\
$TTL 300
.               IN SOA   ns.test. hostmaster.test. 1 3600 900 604800 60
.               IN NS    ns.test.
ns.test.        IN A     192.0.2.53
www.test.       IN A     192.0.2.80
www.test.       IN A     192.0.2.81
www.test.       IN AAAA  2001:db8::80
www.test.       IN RRSIG A 8 2 300 20380101000000 20200101000000 1 test. {_SIGNATURE}
mail.test.      IN MX    10 www.test.
mail.test.      IN MX    20 ns.test.
text.test.      IN TXT   "one string" "and another"
one.test.       IN CNAME two.test.
two.test.       IN CNAME three.test.
three.test.     IN CNAME www.test.
dangling.test.  IN CNAME nowhere.test.
short.test.     1 IN A   192.0.2.1
zero.test.      0 IN A   192.0.2.2
middling.test.  IN TXT   {_strings(8, 90)}
large.test.     IN TXT   {_strings(75, 200)}
"""
_QUERY: Final = re.compile(r"info: \S+ (\S+) (\S+) IN$", re.MULTILINE)


class Unbound:
    """One unbound on a port of its own, for as long as the context lasts.

    Its root zone has *more* records than those above. With a certificate and its key,
    *identity*, it is asked over TLS at `tls_address` too, and closes what is idle there
    soon.
    """

    def __init__(
        self, folder: Path, more: str = "", identity: tuple[Path, Path] | None = None
    ) -> None:
        self.address: Address = free_address()
        self.tls_address: Address = free_address()
        self._folder = folder
        zone = folder / "root.zone"
        zone.write_text(_ZONE + more, encoding="ascii")
        config = folder / "unbound.conf"
        config.write_text(
            _CONFIG.format(
                host=self.address.host, port=self.address.port, folder=folder, zone=zone
            ),
            encoding="ascii",
        )
        if identity is not None:
            host, port = self.tls_address
            certificate, key = identity
            tickets = folder / "tickets"
            tickets.write_bytes(os.urandom(80))
            with config.open("a", encoding="ascii") as file:
                file.write(
                    f"server:\n  interface: {host}@{port}\n  tls-port: {port}\n"
                    f'  tls-service-pem: "{certificate}"\n'
                    f'  tls-service-key: "{key}"\n  tcp-idle-timeout: 300\n'
                    f'  tls-session-ticket-keys: "{tickets}"\n'
                )
        self._config = config
        self._program = self._start()

    def _start(self) -> Program:
        log = self._folder / "unbound.log"
        return Program(needed("unbound"), "-d", "-c", str(self._config), log=log)

    def __enter__(self) -> Self:
        eventually(self._is_answering, within_s=10)
        return self

    def kill(self) -> None:
        """End it without a word."""
        self._program.signal(signal.SIGKILL)
        self._program.wait()
        self._program.end()

    def start_again(self) -> None:
        """Have it back after :meth:`kill`."""
        self._program = self._start()
        eventually(self._is_answering, within_s=10)

    def __exit__(self, *_error: object) -> None:
        self._program.end()

    def _is_answering(self) -> bool:
        assert self._program.exit_code is None, self._program.output()
        with contextlib.suppress(dns.exception.Timeout, ConnectionError):
            return bool(ask(self.address, "ns.test", nsid=False, timeout_s=0.5).answer)
        return False

    def queries(self) -> Counter[tuple[str, str]]:
        """Return how often each question came, by lower-case qname and type.

        The front end's health checks are left out.
        """
        queries = Counter(
            (qname.lower(), rdtype)
            for qname, rdtype in _QUERY.findall(self._program.output())
        )
        del queries[".", "NS"]
        return queries

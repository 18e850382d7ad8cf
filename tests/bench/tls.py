"""Misses over TLS beside misses over UDP, and beside unbound, which forwards over both.

``python -m tests.bench.tls``: names that nobody knows, one upstream, a closed loop.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.bench.lab import Lab, Round, Settings
from tests.bench.load import build
from tests.bench.peers import COMPILED, DNSFRONT, UNBOUND, UPSTREAM, Peer
from tests.bench.server import HOST, free_port
from tests.bench.under_load import median_of, values_of
from tests.unit.authority import NAME, Authority

_OVER_TLS: Final = " over TLS"


class _TlsLab(Lab):
    """A lab whose upstream is asked over TLS too."""

    tls_port = 0

    def _start_upstream(self) -> None:
        authority = Authority()
        self.ca = self.directory / "ca.pem"
        self.ca.write_text(authority.pem)
        certificate, key = authority.identity(NAME).save(self.directory, "server")
        self.tls_port = free_port()

        def configure(directory: Path, port: int, none: int) -> Sequence[str]:
            command = UPSTREAM.configure(directory, port, none)
            with Path(command[-1]).open("a") as file:
                file.write(f"""\
server:
  interface: {HOST}@{self.tls_port}
  tls-port: {self.tls_port}
  tls-service-pem: "{certificate}"
  tls-service-key: "{key}"
""")
            return command

        upstream = replace(UPSTREAM, configure=configure)
        self._upstream_port = 0
        self.upstream = self._start(self._stack, upstream, self._client_cpus)
        self._upstream_port = self.upstream.port

    def _find_peers(self) -> None:
        plain = (DNSFRONT, COMPILED, UNBOUND)
        self._wanted = [y for x in plain for y in (x, self._over_tls(x))]
        super()._find_peers()

    def _over_tls(self, peer: Peer) -> Peer:
        def configure(directory: Path, port: int, upstream_port: int) -> Sequence[str]:
            command = peer.configure(directory, port, upstream_port)
            config = Path(command[-1])
            text = config.read_text()
            if peer is UNBOUND:
                text = text.replace(
                    f"forward-addr: {HOST}@{upstream_port}",
                    f"forward-addr: {HOST}@{self.tls_port}#{NAME}\n"
                    f"  forward-tls-upstream: yes\nserver:\n"
                    f'  tls-cert-bundle: "{self.ca}"',
                )
            else:
                text = text.replace(
                    f'{{address: "{HOST}:{upstream_port}"}}',
                    f'{{address: "{HOST}:{self.tls_port}", '
                    f'tls: {{name: {NAME}, ca: "{self.ca}"}}}}',
                )
            config.write_text(text)
            return command

        return replace(peer, name=f"{peer.name}{_OVER_TLS}", configure=configure)


def main() -> int:
    """Print what a miss costs each of them, as medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--results", type=Path, metavar="FILE")
    wanted = parser.parse_args()
    build()
    settings = Settings(wanted.rounds, wanted.seconds, ["miss"], edns=False, pin=True)
    rounds: list[Round] = []
    with _TlsLab(settings, _say) as lab, lab.servers(lab.peers, reflector=False) as up:
        load = lab.load(lab.miss_names, wanted.seconds, "--random-label")
        for _ in range(wanted.rounds):
            rounds += [lab.measure(server, load) for server in up]
        names = [server.name for server in up]
        for name, reason in lab.left_out.items():
            _say(f"{name}: {reason}")
    base = median_of(rounds, UNBOUND.name, "cpu_us")
    for name in names:
        cpu = median_of(rounds, name, "cpu_us")
        _say(
            f"{name:28} {cpu:6.1f} us a miss, {cpu / base:5.2f} of unbound over UDP, "
            f"{median_of(rounds, name, 'upstream_us'):6.1f} us in the upstream, "
            f"lost {sum(values_of(rounds, name, 'lost')):.0f}"
        )
    if wanted.results:
        text = json.dumps(rounds, indent=1)
        wanted.results.write_text(f"{text}\n", encoding="utf-8")
    return os.EX_OK


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())

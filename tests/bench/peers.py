"""The programs that are measured, and the config that each is given.

All forward to one upstream, have a cache that nothing here fills up, and serve with one
thread or worker. Apart from that they run with the defaults of their authors.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.server import HOST, ROOT, free_port

#: More than all rounds together ask for, so that no cache begins to evict.
CACHE_ENTRIES: Final = 1_000_000

#: Makes a response of 100 octets to a qname of 24: 12 + 24 + 4 + 12 + 1 + 47.
_FILLER: Final = "m" * 47

#: Networks of clients: of lo, and of `tests/bench/wires.py`.
_CLIENTS: Final = '"127.0.0.0/8", "10.80.0.0/24"'

#: Where the upstream answers, the first one first.
UPSTREAM_HOSTS: Final = (HOST, *(f"127.0.0.{number}" for number in range(2, 17)))

_ZONE: Final = (
    "$TTL 1h\n@ SOA ns1 hostmaster 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\n"
)

#: Returns the command, having written what it needs into the directory.
Configure = Callable[[Path, int, int], Sequence[str]]


@dataclass(frozen=True)
class Peer:
    """A program that can be started: *configure* takes directory, port, upstream."""

    name: str
    program: str
    remedy: str
    version_command: Sequence[str]
    configure: Configure
    #: The address that it serves.
    host: str = HOST

    def is_installed(self) -> bool:
        return shutil.which(self.program) is not None

    def version(self) -> str:
        """Return what the program says of itself, in one line."""
        said = subprocess.run(
            self.version_command,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd=ROOT,
        )
        lines = (said.stdout + said.stderr).strip().splitlines()
        return lines[0] if lines else "unknown"


def dnsfront(
    command: Sequence[str],
    directory: Path,
    port: int,
    upstream_port: int,
    *,
    more_cache: str = ", max_size: 1GiB",
    workers: int = 1,
    entries: int = CACHE_ENTRIES,
    kernel_mode: str | None = "off",
    host: str = HOST,
    upstreams: int = 1,
    zones: int = 0,
    networks: int = 0,
) -> Sequence[str]:
    """Write the config of a front end; without *kernel_mode* its default stays."""
    kernel = f"kernel_cache: {{mode: {kernel_mode}}}\n" if kernel_mode else ""
    servers = ", ".join(
        f'{{address: "{address}:{upstream_port}"}}'
        for address in UPSTREAM_HOSTS[:upstreams]
    )
    (directory / "zone").write_text(_ZONE)
    origins = ", ".join(f"{{origin: z{n}.test, file: zone}}" for n in range(zones))
    config = directory / "dnsfront.yaml"
    config.write_text(f"""\
listen: ["{host}:{port}"]
access: {{allow: [{_CLIENTS}{_more(networks)}]}}
ring: {{seed: bench, workers: {workers}}}
upstreams: {{servers: [{servers}]}}
cache: {{max_entries: {entries}{more_cache}}}
{kernel}admin: {{listen: "{HOST}:{free_port()}", socket: {directory}/control.sock}}
zones: [{origins}]
""")
    return [*command, "run", "-c", str(config)]


def _more(networks: int) -> str:
    """Return so many networks of clients, in quotes, no two of them side by side."""
    return "".join(f', "100.{n >> 8}.{n & 255}.0/25"' for n in range(networks))


def _dnsdist(
    directory: Path,
    port: int,
    upstream_port: int,
    *,
    host: str = HOST,
    upstreams: int = 1,
    networks: int = 0,
) -> Sequence[str]:
    servers = "\n".join(
        f'newServer({{address="{address}:{upstream_port}", checkName="health.bench."}})'
        for address in UPSTREAM_HOSTS[:upstreams]
    )
    config = directory / "dnsdist.conf"
    config.write_text(f"""\
setLocal("{host}:{port}")
{servers}
getPool(""):setCache(newPacketCache({CACHE_ENTRIES}))
setACL({{{_CLIENTS}{_more(networks)}}})
setSecurityPollSuffix("")
""")
    return ["dnsdist", "--supervised", "--disable-syslog", "-C", str(config)]


def _unbound_common(directory: Path, port: int) -> str:
    return f"""\
server:
  directory: "{directory}"
  interface: {HOST}@{port}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  module-config: "iterator"
remote-control:
  control-enable: no
"""


def _unbound(directory: Path, port: int, upstream_port: int) -> Sequence[str]:
    config = directory / "unbound.conf"
    config.write_text(f"""{_unbound_common(directory, port)}
server:
  do-not-query-localhost: no
  msg-cache-size: 512m
  rrset-cache-size: 1g
forward-zone:
  name: "."
  forward-addr: {HOST}@{upstream_port}
""")
    return ["unbound", "-d", "-c", str(config)]


def _upstream(
    directory: Path, port: int, _upstream_port: int, *, buffer: str = "4m"
) -> Sequence[str]:
    """Answer every name below `bench.` with an A, below `fills.` with a TXT."""
    config = directory / "upstream.conf"
    others = "\n".join(f"  interface: {host}@{port}" for host in UPSTREAM_HOSTS[1:])
    config.write_text(f"""{_unbound_common(directory, port)}
server:
{others}
  so-rcvbuf: {buffer}
  local-zone: "bench." redirect
  local-data: "bench. 86400 IN A 192.0.2.1"
  local-zone: "fills." redirect
  local-data: 'fills. 86400 IN TXT "{_FILLER}"'
""")
    return ["unbound", "-d", "-c", str(config)]


def _kresd(directory: Path, port: int, upstream_port: int) -> Sequence[str]:
    config = directory / "kresd.conf"
    config.write_text(f"""\
net.listen('{HOST}', {port}, {{ kind = 'dns' }})
trust_anchors.remove('.')
cache.size = 500 * MB
policy.add(policy.all(policy.FORWARD('{HOST}@{upstream_port}')))
""")
    return ["kresd", "-n", "-c", str(config), str(directory)]


def _recursor(directory: Path, port: int, upstream_port: int) -> Sequence[str]:
    (directory / "recursor.conf").write_text(f"""\
local-address={HOST}
local-port={port}
forward-zones-recurse=.={HOST}:{upstream_port}
threads=1
pdns-distributes-queries=no
max-cache-entries={CACHE_ENTRIES}
max-packetcache-entries={CACHE_ENTRIES}
dnssec=off
allow-from=127.0.0.0/8
query-local-address={HOST}
dont-query=
daemon=no
quiet=yes
setuid=
setgid=
security-poll-suffix=
""")
    return ["pdns_recursor", f"--config-dir={directory}", f"--socket-dir={directory}"]


#: The checkout as it is, and the wheel that `make compiled` installs.
_CHECKOUT: Final = [sys.executable, "-m", "dnsfront"]
_WHEEL: Final = ROOT / ".venv-compiled"
_INSTALLED: Final = str(_WHEEL / "bin" / "dnsfront")

DNSFRONT: Final = Peer(
    "dnsfront",
    sys.executable,
    "run `make setup`",
    [*_CHECKOUT, "--version"],
    partial(dnsfront, _CHECKOUT),
)
COMPILED: Final = Peer(
    "dnsfront compiled",
    _INSTALLED,
    "run `make compiled` to measure it",
    [_INSTALLED, "--version"],
    partial(dnsfront, [_INSTALLED]),
)
UPSTREAM: Final = Peer(
    "upstream",
    "unbound",
    "all programs forward to it: run `make setup-bench`",
    ["unbound", "-V"],
    _upstream,
)
#: With the receive buffer that it has unless told otherwise: the system's.
PLAIN_UPSTREAM: Final = replace(UPSTREAM, configure=partial(_upstream, buffer="0"))
DNSDIST: Final = Peer(
    "dnsdist",
    "dnsdist",
    "run `make setup-bench` to measure it",
    ["dnsdist", "-V"],
    _dnsdist,
)
UNBOUND: Final = Peer(
    "unbound",
    "unbound",
    "run `make setup-bench` to measure it",
    ["unbound", "-V"],
    _unbound,
)
KRESD: Final = Peer(
    "kresd",
    "kresd",
    "install Debian's knot-resolver to measure it",
    ["kresd", "-V"],
    _kresd,
)
RECURSOR: Final = Peer(
    "recursor",
    "pdns_recursor",
    "install Debian's pdns-recursor to measure it",
    ["pdns_recursor", "--version"],
    _recursor,
)

#: Both forms of the front end.
FORMS: Final = (DNSFRONT, COMPILED)
#: The order of a round: whom we compare with first stands next to us.
MEASURED: Final = (DNSDIST, DNSFRONT, COMPILED, UNBOUND, KRESD, RECURSOR)


def with_workers(peer: Peer, workers: int) -> Peer:
    """Return a form of the front end with so many *workers*."""
    return replace(peer, configure=partial(peer.configure, workers=workers))


def with_upstreams(peer: Peer, upstreams: int) -> Peer:
    """Return dnsdist, or a form of the front end, with so many *upstreams*."""
    return replace(peer, configure=partial(peer.configure, upstreams=upstreams))


def with_zones(peer: Peer, zones: int) -> Peer:
    """Return a form of the front end with so many local *zones*."""
    return replace(peer, configure=partial(peer.configure, zones=zones))


def with_networks(peer: Peer, networks: int) -> Peer:
    """Return dnsdist, or a form of the front end, serving so many *networks* more."""
    return replace(peer, configure=partial(peer.configure, networks=networks))


def with_cache(peer: Peer, entries: int) -> Peer:
    """Return a form of the front end with room for so many *entries* a worker."""
    return replace(peer, configure=partial(peer.configure, entries=entries))


def at(peer: Peer, host: str) -> Peer:
    """Return dnsdist, or a form of the front end, serving another address."""
    return replace(peer, host=host, configure=partial(peer.configure, host=host))


def with_kernel_answers(peer: Peer, mode: str = "auto") -> Peer:
    """Return a form of the front end for which the kernel answers where it can."""
    return replace(peer, configure=partial(peer.configure, kernel_mode=mode))


def doubts() -> Iterator[str]:
    """Yield a sentence for each form of dnsfront that is not what its name says."""
    if any((ROOT / "dnsfront").rglob("*.so")):
        yield "dnsfront: compiled modules lie in the checkout, so it is not pure Python"
    check = [str(ROOT / "deploy/compile.sh"), "--check"]
    if COMPILED.is_installed() and subprocess.run(check, check=False).returncode:
        yield "dnsfront compiled: sources have changed since; run `make compiled`"

"""Ways that queries take to a server: over lo, and over a cable from other clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from dnsfront.kernel.hook import HookMode
from tests.bench.server import HOST
from tests.namespaces import OtherNetwork, ip, private_network

_OURS: Final = "bench-ours"
_THEIRS: Final = "bench-theirs"
_OUR_ADDRESS: Final = "10.80.0.1"
_THEIR_ADDRESS: Final = "10.80.0.2"


@dataclass(frozen=True)
class Wire:
    """Where a server listens, and the network that its clients are in."""

    name: str
    interface: str
    #: The interface at the clients' side.
    far_interface: str
    host: str
    #: Whether the interface's driver has XDP.
    has_xdp: bool
    #: What is started inside is in the network of the clients.
    clients: Callable[[], AbstractContextManager[None]]

    def hook_mode(self, mode: str) -> HookMode:
        """Return where programs stand for *mode*, `tc` or `xdp`."""
        if mode == "tc":
            return "tc"
        return "xdp" if self.has_xdp else "xdp_generic"


WIRES: Final = ("lo", "veth")


@contextmanager
def wires() -> Iterator[dict[str, Wire]]:
    """Give both for a ``with`` block; the network of the servers is ours."""
    with private_network(), OtherNetwork() as there:
        there.link(_OURS, _THEIRS)
        ip("address", "add", f"{_OUR_ADDRESS}/24", "dev", _OURS)
        with there.inside():
            ip("address", "add", f"{_THEIR_ADDRESS}/24", "dev", _THEIRS)
        yield {
            "lo": Wire("lo", "lo", "lo", HOST, has_xdp=False, clients=nullcontext),
            "veth": Wire(
                "veth",
                _OURS,
                _THEIRS,
                _OUR_ADDRESS,
                has_xdp=True,
                clients=there.inside,
            ),
        }

"""The floor that answers in the kernel are measured above: it sends queries back."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.bench.floor import far_end, floor
from tests.bench.wires import WIRES, Wire, wires
from tests.kern.queries import qname_of, query

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = query(qname_of("www.example.test"))


@pytest.fixture(scope="module")
def ways() -> Iterator[dict[str, Wire]]:
    with wires() as found:
        yield found


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize("name", WIRES)
def test_query_comes_back_as_a_response(
    ways: dict[str, Wire], name: str, mode: str
) -> None:
    wire = ways[name]
    with far_end(wire, mode), floor(wire, mode) as port:
        with wire.clients():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(10)
            client.connect((wire.host, port))
            client.send(QUERY)
            response = client.recv(4096)
    assert response == QUERY[:2] + bytes((QUERY[2] | 0x80,)) + QUERY[3:]

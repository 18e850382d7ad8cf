"""The zones that come from a primary, and the process that keeps them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from typing import Any, Final

from dnsfront.config.model import Config
from dnsfront.config.sections.zones import Zone
from dnsfront.ipc import memory
from dnsfront.supervisor.host import spawning

_LOG = logging.getLogger(__name__)

_KEEPER: Final = "dnsfront.supervisor.zones.keeper"
_MAX_PACKET_OCTETS: Final = 1 << 16
#: What the orders of all zones together take at most.
_BUFFER_OCTETS: Final = 1 << 20
_AGAIN_S: Final = 5.0


class Secondaries:
    """Has a process keep those zones of the config that have a primary."""

    def __init__(self) -> None:
        self._orders: list[dict[str, Any]] = []
        self._told: dict[str, dict[str, Any]] = {}
        self._process: spawning.Process | None = None
        self._channel: socket.socket | None = None
        self._output_fd = -1
        self._again: asyncio.TimerHandle | None = None

    def apply(self, config: Config) -> None:
        """Have the zones of *config* kept from now on, and no others."""
        orders = [_order(zone) for zone in config.zones if zone.primary is not None]
        if orders == self._orders:
            return
        self._orders = orders
        origins = {order["origin"] for order in orders}
        self._told = {k: v for k, v in self._told.items() if k in origins}
        if not orders:
            self.close()
        elif self._channel is None:
            self._start()
        else:
            self._send()

    def report(self) -> list[dict[str, Any]]:
        """Return what is known of each zone: state, serial, and what is wrong."""
        unknown = {"state": "waiting", "serial": None, "reason": ""}
        return [
            {"origin": order["origin"], "primary": f"{order['host']}:{order['port']}"}
            | {**unknown, **self._told.get(order["origin"], {})}
            for order in self._orders
        ]

    def close(self) -> None:
        """End the process."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            os.close(self._output_fd)

    def _start(self) -> None:
        self._again = None
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_OCTETS)
        channel.settimeout(0)
        self._output_fd = memory.output("dnsfront-keeper-output")
        with theirs:
            try:
                self._process = spawning.run(
                    _KEEPER, "keep", theirs.fileno(), self._output_fd
                )
            except OSError as exc:
                channel.close()
                os.close(self._output_fd)
                self._try_again(f"no process: {exc.strerror}")
                return
        self._channel = channel
        asyncio.get_running_loop().add_reader(channel, self._receive)
        self._send()

    def _send(self) -> None:
        assert self._channel is not None, "it was started"
        try:
            self._channel.send(json.dumps(self._orders).encode())
        except OSError as exc:
            self._try_again(exc.strerror or "it takes no orders")

    def _receive(self) -> None:
        channel = self._channel
        while channel is not None:
            try:
                octets = channel.recv(_MAX_PACKET_OCTETS)
            except BlockingIOError:
                return
            except OSError:
                octets = b""
            if not octets:
                self._try_again(memory.last_line(self._output_fd))
                return
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._note(json.loads(octets))

    def _note(self, told: dict[str, Any]) -> None:
        """Remember what became of a zone; log what is new about that."""
        origin = told["origin"]
        before = self._told.get(origin, {})
        self._told[origin] = told
        what = (told["state"], told["reason"])
        if what != (before.get("state"), before.get("reason")):
            level = logging.INFO if told["state"] == "fresh" else logging.WARNING
            _LOG.log(
                level, "zone_refreshed origin=%s state=%s serial=%s reason=%s",
                origin, told["state"], told["serial"], told["reason"] or "none",
            )  # fmt: skip
        elif told["serial"] != before.get("serial"):
            _LOG.info("zone_transferred origin=%s serial=%s", origin, told["serial"])

    def _try_again(self, reason: str) -> None:
        _LOG.warning("zone_keeper_ended reason=%s", reason)
        self.close()
        loop = asyncio.get_running_loop()
        self._again = loop.call_later(_AGAIN_S, self._start)


def _order(zone: Zone) -> dict[str, Any]:
    primary = zone.primary
    assert primary is not None, "those alone are asked for"
    key = primary.key
    return {
        "origin": zone.origin,
        "path": str(zone.path),
        "host": primary.address.host,
        "port": primary.address.port,
        "key": None if key is None else (key.name, key.algorithm, key.secret_text),
    }

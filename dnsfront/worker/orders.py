"""What the supervisor orders, over the control channel (`ipc/channel.py`)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING, Final

from dnsfront import logs
from dnsfront.dns import wire
from dnsfront.dns.cache import is_under
from dnsfront.dns.chain import follow, may_lead_on
from dnsfront.dns.entry import ODD_ZONE, Entry
from dnsfront.dns.zones.records import ancestors
from dnsfront.errors import DnsfrontError
from dnsfront.ipc import channel, memory
from dnsfront.ipc.spec import Listener, WorkerSpec
from dnsfront.worker.peers.handover import Receivers
from dnsfront.worker.peers.ownership import first_owner
from dnsfront.worker.peers.transfer import Progress, transfer

if TYPE_CHECKING:
    from dnsfront.worker.loop import Worker

_log = logging.getLogger(__name__)

_NS: Final = 1_000_000_000
#: How often a listener that leaves is looked at.
_LOOK_EVERY_S: Final = 0.01
_MAX_REASON: Final = 1000

_Handler = Callable[[channel.Message, list[int]], None]
#: What was ordered, and the pieces of it that are left.
_Job = tuple[channel.Message, Generator[None, None, None]]


class Orders:
    """Carries out what arrives, at once or, through :meth:`go_on`, a piece a round."""

    def __init__(self, worker: Worker, control: socket.socket) -> None:
        control.setblocking(False)  # noqa: FBT003 - its signature
        self._worker = worker
        self._control = control
        self._transfer: Generator[Progress, None, int] | None = None
        #: What is answered when the transfer is over, and when all have left.
        self._move: channel.Message = {}
        self._leaves: list[channel.Message] = []
        self._receivers: Receivers | None = None
        self._move_until_ns = 0
        self._leave_until_ns = 0
        # Work that is done a piece a round, and tells of its end by itself.
        self._jobs: list[_Job] = []
        #: Whether :meth:`go_on` has something to do, looked at in every round.
        self.is_under_way = False
        self._handlers: dict[str, _Handler] = {
            "peers": self._on_peers,
            "table": self._on_table,
            "move": self._on_move,
            "settle": self._on_settle,
            "images": self._on_images,
            "configure": self._on_configure,
            "listen": self._on_listen,
            "unlisten": self._on_unlisten,
            "close": self._on_close,
            "flush": self._on_flush,
            "pause": self._on_pause,
            "resume": self._on_resume,
            "drain": self._on_drain,
            "ping": self._on_ping,
        }

    def fileno(self) -> int:
        """Return the descriptor of the channel, for the reactor."""
        return self._control.fileno()

    def tell(self, message: channel.Message) -> None:
        """Send *message* to the supervisor, if it is still there."""
        try:
            channel.send(self._control, message)
        except OSError as exc:
            _log.warning("control_send_failed op=%s error=%s", message["op"], exc)

    def ready(self, _event: int) -> None:
        """Carry out what arrived."""
        try:
            received = channel.receive(self._control)
        except BlockingIOError:
            return
        except ConnectionError:
            received = None
        except channel.CutMessageError as exc:
            self._fail(exc.message, exc)
            raise
        if received is None:
            # The supervisor is gone, and with it whoever could respawn this worker.
            self._worker.reactor.stop()
            return
        message, fds = received
        try:
            self._handlers[message["op"]](message, fds)
        except Exception as exc:
            self._fail(message, exc)
            raise
        self._note()

    def _fail(self, request: channel.Message, exc: Exception) -> None:
        """Have this worker replaced: nobody knows what of the order was done."""
        self._reply(request, "failed", reason=repr(exc)[:_MAX_REASON])

    def _reply(self, request: channel.Message, op: str, **fields: object) -> None:
        number = {"id": request["id"]} if "id" in request else {}
        self.tell({"op": op, **number, **fields})

    @property
    def wait_s(self) -> float | None:
        """How long the next piece of work may wait; None if there is none."""
        if self._transfer is not None or self._jobs:
            return 0
        return _LOOK_EVERY_S if self._leave_until_ns else None

    def go_on(self) -> None:
        """Do a piece more of what takes several rounds."""
        if self._transfer is not None:
            self._move_on(self._transfer)
        if self._leave_until_ns:
            self._leave_on()
        for job in tuple(self._jobs):
            self._do_a_piece(job)
        self._note()

    def _do_a_piece(self, job: _Job) -> None:
        message, pieces = job
        try:
            next(pieces)
        except StopIteration:
            self._jobs.remove(job)
        except Exception as exc:  # noqa: BLE001 - whoever waits for its end is told
            self._jobs.remove(job)
            self._worker.answering.caught("order")
            self._fail(message, exc)

    def _note(self) -> None:
        self.is_under_way = (
            self._transfer is not None or self._leave_until_ns > 0 or bool(self._jobs)
        )

    # -- who is there, and who owns what

    def _on_peers(self, message: channel.Message, fds: list[int]) -> None:
        worker = self._worker
        sockets = [socket.socket(fileno=fd) for fd in fds]
        known = dict(zip(message["ids"], sockets, strict=True))
        worker.peers.replace(known)
        worker.serve()

    def _on_table(self, message: channel.Message, fds: list[int]) -> None:
        [table_fd] = fds
        self._worker.ownership.publish(table_fd, message["slots"])
        os.close(table_fd)

    def _on_move(self, message: channel.Message, fds: list[int]) -> None:
        """Begin to send entries to the next owners of their names; see `_move_on`."""
        if self._transfer is not None:
            self._end_move(0)
        table_fd, *other_fds = fds
        table = memory.content(table_fd)
        os.close(table_fd)
        worker = self._worker
        answering = worker.answering
        worker.show_move(0, 0)
        self._move_until_ns = answering.now_ns + round(message["within_s"] * _NS)
        self._move = message
        begin = partial(transfer, worker.cache.entries(), now_s=answering.now_s)
        if "ids" not in message:
            self._transfer = begin(
                owner=partial(worker.ownership.owner_under, table),
                own_id=worker.spec.worker_id,
                send=worker.peers.pass_entries,
            )
            return
        receivers = Receivers(message["ids"], other_fds)
        key = bytes.fromhex(message["hash_key_hex"])
        self._receivers = receivers
        self._transfer = begin(
            owner=lambda name: first_owner(table, name, key, receivers.__contains__),
            own_id=0,
            send=receivers.send,
        )

    def _move_on(self, move: Generator[Progress, None, int]) -> None:
        """Send a piece more; past its time the rest stays, and arrives cold."""
        entries = 0
        try:
            if self._worker.answering.now_ns < self._move_until_ns:
                self._worker.show_move(*next(move))
                return
        except StopIteration as end:
            entries = end.value
            self._worker.show_move(entries, entries)
        except Exception:  # noqa: BLE001 - a colder cache there, and no worker lost here
            self._worker.answering.caught("move")
        self._end_move(entries)

    def _end_move(self, entries: int) -> None:
        self._transfer = None
        if self._receivers is not None:
            self._receivers.close()
            self._receivers = None
        self._reply(self._move, "moved", entries=entries)

    def _on_settle(self, message: channel.Message, _fds: list[int]) -> None:
        """Take what was handed over so far."""
        self._worker.settle_hand_over()
        self._reply(message, "settled")

    # -- the config

    def _on_images(self, message: channel.Message, fds: list[int]) -> None:
        """Map what the next spec names."""
        self._worker.images.take(message["packs"], fds)

    def _on_configure(self, message: channel.Message, fds: list[int]) -> None:
        [spec_fd] = fds
        spec = WorkerSpec.from_json(memory.content(spec_fd))
        os.close(spec_fd)
        worker = self._worker
        try:
            zones = worker.images.zones(spec.zones)
        except DnsfrontError as exc:
            worker.images.keep(worker.spec.zones)
            self._reply(message, "refused", reason=str(exc)[:_MAX_REASON])
            return
        before, worker.spec = worker.spec, spec
        logs.set_level(spec.log_level)
        worker.resize_cache()
        worker.limit_clients(before)
        worker.identify()
        if _upstreams(spec) != _upstreams(before):
            worker.open_upstreams()
            worker.answering.forget_failures()
        # Without upstreams a zone says of its origin what is its parent's to say.
        is_alone = not spec.upstream_servers
        is_change = spec.zones != before.zones or is_alone == bool(
            before.upstream_servers
        )
        if is_change:
            worker.answering.zones = zones
            worker.images.keep(spec.zones)
        self._jobs.append(
            (message, self._put_in_force(message, before, spec, is_change=is_change))
        )

    def _put_in_force(
        self,
        message: channel.Message,
        before: WorkerSpec,
        after: WorkerSpec,
        *,
        is_change: bool,
    ) -> Generator[None, None, None]:
        """Bring what is cached into line with the spec *after*, a piece a round."""
        worker = self._worker
        if is_change:
            # From now on no response of an upstream gets in; those that did go.
            for resolver in worker.resolvers():
                worker.answering.reclaim(resolver)
            origins = {
                wire.qname_from_text(zone.origin)
                for zone in (*before.zones, *after.zones)
            }
            yield from worker.cache.flushing(
                lambda entry: self._is_outdated(entry, origins)
            )
        if after.cache_max_ttl_s < before.cache_max_ttl_s:
            yield from worker.cache.shortening(worker.answering.now_s)
        self._reply(message, "configured")

    def _is_outdated(self, entry: Entry, origins: AbstractSet[bytes]) -> bool:
        """Return whether zones below *origins*, of now or before, have a say in it."""
        is_local = self._worker.cache.is_local
        if entry.odd & ODD_ZONE or (
            is_local is not None and is_local(entry.key[:-4] + entry.tail)
        ):
            return True
        if not origins or not may_lead_on(entry.body):
            return False
        chain = follow(entry.to_message(), wire.HEADER_OCTETS + len(entry.key))
        return any(not origins.isdisjoint(ancestors(name)) for name in chain.names[1:])

    def _on_flush(self, message: channel.Message, _fds: list[int]) -> None:
        self._jobs.append((message, self._flush(message)))

    def _flush(self, message: channel.Message) -> Generator[None, None, None]:
        """Forget what *message* names, a piece a round, and tell how much it was."""
        is_wanted: Callable[[bytes], bool] = lambda _qname: True  # noqa: E731
        if "qname" in message:
            is_wanted = wire.qname_from_text(message["qname"]).__eq__
        elif "zone" in message:
            is_wanted = partial(is_under, origin=wire.qname_from_text(message["zone"]))
        entries = yield from self._worker.cache.flushing(
            lambda entry: is_wanted(entry.key[:-4])
        )
        self._worker.answering.forget_failures()
        self._reply(message, "flushed", entries=entries)

    # -- the listening sockets

    def _on_listen(self, message: channel.Message, fds: list[int]) -> None:
        """Know more listeners; they are read from the next `peers` on."""
        listeners = [Listener(**fields) for fields in message["listeners"]]
        self._worker.listening.add(listeners, fds)
        self._reply(message, "listening")

    def _on_unlisten(self, message: channel.Message, _fds: list[int]) -> None:
        """Begin to leave listeners; see `_leave_on`."""
        worker = self._worker
        self._leave_until_ns = worker.answering.now_ns + round(
            message["within_s"] * _NS
        )
        self._leaves.append(message)
        worker.listening.leave(message["numbers"])

    def _leave_on(self) -> None:
        """Tell when nobody waits at the listeners that leave, or the time is over."""
        worker = self._worker
        if (
            worker.listening.has_left(worker.resolvers())
            or worker.answering.now_ns >= self._leave_until_ns
        ):
            self._leave_until_ns = 0
            for message in self._leaves:
                self._reply(message, "unlistened")
            self._leaves.clear()

    def _on_close(self, message: channel.Message, _fds: list[int]) -> None:
        """Close the listeners that all workers have left."""
        worker = self._worker
        worker.settle_hand_over()
        worker.listening.flush_udp()
        worker.listening.close()
        self._reply(message, "closed")

    def _on_pause(self, message: channel.Message, _fds: list[int]) -> None:
        """Leave what arrives to whoever reads the same sockets."""
        self._worker.listening.unwatch()
        self._reply(message, "paused")

    def _on_resume(self, _message: channel.Message, _fds: list[int]) -> None:
        self._worker.listening.watch()

    def _on_drain(self, message: channel.Message, _fds: list[int]) -> None:
        self._worker.drain(message["kept"])

    def _on_ping(self, message: channel.Message, _fds: list[int]) -> None:
        self._reply(message, "pong")


def _upstreams(spec: WorkerSpec) -> tuple[object, ...]:
    return (
        spec.upstream_policy,
        spec.upstream_timeout_s,
        spec.upstream_servers,
        spec.edns_udp_size,
    )

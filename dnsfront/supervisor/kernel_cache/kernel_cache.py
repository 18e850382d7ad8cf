"""The answers that the kernel gives: switched, sized and placed as the config wants.

Whatever lacks, names are answered by workers as ever: that is told in one sentence, in
the log and in `status`. Until :meth:`KernelCache.open` nothing is attached, so that a
successor leaves the hooks to its predecessor for as long as that one serves.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from dnsfront.config.model import Config
from dnsfront.errors import DnsfrontError, PrivilegeError
from dnsfront.ipc.messages import CloseBook, KeepBook
from dnsfront.ipc.packets import Descriptor
from dnsfront.ipc.spec import Listener
from dnsfront.kernel.answers import Hits, KernelAnswers
from dnsfront.kernel.book import BookSize, book_size, room_octets_for, tag_of
from dnsfront.kernel.steering import BpfSteering, Steering
from dnsfront.ring.qhash import qname_digest
from dnsfront.supervisor.host import interfaces, packet_filter
from dnsfront.supervisor.host.netlink import ChangeNotice
from dnsfront.supervisor.host.routes import routes
from dnsfront.supervisor.kernel_cache.hooks import Hooks
from dnsfront.supervisor.kernel_cache.sites import endpoints, sites

_LOG = logging.getLogger(__name__)

_CLASS_IN: Final = 1
#: What people look a name up for.
_TYPES: Final = {
    "A": 1, "AAAA": 28, "HTTPS": 65, "SVCB": 64, "CNAME": 5, "MX": 15, "TXT": 16,
    "NS": 2, "SOA": 6, "PTR": 12, "SRV": 33, "DS": 43, "DNSKEY": 48, "CAA": 257,
}  # fmt: skip
#: Without CD: with and without RD, and DO.
_VIEWS: Final = (0, 1, 4, 5)
#: Changes of addresses come in bursts; the last one counts.
_SETTLE_S: Final = 0.2
#: What the kernel refused for a passing reason is tried again.
_LOOK_AGAIN_S: Final = 5.0


class KernelCache:
    """The kernel cache of one front end, switched off until :meth:`apply`."""

    def __init__(self, steering: Steering, *, hash_key: bytes, slots: int) -> None:
        self._steering = steering
        self._hash_key = hash_key
        self._slots = slots
        self._config: Config | None = None
        self._listeners: tuple[Listener, ...] = ()
        self._answers: KernelAnswers | None = None
        self._size = BookSize(1, 0)
        self._hooks = Hooks(self._look_at_host)
        self._reason: str | None = None
        self._is_paused = False
        self._notices: list[ChangeNotice] = []
        self._timer: asyncio.TimerHandle | None = None
        #: Hits of programs that are gone.
        self._carried = Hits()
        self._carried_passed: collections.Counter[str] = collections.Counter()
        #: Hits of the present programs that were for workers who are gone.
        self._old_hits = Hits()
        #: Called when every worker is to get another book, or none.
        self.on_new_books: Callable[[], None] = _ignore

    # -- what the config wants

    def apply(self, config: Config, listeners: Iterable[Listener]) -> None:
        """Answer as *config* wants from now on, at *listeners*.

        What is no longer to be answered, or not to everybody any more, is not when this
        returns. Hooks that are new are attached soon after. It raises nothing.
        """
        self._config, self._listeners = config, tuple(listeners)
        try:
            self._apply(config)
        except (DnsfrontError, OSError) as exc:
            self._give_up(str(exc))

    def _apply(self, config: Config) -> None:
        wanted = config.kernel_cache
        if wanted.mode == "off":
            self._reason = None
            self._end()
            return
        steering = self._steering
        if not isinstance(steering, BpfSteering):
            self._give_up("names are steered in user space")
            return
        size = book_size(
            max_size_octets=wanted.max_size_octets,
            max_answer_octets=wanted.max_answer_octets,
            workers=len(config.ring.workers),
        )
        room_octets = room_octets_for(wanted.max_answer_octets)
        if self._answers is None or self._size.room_octets != room_octets:
            self._end()
            self._answers = KernelAnswers(
                slots=self._slots,
                hash_key=self._hash_key,
                tables_fd=steering.tables_fd,
                live_fd=steering.kernel_live_fd,
                room_octets=room_octets,
            )
        self._is_paused, self._reason = False, None
        is_new, self._size = size != self._size, size
        # Before anything else: what is narrower is narrower at once.
        self._answers.set_clients(config.access.allow)
        self._answers.configure(is_on=True, udp_size=config.edns.udp_size)
        self._watch_host()
        self._look_at_host()
        if is_new:
            self.on_new_books()

    def _give_up(self, reason: str) -> None:
        """Answer nothing, and tell why."""
        self._tell(reason)
        self._end()

    def _tell(self, reason: str) -> None:
        """Log why nothing is answered, as a warning to who asked for it by name."""
        if reason != self._reason:
            level = logging.INFO if self.mode == "auto" else logging.WARNING
            _LOG.log(level, "kernel_cache_off reason=%s", reason)
        self._reason = reason

    # -- books

    def new_book(self, worker_id: int) -> KeepBook | CloseBook:
        """Return the order that gives a worker an empty book, or none.

        What the kernel answered in its name it answers no longer.
        """
        if self._answers is None:
            return CloseBook()
        size = self._size
        try:
            fds = self._answers.add_book(worker_id, size)
        except DnsfrontError as exc:
            _LOG.warning("kernel_cache_no_book worker_id=%d reason=%s", worker_id, exc)
            return CloseBook()
        return KeepBook(
            size.sets_octets, size.answers_octets, *(Descriptor(fd) for fd in fds)
        )

    def forget(self, worker_id: int) -> collections.Counter[int]:
        """Answer no more for a worker that is gone for good; return its hits, by kind.

        The next one with its worker_id begins at 0.
        """
        hits = self.hits()[worker_id]
        for key in [key for key in self._carried if key[0] == worker_id]:
            del self._carried[key]
        if self._answers is not None:
            now = self._answers.hits()
            for key in [key for key in now if key[0] == worker_id]:
                self._old_hits[key] = now[key]
            self._answers.remove_book(worker_id)
        return hits

    # -- the host

    def open(self) -> None:
        """Attach where the config wants it, from now on."""
        self._hooks.open()

    def suspend(self) -> None:
        """Attach nowhere until :meth:`open`: somebody else may be about to."""
        self._hooks.suspend()

    def _watch_host(self) -> None:
        if self._notices:
            return
        loop = asyncio.get_running_loop()
        for kind in (interfaces.CHANGES, packet_filter.CHANGES):
            try:
                notice = ChangeNotice(*kind)
            except OSError as exc:
                # Who may not be told may not attach either, which says more.
                _LOG.debug("no_change_notice kind=%s reason=%s", kind, exc)
                continue
            self._notices.append(notice)
            loop.add_reader(notice.fileno(), self._on_notice, notice)

    def _on_notice(self, notice: ChangeNotice) -> None:
        notice.clear()
        self._look_within(_SETTLE_S)

    def _look_within(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            delay_s = min(delay_s, max(0, self._timer.when() - loop.time()))
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._on_settled)

    def _on_settled(self) -> None:
        self._timer = None
        self._look_at_host()

    def _look_at_host(self) -> None:
        """Answer at the addresses that the host has now, where it lets us."""
        config, answers = self._config, self._answers
        if answers is None or config is None:
            return
        wanted = config.kernel_cache
        try:
            host = interfaces.interfaces()
            served = endpoints(self._listeners, host)
            answers.set_routes(routes())
            answers.set_addresses(served)
            filters = packet_filter.filters() if wanted.mode == "auto" else ()
            chosen = sites(wanted.mode, wanted.interfaces, served, host, filters)
            self._hooks.place(answers, chosen, host)
        except PrivilegeError as exc:
            self._give_up(str(exc))  # nobody gets a right that he was started without
            return
        except DnsfrontError as exc:
            self._pause(answers, config, str(exc))
            return
        except OSError as exc:
            self._pause(answers, config, f"look at this host: {exc.strerror}")
            return
        if self._is_paused:
            self._is_paused, self._reason = False, None
            answers.configure(is_on=True, udp_size=config.edns.udp_size)
            _LOG.info("kernel_cache_on")

    def _pause(self, answers: KernelAnswers, config: Config, reason: str) -> None:
        """Answer nothing until the host has been looked at with success."""
        answers.configure(is_on=False, udp_size=config.edns.udp_size)
        self._tell(reason)
        self._is_paused = True
        self._look_within(_LOOK_AGAIN_S)

    # -- what is told

    @property
    def is_on(self) -> bool:
        """Whether workers have books."""
        return self._answers is not None

    @property
    def mode(self) -> str:
        """What the config asks for."""
        return "off" if self._config is None else self._config.kernel_cache.mode

    def report(self) -> dict[str, Any]:
        """Return the part of `status --json` that is about this."""
        config = self._config
        return {
            "mode": self.mode,
            "reason": self._reason,
            "max_size_bytes": (
                0 if config is None else config.kernel_cache.max_size_octets
            ),
            "interfaces": self.interfaces(),
        }

    def interfaces(self) -> list[dict[str, Any]]:
        """Return where the kernel answers, or cannot, and why."""
        return self._hooks.report()

    def types_of(self, qname: bytes, worker_id: int) -> list[str]:
        """Return the types of a *qname* that the kernel answers for its owner now.

        *qname* is lower-case wire form with the root label. Only types that are often
        asked for are looked at, and queries without CD.
        """
        if self._answers is None:
            return []
        digest = qname_digest(qname[:-1], self._hash_key)
        tags = {
            (name, view): tag_of(digest, struct.pack("!HH", number, _CLASS_IN), view)
            for name, number in _TYPES.items()
            for view in _VIEWS
        }
        now_s = time.monotonic_ns() // 1_000_000_000
        given = self._answers.given(worker_id, tags.values(), now_s)
        found = [
            name for (name, _), is_given in zip(tags, given, strict=True) if is_given
        ]
        return list(dict.fromkeys(found))

    def hits(self) -> collections.defaultdict[int, collections.Counter[int]]:
        """Return how many responses the kernel gave, by worker_id and kind."""
        found: collections.defaultdict[int, collections.Counter[int]]
        found = collections.defaultdict(collections.Counter)
        for (worker_id, kind), count in self._all_hits().items():
            found[worker_id][kind] = count
        return found

    def _all_hits(self) -> Hits:
        now = Hits() if self._answers is None else self._answers.hits()
        return self._carried + (now - self._old_hits)

    def passed(self) -> dict[str, int]:
        """Return how many packets passed on, by the reason."""
        passed = collections.Counter(self._carried_passed)
        passed.update({} if self._answers is None else self._answers.passed())
        return passed

    # -- the end

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._notices:
            notice = self._notices.pop()
            asyncio.get_running_loop().remove_reader(notice.fileno())
            notice.close()
        self._carried = self._all_hits()
        self._carried_passed = collections.Counter(self.passed())
        self._old_hits.clear()
        answers, self._answers = self._answers, None
        if answers is not None:
            self._hooks.retire(answers)
            self._size = BookSize(1, 0)
            self.on_new_books()

    def close(self) -> None:
        """Detach everywhere and give everything up."""
        self.on_new_books = _ignore
        self._end()


def _ignore() -> None:
    """Tell nobody."""

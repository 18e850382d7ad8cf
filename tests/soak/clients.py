"""Clients: paced loads over UDP and TCP, which look at every response they get."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import dns.exception
import dns.message

from tests.soak import model
from tests.soak.jail import HOST, STRANGER, WORLD
from tests.soak.model import CUT, LATE, LOST, WRONG, Fault, Model, Question
from tests.system.front import Address

SERVICE: Final = Address(HOST, 5300)
#: How long a client waits: longer than a hang may last until it is mended.
PATIENCE_S: Final = 8.0
#: A response that takes longer than all tries of an upstream do is late.
_LATE_AFTER_S: Final = 4.0
_SO_RCVBUFFORCE: Final = 33
_END_WITHIN_S: Final = 2.0
_NAMES_OF_A_KIND: Final = 60
_RANDOM_NAMES: Final = 1 << 24

Report = Callable[[Question, Fault, float], None]


@dataclass
class Tally:
    """What one load saw."""

    sent: int = 0
    answered: int = 0
    lost: int = 0


def draw(rng: random.Random) -> tuple[str, str]:
    """Return a name and a type to ask for."""
    kind = rng.choices(("a", "zone", "alias", "nx", "nodata", "big", "new"), _SHARES)[0]
    number = rng.randrange(_NAMES_OF_A_KIND)
    if kind == "zone":
        label = rng.choice((f"n{number % 20}", "www", f"x{number}.wild"))
        return f"{label}.{rng.choice(model.ZONES)}", "A"
    if kind == "new":
        return f"r{rng.randrange(_RANDOM_NAMES)}.{model.UPSTREAM_SUFFIX}", "A"
    rdtype = {"big": "TXT", "nodata": "AAAA"}.get(kind, "A")
    return f"{kind}{number}.{model.UPSTREAM_SUFFIX}", rdtype


_SHARES: Final = (40, 35, 5, 4, 4, 4, 8)


class Clients:
    """The loads of a run, which tell each fault to *report*.

    *now* is the time in seconds since the run began.
    """

    def __init__(
        self, rules: Model, now: Callable[[], float], report: Report, seed: int
    ) -> None:
        self._rules, self._now, self._report = rules, now, report
        self._is_over = threading.Event()
        self._may_ask = threading.Event()
        self._idle = [threading.Event() for _ in range(3)]
        self.udp, self.tcp = Tally(), Tally()
        self.per_second = 150
        #: The longest that a response from a zone took since somebody set this to 0.
        self.longest_s = 0.0
        self.rcodes: Counter[int] = Counter()
        rngs = [random.Random(f"{seed} {number}") for number in range(3)]
        self._threads = [
            threading.Thread(target=loop, args=arguments, daemon=True)
            for loop, arguments in (
                (self._udp_loop, (rngs[0], WORLD, self._idle[0])),
                (self._udp_loop, (rngs[1], STRANGER, self._idle[1])),
                (self._tcp_loop, (rngs[2], self._idle[2])),
            )
        ]
        for thread in self._threads:
            thread.start()

    def resume(self) -> None:
        """Ask from now on."""
        for idle in self._idle:
            idle.clear()
        self._may_ask.set()

    def pause(self) -> None:
        """Ask no more, and wait until every question has its answer or is lost."""
        self._may_ask.clear()
        for idle in self._idle:
            idle.wait()

    def close(self) -> None:
        """Stop for good."""
        self._is_over.set()
        self._may_ask.set()
        for thread in self._threads:
            thread.join(_END_WITHIN_S)

    # -- UDP

    def _udp_loop(self, rng: random.Random, host: str, idle: threading.Event) -> None:
        is_stranger = host == STRANGER
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
            sock.bind((host, 0))
            pending: dict[int, Question] = {}
            due_s = self._now()
            while not self._is_over.is_set():
                if not self._may_ask.is_set():
                    if pending:
                        self._udp_receive(sock, pending, 0.05)
                    else:
                        idle.set()
                        self._may_ask.wait()
                        due_s = self._now()
                    continue
                name, rdtype = draw(rng)
                if is_stranger:
                    name, rdtype = f"a{rng.randrange(20)}.{model.UPSTREAM_SUFFIX}", "A"
                question = Question(name, rdtype, self._now(), is_stranger=is_stranger)
                self._udp_send(sock, pending, question)
                due_s += 1 / (5 if is_stranger else self.per_second)
                while (wait_s := due_s - self._now()) > 0:
                    self._udp_receive(sock, pending, wait_s)
        idle.set()

    def _udp_send(
        self, sock: socket.socket, pending: dict[int, Question], question: Question
    ) -> None:
        number = self.udp.sent & 0xFFFF
        query = dns.message.make_query(question.name, question.rdtype, use_edns=0)
        query.id = number
        # A cable that is out is an operation's doing, and excused as a loss.
        with contextlib.suppress(OSError):
            sock.sendto(query.to_wire(), SERVICE)
        pending[number] = question
        self.udp.sent += 1

    def _udp_receive(
        self, sock: socket.socket, pending: dict[int, Question], within_s: float
    ) -> None:
        if select.select([sock], [], [], within_s)[0]:
            with contextlib.suppress(OSError):
                octets, sender = sock.recvfrom(65535)
                self._take(octets, sender, pending)
        now_s = self._now()
        while pending:
            number, question = next(iter(pending.items()))
            if now_s - question.sent_s < PATIENCE_S:
                break
            del pending[number]
            self.udp.lost += 1
            text = f"{question.name} {question.rdtype}: no response"
            self._report(question, Fault(LOST, text), now_s)

    def _take(
        self, octets: bytes, sender: tuple[str, int], pending: dict[int, Question]
    ) -> None:
        question = pending.pop(int.from_bytes(octets[:2], "big"), None)
        if question is None:
            return  # given up before, and told
        self.udp.answered += 1
        if sender != SERVICE:
            self._report(question, Fault(WRONG, f"answer from {sender}"), self._now())
        self._judge(question, octets)

    def _judge(self, question: Question, octets: bytes) -> None:
        now_s = self._now()
        try:
            response = dns.message.from_wire(octets)
        except dns.exception.DNSException as exc:
            text = f"{question.name}: malformed: {exc!r} {octets.hex()}"
            self._report(question, Fault(WRONG, text), now_s)
            return
        self.rcodes[int(response.rcode())] += 1
        asked = response.question[0] if response.question else None
        if asked is None or asked.name.to_text(omit_final_dot=True) != question.name:
            text = f"{question.name}: answer to another question: {asked}"
            self._report(question, Fault(WRONG, text), now_s)
            return
        took_s = now_s - question.sent_s
        if not question.is_tcp and not self._rules.is_upstreams(question, now_s):
            self.longest_s = max(self.longest_s, took_s)
        if took_s > _LATE_AFTER_S:
            self._report(
                question, Fault(LATE, f"{question.name}: {took_s:.1f} s"), now_s
            )
        for fault in self._rules.judge(question, response, now_s):
            self._report(question, fault, now_s)

    # -- TCP

    def _tcp_loop(self, rng: random.Random, idle: threading.Event) -> None:
        while not self._is_over.is_set():
            if not self._may_ask.is_set():
                idle.set()
                self._may_ask.wait()
                continue
            questions = [
                Question(*draw(rng), self._now(), is_tcp=True)
                for _ in range(rng.choice((1, 1, 2, 8)))
            ]
            self.tcp.sent += len(questions)
            left = self._converse(questions)
            if left:
                # A server may close a connection at any time: RFC 7766, 6.2.4.
                again = [replace(x, sent_s=self._now()) for x in left]
                left = self._converse(again)
            for question in left:
                self.tcp.lost += 1
                text = f"{question.name}: TCP connection cut twice, or silent"
                self._report(question, Fault(CUT, text), self._now())
            self._is_over.wait(0.2)
        idle.set()

    def _converse(self, questions: list[Question]) -> list[Question]:
        """Ask all over one connection; return what had no answer."""
        left = dict(enumerate(questions))
        with (
            contextlib.suppress(OSError),
            socket.create_connection(SERVICE, timeout=PATIENCE_S) as sock,
        ):
            octets = b""
            for number, question in left.items():
                query = dns.message.make_query(
                    question.name, question.rdtype, use_edns=0
                )
                query.id = number
                wire = query.to_wire()
                octets += len(wire).to_bytes(2, "big") + wire
            sock.sendall(octets)
            buffer = bytearray()
            while left:
                more = sock.recv(65535)
                if not more:
                    break
                buffer += more
                while len(buffer) >= 2:
                    end = 2 + int.from_bytes(buffer[:2], "big")
                    if len(buffer) < end:
                        break
                    message = bytes(buffer[2:end])
                    del buffer[:end]
                    number = int.from_bytes(message[:2], "big")
                    answered = left.pop(number, None)
                    if answered is not None:
                        self.tcp.answered += 1
                        self._judge(answered, message)
        return list(left.values())

"""recvmmsg(2) and sendmmsg(2) with headers, vectors and buffers laid out once.

One system call moves up to `BATCH` datagrams. The kernel's structures lie in memory
that is filled in when a batch object is made; per datagram only lengths, addresses and
pointers are read and written, through memoryviews of machine words.

Layouts are those of 64-bit Linux: struct msghdr and struct mmsghdr of <sys/socket.h>.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
from typing import Final

from dnsfront.worker.process.calls import (
    CONTROL,
    CONTROL_LENGTH,
    FLAGS,
    HEADER_OCTETS,
    HEADER_WORDS,
    NAME,
    NAME_LENGTH,
    RECEIVED,
    VECTOR_COUNT,
    VECTOR_WORDS,
    VECTORS,
    address_of,
)
from dnsfront.worker.process.calls import receive as _receive
from dnsfront.worker.process.calls import send as _send

#: Datagrams moved by one system call.
BATCH: Final = 64

#: Octets of a datagram that land in the compact arena, which is copied as a whole; the
#: longest plain query with EDNS takes 12 + 255 + 4 + 11.
COMPACT: Final = 320

#: struct sockaddr_in6 is the longest address here.
ADDRESS_OCTETS: Final = 28

#: CMSG_SPACE(sizeof(struct in6_pktinfo)); IPv4 needs 32.
CONTROL_OCTETS: Final = 40

_MAX_DATAGRAM: Final = 65536
#: The longest message that leaves: a datagram behind the head of a hand-over.
_MAX_MESSAGE: Final = _MAX_DATAGRAM + COMPACT


# Where the parts of a batch lie in the memory that it has for them.
_VECTORS_AT: Final = BATCH * HEADER_OCTETS
_ADDRESSES_AT: Final = _VECTORS_AT + BATCH * 2 * VECTOR_WORDS * 8
_CONTROLS_AT: Final = _ADDRESSES_AT + BATCH * ADDRESS_OCTETS
_PARTS_OCTETS: Final = _CONTROLS_AT + BATCH * CONTROL_OCTETS

#: Errors that say that there is nothing to receive for now.
_NOTHING: Final = frozenset((errno.EAGAIN, errno.EINTR))
#: Errors that say that the call itself was wrong. Whatever else a socket reports lies
#: with the network, the peer or the host; ICMP alone makes it report a dozen of them.
_OURS: Final = frozenset((errno.EBADF, errno.EFAULT, errno.ENOSYS, errno.ENOTSOCK))


def _address_octets(family: int | None) -> int:
    if family is None:
        return 0
    return 16 if family == socket.AF_INET else ADDRESS_OCTETS


def _control_octets(address_octets: int) -> int:
    """Return CMSG_SPACE of the packet information of one address family."""
    return 32 if address_octets == 16 else CONTROL_OCTETS


class _Parts:
    """Headers, two vectors each, addresses and control messages of a batch.

    They lie in one piece, which few pages hold; `at` is where it begins.
    """

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _PARTS_OCTETS)
        self.at = address_of(self.memory)
        self.octets = memoryview(self.memory)
        self.words = self.octets.cast("Q")
        self.vectors = self.words[_VECTORS_AT // 8 :]
        self.addresses = self.octets[_ADDRESSES_AT:_CONTROLS_AT]
        self.controls = self.octets[_CONTROLS_AT:]

    def lay_out(self, i: int, vectors: int, names: int, controls: int) -> None:
        """Let header *i* have so many *vectors*, and its own name and control message.

        *names* and *controls* are how many octets those have, 0 for none.
        """
        word = i * HEADER_WORDS
        words = self.words
        each = vectors * VECTOR_WORDS * 8
        words[word + VECTORS] = self.at + _VECTORS_AT + i * each
        words[word + VECTOR_COUNT] = vectors
        if names:
            words[word + NAME] = self.at + _ADDRESSES_AT + i * ADDRESS_OCTETS
            words[word + NAME_LENGTH] = names
        if controls:
            words[word + CONTROL] = self.at + _CONTROLS_AT + i * CONTROL_OCTETS
            words[word + CONTROL_LENGTH] = controls


class ReceiveBatch:
    """Buffers for up to `BATCH` datagrams of sockets of one address family.

    A datagram's first `COMPACT` octets land in an arena that is copied to `bytes` in
    one go, the rest in a spill area whose pages stay untouched until a datagram is that
    long; nothing up to *longest* octets is ever cut.

    After :meth:`receive` returned *n*, `arena` holds the first octets of datagram *i*
    at ``i * COMPACT`` and `sizes[i * HEADER_WORDS]` its length.
    """

    def __init__(
        self,
        *,
        family: int | None = None,
        with_control: bool = False,
        longest: int = _MAX_DATAGRAM,
    ) -> None:
        self.address_octets = _address_octets(family)
        self.arena = b""
        self._longest = longest
        self._compact = mmap.mmap(-1, BATCH * COMPACT)
        self._spill = mmap.mmap(-1, BATCH * longest)
        parts = _Parts()
        self._memory, self._octets = parts.memory, parts.octets
        self.addresses, self.controls = parts.addresses, parts.controls
        self.address_at = parts.at + _ADDRESSES_AT
        self.control_at = parts.at + _CONTROLS_AT
        self.has_control = with_control
        self.sizes = parts.words[RECEIVED:]
        self._flags = parts.words[FLAGS:]
        self._pointer = parts.at
        self._lay_out(parts)
        self._pristine = bytes(parts.octets[:_VECTORS_AT])
        # Headers that were written to since they were as they are above.
        self._used = 0

    def _lay_out(self, parts: _Parts) -> None:
        compact, spill = address_of(self._compact), address_of(self._spill)
        controls = CONTROL_OCTETS if self.has_control else 0
        for i in range(BATCH):
            at = 2 * i * VECTOR_WORDS
            parts.vectors[at] = compact + i * COMPACT
            parts.vectors[at + 1] = COMPACT
            parts.vectors[at + 2] = spill + i * self._longest
            parts.vectors[at + 3] = self._longest
            parts.lay_out(i, 2, self.address_octets, controls)

    def receive(self, fd: int) -> int:
        """Take up to `BATCH` datagrams from *fd*; return how many, 0 for none.

        An error that the socket reports (for instance ECONNREFUSED after an ICMP
        message) is returned as minus its errno.
        """
        if self.has_control and self._used:
            # The kernel writes how long each control message was over its room.
            used = self._used * HEADER_OCTETS
            self._octets[:used] = self._pristine[:used]
            self._used = 0
        count = _receive(fd, self._pointer, BATCH)
        if count > 0:
            self._used = count
            self.arena = self._compact[: count * COMPACT]
            return count
        if count == 0 or -count in _NOTHING:
            return 0
        if -count in _OURS:
            raise OSError(-count, os.strerror(-count))
        return count

    def datagram(self, i: int) -> bytes:
        """Return datagram *i* as a whole."""
        size = self.sizes[i * HEADER_WORDS]
        head = self.arena[i * COMPACT : i * COMPACT + min(size, COMPACT)]
        if size <= COMPACT:
            return head
        at = i * self._longest
        return head + self._spill[at : at + size - COMPACT]

    def senders(self, count: int) -> bytes:
        """Return the addresses of the first *count* datagrams, one behind another."""
        return self._memory[_ADDRESSES_AT : _ADDRESSES_AT + count * ADDRESS_OCTETS]

    def is_cut(self, i: int) -> bool:
        """Return whether datagram *i* was longer than what there is of it."""
        return bool(self._flags[i * HEADER_WORDS] & socket.MSG_TRUNC)

    def address(self, i: int) -> bytes:
        """Return the socket address that datagram *i* came from."""
        at = i * ADDRESS_OCTETS
        return self.addresses[at : at + self.address_octets].tobytes()

    def control(self, i: int) -> bytes:
        """Return the control message of datagram *i*, fit to be sent back with a reply.

        The interface is taken out of it: a reply keeps the address that was asked as
        its source, but takes the way that the routing table says.
        """
        at = i * CONTROL_OCTETS
        self.clear_interface(i)
        return self.controls[at : at + CONTROL_OCTETS].tobytes()

    def clear_interface(self, i: int) -> None:
        """Zero the interface index in the packet information of datagram *i*."""
        at = i * CONTROL_OCTETS + (16 if self.address_octets == 16 else 32)
        self.controls[at : at + 4] = b"\0\0\0\0"


class _Sender:
    """Headers, one vector each, and a buffer from which `BATCH` messages leave.

    *names* and *controls* are how many octets the address and the control message of
    each have, 0 for none.
    """

    def __init__(self, names: int, controls: int) -> None:
        parts = _Parts()
        self._buffer = mmap.mmap(-1, BATCH * _MAX_MESSAGE)
        self.buffer_at = address_of(self._buffer)
        self.vectors = parts.vectors
        self.failed = 0
        #: Number and errno of each message of the last call that the socket refused.
        self.refused: list[tuple[int, int]] = []
        self._pointer = parts.at
        self._words = parts.words
        self._addresses, self._controls = parts.addresses, parts.controls
        for i in range(BATCH):
            parts.lay_out(i, 1, names, controls)

    def send_joined(self, fd: int, octets: bytes, count: int) -> None:
        """Send *count* messages whose vectors point into the buffer, now *octets*.

        What the socket refuses is counted in `failed`, told in `refused` and not kept.
        A full send buffer is a reason to drop, as it is for every DNS server: the
        client asks again, and waiting would hold up everybody else.
        """
        if self.refused:
            self.refused = []
        self._buffer[: len(octets)] = octets
        sent = 0
        is_told = False
        while sent < count:
            done = _send(fd, self._pointer + sent * HEADER_OCTETS, count - sent)
            if done > 0:
                sent += done
                continue
            number = -done
            if number == errno.EINTR:
                continue
            if number == errno.ECONNREFUSED and not is_told:
                # The kernel reports what an earlier message met, in place of sending
                # this one, which is tried again.
                is_told = True
                continue
            if number in _OURS:
                raise OSError(number, os.strerror(number))
            self.failed += 1
            self.refused.append((sent, number))
            sent += 1


class AnswerBatch(_Sender):
    """Messages that go back to the senders of what a :class:`ReceiveBatch` holds.

    The caller writes address and length of message *j* into `vectors`, at ``2 * j`` and
    ``2 * j + 1``; addresses count from `buffer_at`.
    """

    def __init__(self, received: ReceiveBatch) -> None:
        octets = received.address_octets
        super().__init__(octets, _control_octets(octets) * received.has_control)
        self._received = received
        self.restore(BATCH)

    def redirect(self, j: int, i: int) -> None:
        """Let message *j* go to where datagram *i* came from."""
        received = self._received
        word = j * HEADER_WORDS
        self._words[word + NAME] = received.address_at + i * ADDRESS_OCTETS
        if received.has_control:
            self._words[word + CONTROL] = received.control_at + i * CONTROL_OCTETS

    def restore(self, count: int) -> None:
        """Let each of the first *count* messages go to the sender of its number."""
        for i in range(count):
            self.redirect(i, i)


class SendBatch(_Sender):
    """Messages collected one by one, which leave through one socket by one system call.

    *family* is that of the addresses given to :meth:`add`, None for connected sockets.
    `fd` may be changed while nothing waits.
    """

    def __init__(
        self, fd: int, *, family: int | None = None, with_control: bool = False
    ) -> None:
        octets = _address_octets(family)
        super().__init__(octets, _control_octets(octets) * with_control)
        self.fd = fd
        self._payloads: list[bytes] = []

    def __len__(self) -> int:
        """How many messages wait for :meth:`flush`."""
        return len(self._payloads)

    def message(self, i: int) -> bytes:
        """Return message *i* of those that left last, for instance one `refused`."""
        at = self.vectors[2 * i] - self.buffer_at
        return self._buffer[at : at + self.vectors[2 * i + 1]]

    def add(self, payload: bytes, address: bytes = b"", control: bytes = b"") -> None:
        """Collect one message; a full batch leaves at once."""
        payloads = self._payloads
        if address:
            i = len(payloads)
            at = i * ADDRESS_OCTETS
            self._addresses[at : at + len(address)] = address
            if control:
                at = i * CONTROL_OCTETS
                self._controls[at : at + len(control)] = control
        payloads.append(payload)
        if len(payloads) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what was collected."""
        if self._payloads:
            payloads, self._payloads = self._payloads, []
            self.send(payloads)

    def send(self, payloads: list[bytes]) -> None:
        """Send *payloads*, a batch at most, to where their addresses are set to."""
        at = self.buffer_at
        vectors = self.vectors
        i = 0
        for payload in payloads:
            size = len(payload)
            vectors[i] = at
            vectors[i + 1] = size
            at += size
            i += 2
        self.send_joined(self.fd, b"".join(payloads), i // 2)

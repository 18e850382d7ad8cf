"""recvmmsg(2) and sendmmsg(2) with headers, vectors and buffers laid out once.

One system call moves up to `BATCH` datagrams. The kernel's structures live in ctypes
arrays that are filled in when a batch object is made; per datagram only lengths,
addresses and pointers are read and written, through memoryviews of machine words.

Layouts are those of 64-bit Linux: struct msghdr and struct mmsghdr of <sys/socket.h>.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
from typing import Final

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


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _MMsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_uint64),
        ("name_length", ctypes.c_uint64),  # 32 bits and padding
        ("vectors", ctypes.c_uint64),
        ("vector_count", ctypes.c_uint64),
        ("control", ctypes.c_uint64),
        ("control_length", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),  # 32 bits and padding
        ("received", ctypes.c_uint64),  # 32 bits and padding
    )


#: 64-bit words of one struct mmsghdr, and where its fields stand among them.
HEADER_WORDS: Final = ctypes.sizeof(_MMsgHdr) // 8
_NAME: Final = 0
_CONTROL: Final = 4
_FLAGS: Final = 6
_RECEIVED: Final = 7

_libc = ctypes.CDLL(None, use_errno=True)
for _function in (_libc.recvmmsg, _libc.sendmmsg):
    _function.restype = ctypes.c_int
_libc.recvmmsg.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p,
)  # fmt: skip
_libc.sendmmsg.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int,
)  # fmt: skip
_recvmmsg = _libc.recvmmsg
_sendmmsg = _libc.sendmmsg

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


def _words(array: ctypes.Array[_MMsgHdr]) -> memoryview:
    return memoryview(array).cast("B").cast("Q")


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
        self._addresses = (ctypes.c_char * (BATCH * ADDRESS_OCTETS))()
        self._controls = (ctypes.c_char * (BATCH * CONTROL_OCTETS))()
        self._vectors = (_IoVec * (2 * BATCH))()
        self._headers = (_MMsgHdr * BATCH)()
        self.addresses = memoryview(self._addresses).cast("B")
        self.controls = memoryview(self._controls).cast("B")
        self.address_at = ctypes.addressof(self._addresses)
        self.control_at = ctypes.addressof(self._controls)
        self.has_control = with_control
        self.sizes = _words(self._headers)[_RECEIVED:]
        self._flags = _words(self._headers)[_FLAGS:]
        self._pointer = ctypes.addressof(self._headers)
        self._lay_out()
        self._pristine = bytes(self._headers)

    def _lay_out(self) -> None:
        compact = ctypes.addressof(ctypes.c_char.from_buffer(self._compact))
        spill = ctypes.addressof(ctypes.c_char.from_buffer(self._spill))
        vectors = ctypes.addressof(self._vectors)
        for i in range(BATCH):
            self._vectors[2 * i] = _IoVec(compact + i * COMPACT, COMPACT)
            self._vectors[2 * i + 1] = _IoVec(spill + i * self._longest, self._longest)
            header = self._headers[i]
            if self.address_octets:
                header.name = self.address_at + i * ADDRESS_OCTETS
                header.name_length = self.address_octets
            header.vectors = vectors + 2 * i * ctypes.sizeof(_IoVec)
            header.vector_count = 2
            if self.has_control:
                header.control = self.control_at + i * CONTROL_OCTETS
                header.control_length = CONTROL_OCTETS

    def receive(self, fd: int) -> int:
        """Take up to `BATCH` datagrams from *fd*; return how many, 0 for none.

        An error that the socket reports (for instance ECONNREFUSED after an ICMP
        message) is returned as minus its errno.
        """
        if self.has_control:
            # The kernel writes how long each control message was over its room.
            ctypes.memmove(self._headers, self._pristine, len(self._pristine))
        count: int = _recvmmsg(fd, self._pointer, BATCH, socket.MSG_DONTWAIT, None)
        if count > 0:
            self.arena = self._compact[: count * COMPACT]
            return count
        number = ctypes.get_errno()
        if count == 0 or number in {errno.EAGAIN, errno.EINTR}:
            return 0
        if number in _OURS:
            raise OSError(number, os.strerror(number))
        return -number

    def datagram(self, i: int) -> bytes:
        """Return datagram *i* as a whole."""
        size = self.sizes[i * HEADER_WORDS]
        head = self.arena[i * COMPACT : i * COMPACT + min(size, COMPACT)]
        if size <= COMPACT:
            return head
        at = i * self._longest
        return head + self._spill[at : at + size - COMPACT]

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
    """Headers, one vector each, and a buffer from which `BATCH` messages leave."""

    def __init__(self) -> None:
        self._vectors = (_IoVec * BATCH)()
        self._headers = (_MMsgHdr * BATCH)()
        self._buffer = mmap.mmap(-1, BATCH * _MAX_MESSAGE)
        self.buffer_at = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self.vectors = memoryview(self._vectors).cast("B").cast("Q")
        self.failed = 0
        #: Number and errno of each message of the last call that the socket refused.
        self.refused: list[tuple[int, int]] = []
        self._pointer = ctypes.addressof(self._headers)
        self._words = _words(self._headers)
        vectors = ctypes.addressof(self._vectors)
        for i in range(BATCH):
            self._headers[i].vectors = vectors + i * ctypes.sizeof(_IoVec)
            self._headers[i].vector_count = 1

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
            done = _sendmmsg(
                fd,
                self._pointer + sent * HEADER_WORDS * 8,
                count - sent,
                socket.MSG_DONTWAIT,
            )
            if done > 0:
                sent += done
                continue
            number = ctypes.get_errno()
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
        super().__init__()
        self._received = received
        for header in self._headers:
            header.name_length = received.address_octets
            if received.has_control:
                header.control_length = _control_octets(received.address_octets)
        self.restore(BATCH)

    def redirect(self, j: int, i: int) -> None:
        """Let message *j* go to where datagram *i* came from."""
        received = self._received
        word = j * HEADER_WORDS
        self._words[word + _NAME] = received.address_at + i * ADDRESS_OCTETS
        if received.has_control:
            self._words[word + _CONTROL] = received.control_at + i * CONTROL_OCTETS

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
        super().__init__()
        self.fd = fd
        self._payloads: list[bytes] = []
        octets = _address_octets(family)
        self._addresses = (ctypes.c_char * (BATCH * ADDRESS_OCTETS))()
        self._controls = (ctypes.c_char * (BATCH * CONTROL_OCTETS))()
        self._address_view = memoryview(self._addresses).cast("B")
        self._control_view = memoryview(self._controls).cast("B")
        addresses = ctypes.addressof(self._addresses)
        controls = ctypes.addressof(self._controls)
        for i, header in enumerate(self._headers):
            if octets:
                header.name = addresses + i * ADDRESS_OCTETS
                header.name_length = octets
            if with_control:
                header.control = controls + i * CONTROL_OCTETS
                header.control_length = _control_octets(octets)

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
            self._address_view[at : at + len(address)] = address
            if control:
                at = i * CONTROL_OCTETS
                self._control_view[at : at + len(control)] = control
        payloads.append(payload)
        if len(payloads) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what was collected."""
        payloads = self._payloads
        if not payloads:
            return
        at = self.buffer_at
        vectors = self.vectors
        i = 0
        for payload in payloads:
            size = len(payload)
            vectors[i] = at
            vectors[i + 1] = size
            at += size
            i += 2
        octets = b"".join(payloads)
        payloads.clear()
        self.send_joined(self.fd, octets, i // 2)

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
NAME: Final = 0
CONTROL: Final = 4
_NAME_LENGTH: Final = 1
_CONTROL_LENGTH: Final = 5
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

#: What a socket may answer for reasons that lie with the network or the peer, not here.
_TRANSIENT: Final = frozenset(
    (
        errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED, errno.ENOBUFS, errno.EHOSTUNREACH,
        errno.ENETUNREACH, errno.EPERM, errno.EACCES, errno.EINVAL, errno.EMSGSIZE,
        errno.ENETDOWN, errno.EHOSTDOWN, errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN,
        errno.EPROTO, errno.EADDRNOTAVAIL, errno.ENODEV, errno.EIO,
    )
)  # fmt: skip


def _address_octets(family: int | None) -> int:
    if family is None:
        return 0
    return 16 if family == socket.AF_INET else ADDRESS_OCTETS


def _words(array: ctypes.Array[_MMsgHdr]) -> memoryview:
    return memoryview(array).cast("B").cast("Q")


class ReceiveBatch:
    """Buffers for up to `BATCH` datagrams of sockets of one address family.

    A datagram's first `COMPACT` octets land in an arena that is copied to `bytes` in
    one go, the rest in a spill area whose pages stay untouched until a datagram is that
    long; nothing up to 64 KiB is ever cut.

    After :meth:`receive` returned *n*, `arena` holds the first octets of datagram *i* at
    ``i * COMPACT`` and `sizes[i * HEADER_WORDS]` its length.
    """

    def __init__(
        self, *, family: int | None = None, with_control: bool = False
    ) -> None:
        self.address_octets = _address_octets(family)
        self.arena = b""
        self._compact = mmap.mmap(-1, BATCH * COMPACT)
        self._spill = mmap.mmap(-1, BATCH * _MAX_DATAGRAM)
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
        self._pointer = ctypes.addressof(self._headers)
        self._lay_out()
        self._pristine = bytes(self._headers)

    def _lay_out(self) -> None:
        compact = ctypes.addressof(ctypes.c_char.from_buffer(self._compact))
        spill = ctypes.addressof(ctypes.c_char.from_buffer(self._spill))
        vectors = ctypes.addressof(self._vectors)
        for i in range(BATCH):
            self._vectors[2 * i] = _IoVec(compact + i * COMPACT, COMPACT)
            self._vectors[2 * i + 1] = _IoVec(spill + i * _MAX_DATAGRAM, _MAX_DATAGRAM)
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
        if number in _TRANSIENT:
            return -number
        raise OSError(number, os.strerror(number))

    def datagram(self, i: int) -> bytes:
        """Return datagram *i* as a whole."""
        size = self.sizes[i * HEADER_WORDS]
        head = self.arena[i * COMPACT : i * COMPACT + min(size, COMPACT)]
        if size <= COMPACT:
            return head
        at = i * _MAX_DATAGRAM
        return head + self._spill[at : at + size - COMPACT]

    def address(self, i: int) -> bytes:
        """Return the socket address that datagram *i* came from."""
        at = i * ADDRESS_OCTETS
        return self.addresses[at : at + self.address_octets].tobytes()

    def control(self, i: int) -> bytes:
        """Return the control message of datagram *i*, fit to be sent back with a reply.

        The interface is taken out of it: a reply keeps the address that was asked as its
        source, but takes the way that the routing table says.
        """
        at = i * CONTROL_OCTETS
        self.clear_interface(i)
        return self.controls[at : at + CONTROL_OCTETS].tobytes()

    def clear_interface(self, i: int) -> None:
        """Zero the interface index in the packet information of datagram *i*."""
        at = i * CONTROL_OCTETS + (16 if self.address_octets == 16 else 32)
        self.controls[at : at + 4] = b"\0\0\0\0"


class SendBatch:
    """Up to `BATCH` datagrams that leave through one socket by one system call.

    :meth:`add` collects, :meth:`flush` sends. `answer_headers` and `answer_vectors` are
    for the fast path, which writes addresses of a :class:`ReceiveBatch` itself.
    """

    def __init__(self, received: ReceiveBatch | None = None) -> None:
        self._received = received
        self._vectors = (_IoVec * BATCH)()
        self._headers = (_MMsgHdr * BATCH)()
        self._addresses = (ctypes.c_char * (BATCH * ADDRESS_OCTETS))()
        self._controls = (ctypes.c_char * (BATCH * CONTROL_OCTETS))()
        self._address_view = memoryview(self._addresses).cast("B")
        self._control_view = memoryview(self._controls).cast("B")
        self._buffer = mmap.mmap(-1, BATCH * _MAX_DATAGRAM)
        self.buffer_at = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self.headers = _words(self._headers)
        self.vectors = memoryview(self._vectors).cast("B").cast("Q")
        self._pointer = ctypes.addressof(self._headers)
        vectors = ctypes.addressof(self._vectors)
        for i in range(BATCH):
            self._headers[i].vectors = vectors + i * ctypes.sizeof(_IoVec)
            self._headers[i].vector_count = 1
        if received is not None:
            self._answer_layout(received)
        self._payloads: list[bytes] = []
        self.failed = 0

    def _answer_layout(self, received: ReceiveBatch) -> None:
        for i in range(BATCH):
            header = self._headers[i]
            header.name_length = received.address_octets
            if received.has_control:
                header.control_length = (
                    32 if received.address_octets == 16 else CONTROL_OCTETS
                )
        self.restore(BATCH)

    def restore(self, count: int) -> None:
        """Let the first *count* headers point at the addresses of the same slots."""
        received = self._received
        assert received is not None, (
            "only a batch that answers has addresses to restore"
        )
        for i in range(count):
            self.redirect(i, i)

    def redirect(self, j: int, i: int) -> None:
        """Let message *j* go to where datagram *i* came from."""
        received = self._received
        assert received is not None, "only a batch that answers can be redirected"
        word = j * HEADER_WORDS
        self.headers[word + NAME] = received.address_at + i * ADDRESS_OCTETS
        if received.has_control:
            self.headers[word + CONTROL] = received.control_at + i * CONTROL_OCTETS

    def send_joined(self, fd: int, octets: bytes, count: int) -> None:
        """Send *count* messages whose vectors point into the buffer, now *octets*."""
        self._buffer[: len(octets)] = octets
        self._send(fd, count)

    def add(self, payload: bytes, address: bytes = b"", control: bytes = b"") -> bool:
        """Collect one message; return whether the batch is now full.

        An empty *address* is for connected sockets.
        """
        i = len(self._payloads)
        word = i * HEADER_WORDS
        if address:
            at = i * ADDRESS_OCTETS
            self._address_view[at : at + len(address)] = address
            self.headers[word + NAME] = ctypes.addressof(self._addresses) + at
            self.headers[word + _NAME_LENGTH] = len(address)
        if control:
            at = i * CONTROL_OCTETS
            self._control_view[at : at + len(control)] = control
            self.headers[word + CONTROL] = ctypes.addressof(self._controls) + at
            self.headers[word + _CONTROL_LENGTH] = (
                32 if len(address) == 16 else CONTROL_OCTETS
            )
        self._payloads.append(payload)
        return i + 1 == BATCH

    def flush(self, fd: int) -> None:
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
        count = len(payloads)
        octets = b"".join(payloads)
        payloads.clear()
        self.send_joined(fd, octets, count)

    def _send(self, fd: int, count: int) -> None:
        """Send the first *count* messages; what the socket refuses is counted, not kept.

        A full send buffer is a reason to drop, as it is for every DNS server: the client
        asks again, and waiting would hold up everybody else.
        """
        sent = 0
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
            if number not in _TRANSIENT:
                raise OSError(number, os.strerror(number))
            self.failed += 1
            sent += 1

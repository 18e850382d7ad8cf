"""The control channel between the supervisor and a worker: JSON and descriptors.

A connected AF_UNIX SOCK_SEQPACKET pair: one packet is one message, so there is no
framing, and the end of file means that the other side is gone.

A message that wants a reply has an `id`, and the reply has the same one, so that any
number of requests may be under way. `ipc/replies.py` has the shape of every reply; one
that met a fault of the worker's is answered `failed` (reason).

Supervisor to worker (`op`: fields; descriptors):

- `start`: version, layout (`ipc/identity.py`), user, generation, slots; spec, stats,
  live, load, health, table, handover receive end, then for every listener its UDP and
  its TCP socket. `load` is a mmapable BPF array, or memory of the same layout where no
  BPF may be loaded. Only it and `stats` can be written (`ipc/memory.py`). `health`
  holds one 64-bit word an upstream, see `Health` in `ipc/stats.py`.
- `images`: packs, up to :data:`MAX_IMAGES` names, and for each a sealed memfd with
  images of zones. Comes before the `start` or the `configure` whose spec names them.
- `peers`: ids; for each id the send end of that worker's handover socket. Replaces
  the peers named before. The first one says that the worker is live, and to serve.
- `table`: generation, slots; a memfd with the slot table (see `SLOT_OCTETS`).
- `move`: within_s; a memfd with the next slot table. The worker sends what it has
  cached of names that others will own to those others, and answers `moved`. With ids
  and hash_key_hex those others are another instance's, all of it goes, and for each id
  the send end of its handover socket comes along.
- `settle`: nothing. The worker takes what was handed over so far, such as the entries
  of a move, and says `settled`.
- `pause`: nothing. The worker takes nothing from its listening sockets any more, and
  answers `paused`. `resume`: it does again.
- `configure`: nothing; a memfd with a new spec. Its listeners are for later workers.
- `listen`: listeners; for each a UDP and a TCP socket. The worker knows them, so that
  datagrams handed over can be answered, says `listening`, and reads them from the next
  `peers` on.
- `unlisten`: numbers of listeners, within_s. The worker takes what they hold, waits for
  what is pending there, and says `unlistened`. `close`: nothing, when all have: the
  worker takes what was handed over before, closes them, and says `closed`.
- `drain`: kept, the numbers of listeners whose sockets a successor reads. The worker
  takes what its other sockets hold, finishes what is pending, answers `drained` and
  exits.
- `flush`: qname (text) or zone (text) or neither for everything.
- `ping`: nothing. The worker says `pong` as soon as it gets to it.

Worker to supervisor:

- `ready`: version, layout; the worker has its sockets, its zones and its cache.
- `other_code`: version, layout; in place of `ready`, the worker runs other code than
  the supervisor and touches nothing that it got.
- `moved`: entries, how many it sent.
- `settled`, `paused`, `listening`, `unlistened`, `closed`: see above.
- `configured`, `refused` (reason): what came of a `configure`.
- `flushed`: entries.
- `pong`: its loop goes round.
- `failed`: reason; an order met a fault of the worker's, which is to be replaced.
- `drained`: nothing more will be answered.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

#: Octets of a slot in a shared slot table: four worker ids, best first, 0 for nobody.
SLOT_OCTETS = 4

_MAX_PACKET_OCTETS = 1 << 16
#: The kernel passes at most SCM_MAX_FD (253) descriptors at once, include/net/scm.h.
_MAX_DESCRIPTORS = 253
#: Descriptors of one `images` message.
MAX_IMAGES = 200

Message = dict[str, Any]


class CutMessageError(ValueError):
    """A message whose descriptors did not all fit under the receiver's limit."""

    def __init__(self, message: Message) -> None:
        """Keep *message*: whoever sent it wants to hear that it came to nothing."""
        super().__init__("the message was cut: its descriptors are over RLIMIT_NOFILE")
        self.message = message


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new channel: the supervisor's and the worker's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(
    channel: socket.socket, message: Message, fds: list[int] | None = None
) -> None:
    """Send *message* with *fds*; both sides keep their own copy of each descriptor.

    Raises:
        OSError: the other side is gone (EPIPE, ECONNRESET) or its queue is full.
    """
    octets = json.dumps(message).encode()
    if fds:
        socket.send_fds(channel, [octets], fds)
    else:
        channel.send(octets)


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """Return the next message and its descriptors, or None when the other side left.

    Raises:
        BlockingIOError: the channel is non-blocking and holds no message.
        CutMessageError: descriptors are missing; those that came are closed.
        ValueError: the message is no JSON, or was cut; its descriptors are closed.
    """
    octets, fds, flags, _address = socket.recv_fds(
        channel, _MAX_PACKET_OCTETS, _MAX_DESCRIPTORS
    )
    if not octets and not fds:
        return None
    try:
        for fd in fds:
            os.set_inheritable(fd, False)  # noqa: FBT003 - its only form
        if flags & socket.MSG_TRUNC:
            raise ValueError("the message was cut")
        message: Message = json.loads(octets)
        if flags & socket.MSG_CTRUNC:
            raise CutMessageError(message)
    except CutMessageError:
        for fd in fds:
            os.close(fd)
        raise
    except (ValueError, RecursionError) as exc:
        for fd in fds:
            os.close(fd)
        raise ValueError(str(exc)) from exc
    return message, fds

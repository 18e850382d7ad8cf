"""Who workers become: users that no other program runs as.

Processes of one user may signal and trace each other, so `nobody`, which many daemons
share, would be no separation. All sockets are bound here, under one uid: what a worker
is afterwards matters to its isolation alone.
"""

from __future__ import annotations

import functools
import logging
import os
import pwd
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnsfront.errors import PrivilegeError
from dnsfront.kernel.pages import MAX_WORKER_ID

_LOG = logging.getLogger(__name__)

#: The user that an operator, or a package, makes for the workers.
NAME: Final = "dnsfront"
#: What systemd sets aside for users that live as long as their service; without it
#: no distribution gives these to anybody. A number for each worker_id, in blocks.
_FIRST: Final = 61184
_LAST: Final = 65519
_BLOCK: Final = MAX_WORKER_ID + 1
#: The overflow user of every Linux, where a user namespace has none of the others.
_NOBODY: Final = 65534
#: What it takes to become another user, by its bit in include/uapi/linux/capability.h.
_RIGHTS: Final = {"CAP_SETGID": 6, "CAP_SETUID": 7}


@dataclass(frozen=True)
class Users:
    """The uid, which is the gid too unless *gid* is given, of each worker_id."""

    first: int
    gid: int | None = None
    is_shared: bool = False

    def of(self, worker_id: int) -> tuple[int, int]:
        """Return uid and gid of the worker."""
        uid = self.first if self.is_shared else self.first + worker_id
        return uid, uid if self.gid is None else self.gid


@functools.cache
def users() -> Users | None:
    """Return who workers of this process become, None if it has no right to say so.

    Chosen once, so that every process of a worker_id is the same user.

    Raises:
        PrivilegeError: this is root, and lacks what workers need to be somebody else.
    """
    if os.geteuid() != 0:
        return None
    _check_rights()
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        chosen = unused(_uids_in_use(), os.getpid(), _mapped())
    else:
        chosen = Users(entry.pw_uid, entry.pw_gid, is_shared=True)
    _LOG.log(
        logging.WARNING if chosen.first == _NOBODY else logging.INFO,
        "worker_users first_uid=%d shared=%s",
        chosen.first,
        str(chosen.is_shared).lower(),
    )
    return chosen


def _check_rights() -> None:
    status = Path("/proc/self/status").read_text("ascii", errors="replace")
    [rights] = [
        int(line.split()[1], 16)
        for line in status.splitlines()
        if line.startswith("CapEff:")
    ]
    missing = [name for name, bit in _RIGHTS.items() if not rights >> bit & 1]
    if missing:
        raise PrivilegeError(
            f"run as root without {' and '.join(missing)}, by which workers become"
            f" another user; want {' and '.join(_RIGHTS)}, or another user than root"
        )


def unused(in_use: Collection[int], start: int, mapped: Iterable[range]) -> Users:
    """Return a block of uids with none of *in_use*, looked for from any *start*."""
    blocks = [*range(_FIRST, _LAST - _BLOCK + 2, _BLOCK)]
    start %= len(blocks)
    for first in blocks[start:] + blocks[:start]:
        block = range(first, first + _BLOCK)
        if all(any(end in x for x in mapped) for end in (block[0], block[-1])) and (
            not any(uid in block for uid in in_use)
        ):
            return Users(first)
    return Users(_NOBODY, is_shared=True)


def _uids_in_use() -> set[int]:
    """Return the uids of running processes, and of users with an entry of their own."""
    uids = set()
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                uids.add(path.stat().st_uid)
            except OSError:
                continue  # it has ended
    try:
        lines = Path("/etc/passwd").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return uids
    fields = (line.split(":") for line in lines)
    return uids | {int(x[2]) for x in fields if len(x) > 2 and x[2].isdecimal()}


def _mapped() -> list[range]:
    """Return the uids that this user namespace has."""
    try:
        lines = Path("/proc/self/uid_map").read_text("ascii").splitlines()
    except OSError:
        return [range(1 << 32)]
    numbers = ([int(field) for field in line.split()] for line in lines)
    return [range(inside, inside + count) for inside, _, count in numbers]

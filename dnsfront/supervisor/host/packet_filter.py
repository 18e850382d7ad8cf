"""What this host's packet filter has to say of packets, as the kernel lists it.

nftables by NFNETLINK (include/uapi/linux/netfilter/nf_tables.h), which iptables of
today is part of; and the tables of older iptables by /proc.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Protocol and group, for `ChangeNotice`, by which changes of nftables are told.
CHANGES: Final = (12, 0x40)  # NETLINK_NETFILTER, NFNLGRP_NFTABLES

_NETLINK_NETFILTER: Final = 12
_NEW_CHAIN, _GET_CHAIN = 10 << 8 | 3, 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES
_REQUEST_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3
_HEAD: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_FAMILY: Final = struct.Struct("=BBH")  # struct nfgenmsg
_MESSAGES_OCTETS: Final = 1 << 17
_FAMILIES: Final = {1: "inet", 2: "ip", 5: "netdev", 10: "ip6"}
_TABLE, _NAME, _HOOK, _POLICY, _USE = 1, 3, 4, 5, 6  # NFTA_CHAIN_*
_HOOK_NUMBER: Final = 1  # NFTA_HOOK_HOOKNUM
_FORWARD: Final = 2  # NF_INET_FORWARD, which sees no packet to or from this host
_ACCEPT: Final = 1  # NF_ACCEPT
_IS_NESTED: Final = 0x8000
#: There is no nftables in this kernel.
_NONE_HERE: Final = {errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL}
_OF_OLD: Final = ("ip_tables_names", "ip6_tables_names")


def filters() -> tuple[str, ...]:
    """Return the names of what may judge a packet to or from this host.

    A chain that has no rule and lets all pass is none.

    Raises:
        OSError: the kernel does not tell; it wants CAP_NET_ADMIN.
    """
    return (*_chains(), *_tables_of_old())


def _tables_of_old() -> Iterator[str]:
    for name in _OF_OLD:
        try:
            tables = Path("/proc/thread-self/net", name).read_text("ascii").split()
        except FileNotFoundError:
            continue
        yield from (f"{name.partition('_')[0]}tables {table}" for table in tables)


def _chains() -> Iterator[str]:
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER
        ) as kernel:
            length = _HEAD.size + _FAMILY.size
            request = _HEAD.pack(length, _GET_CHAIN, _REQUEST_DUMP, 1, 0)
            kernel.send(request + _FAMILY.pack(0, 0, 0))
            for kind, body in _messages(kernel):
                if kind == _NEW_CHAIN:
                    yield from _judge(body)
    except OSError as exc:
        if exc.errno not in _NONE_HERE:
            raise


def _messages(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message of a dump, until it is done."""
    while True:
        received = kernel.recv(_MESSAGES_OCTETS)
        while received:
            length, kind, *_ = _HEAD.unpack_from(received)
            body = received[_HEAD.size : length]
            if kind == _DONE:
                return
            if kind == _ERROR:
                [number] = struct.unpack_from("=i", body)
                raise OSError(-number, os.strerror(-number))
            yield kind, body
            received = received[_padded(length) :]


def _judge(body: bytes) -> Iterator[str]:
    """Yield the name of a chain, if it judges packets of this host."""
    family, _version, _resource = _FAMILY.unpack_from(body)
    fields = dict(_attributes(body[_FAMILY.size :]))
    if family not in _FAMILIES or _HOOK not in fields:
        return
    [hook] = struct.unpack(">I", dict(_attributes(fields[_HOOK]))[_HOOK_NUMBER])
    [policy] = struct.unpack(">I", fields.get(_POLICY, struct.pack(">I", _ACCEPT)))
    [rules] = struct.unpack(">I", fields.get(_USE, bytes(4)))
    if (_FAMILIES[family] != "netdev" and hook == _FORWARD) or (
        policy == _ACCEPT and not rules
    ):
        return
    names = (
        fields[x].rstrip(b"\0").decode("utf-8", "replace") for x in (_TABLE, _NAME)
    )
    yield f"nftables {_FAMILIES[family]} {' '.join(names)}"


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each `struct nlattr`."""
    while len(octets) >= 4:
        length, kind = struct.unpack_from("=HH", octets)
        yield kind & ~_IS_NESTED, octets[4:length]
        octets = octets[max(4, _padded(length)) :]


def _padded(length: int) -> int:
    return length + 3 & ~3

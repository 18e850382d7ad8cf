"""What this host's packet filter has to say of packets, as the kernel lists it.

nftables by NFNETLINK (include/uapi/linux/netfilter/nf_tables.h), which iptables of
today is part of; and the tables of older iptables by /proc.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dnsfront.errors import PrivilegeError
from dnsfront.supervisor.host.netlink import attributes, listed

#: Protocol and group, for `ChangeNotice`, by which changes of nftables are told.
CHANGES: Final = (12, 0x40)  # NETLINK_NETFILTER, NFNLGRP_NFTABLES

_NEW_CHAIN, _GET_CHAIN = 10 << 8 | 3, 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES
_FAMILY: Final = struct.Struct("=BBH")  # struct nfgenmsg
_FAMILIES: Final = {1: "inet", 2: "ip", 5: "netdev", 10: "ip6"}
_TABLE, _NAME, _HOOK, _POLICY, _USE = 1, 3, 4, 5, 6  # NFTA_CHAIN_*
_HOOK_NUMBER: Final = 1  # NFTA_HOOK_HOOKNUM
_FORWARD: Final = 2  # NF_INET_FORWARD, which sees no packet to or from this host
_ACCEPT: Final = 1  # NF_ACCEPT
#: There is no nftables in this kernel.
_NONE_HERE: Final = {errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL}
_OF_OLD: Final = ("ip_tables_names", "ip6_tables_names")


def filters() -> tuple[str, ...]:
    """Return the names of what may judge a packet to or from this host.

    A chain that has no rule and lets all pass is none.

    Raises:
        PrivilegeError: CAP_NET_ADMIN is missing.
        OSError: the kernel does not tell.
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
        for kind, body in listed(CHANGES[0], _GET_CHAIN, bytes(_FAMILY.size)):
            if kind == _NEW_CHAIN:
                yield from _judge(body)
    except OSError as exc:
        if exc.errno == errno.EPERM:
            raise PrivilegeError(
                "list the packet filter: EPERM; grant CAP_NET_ADMIN to the supervisor"
            ) from exc
        if exc.errno not in _NONE_HERE:
            raise


def _judge(body: bytes) -> Iterator[str]:
    """Yield the name of a chain, if it judges packets of this host."""
    family, _version, _resource = _FAMILY.unpack_from(body)
    fields = attributes(body[_FAMILY.size :])
    if family not in _FAMILIES or _HOOK not in fields:
        return
    [hook] = struct.unpack(">I", attributes(fields[_HOOK])[_HOOK_NUMBER])
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

"""Lists of names that rules have, each in an image that the child made."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnsfront.dns.rules.names import NameList
from dnsfront.errors import ListError
from dnsfront.ipc import memory
from dnsfront.ipc.spec import ListImage
from dnsfront.supervisor.zones.packs import Pack

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedList:
    """A list of names: its image and the memory that holds it.

    So many lines of its file are *left_out*, of which some are *told* of.
    """

    path: Path
    image: ListImage
    pack: Pack
    names: int
    left_out: int
    told: tuple[str, ...]
    #: As zones have them: a list includes no other file.
    included: tuple[Path, ...] = ()


def tell(path: Path, answer: dict[str, Any], seconds: float) -> None:
    """Log what the child said of a list that it has read."""
    _LOG.info(
        "list_compiled path=%s names=%d octets=%d seconds=%.2f peak_mib=%d",
        path, answer["names"], answer["octets"], seconds, answer["peak_kib"] >> 10,
    )  # fmt: skip
    if answer["left_out"]:
        _LOG.warning(
            "list_lines_left_out path=%s lines=%d first=%s",
            path, answer["left_out"], json.dumps(answer["told"][0]),
        )  # fmt: skip


def loaded_list(path: Path, location: dict[str, Any], pack: Pack) -> LoadedList | str:
    """Return the list at *location* in *pack*, or what is wrong with it."""
    at, octets = location["at"], location["octets"]
    image = ListImage(location["digest"], pack.name, at, octets)
    try:
        names = NameList(memoryview(memory.constant(pack.fd))[at : at + octets])
    except ListError as exc:
        return str(exc)
    told = tuple(location["told"])
    return LoadedList(path, image, pack, names.names, location["left_out"], told)

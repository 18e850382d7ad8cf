"""The exception tree and the exit codes; imports nothing of the package.

Exit codes follow sysexits(3), so that systemd and scripts can tell a wrong config from
a missing permission.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


class DnsfrontError(Exception):
    """Something dnsfront can name; the text is one sentence for an operator."""

    exit_code: int = os.EX_SOFTWARE


class UsageError(DnsfrontError):
    """The command line asks for something that does not exist."""

    exit_code = os.EX_USAGE


class InputError(DnsfrontError):
    """A file to be worked on does not hold what it should, or cannot be read."""

    exit_code = os.EX_DATAERR


class OutputError(DnsfrontError):
    """What a command has to say could not be written where it was to go."""

    exit_code = os.EX_IOERR


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a config: where it stands, what was found, what is wanted.

    *line* counts from 1; 0 means the whole file.
    """

    line: int
    key: str
    text: str

    def line_in(self, path: object) -> str:
        """Return ``FILE:LINE: key: what is wrong, what is wanted``."""
        return f"{path}:{self.line}: {self.key}: {self.text}"


class ConfigError(DnsfrontError):
    """The config has mistakes, all of them listed, in the order of their lines."""

    exit_code = os.EX_CONFIG

    def __init__(self, path: str, mistakes: list[Mistake]) -> None:
        self.path = path
        self.mistakes = sorted(mistakes, key=lambda mistake: mistake.line)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return one ``FILE:LINE: key: what is wrong, what is wanted`` per mistake."""
        return [mistake.line_in(self.path) for mistake in self.mistakes]


class RingError(DnsfrontError):
    """No table can be made of these workers and slots."""

    exit_code = os.EX_CONFIG


class WireError(DnsfrontError):
    """Octets that are no DNS message; *rcode* is what the protocol wants in return."""

    def __init__(self, text: str, rcode: int = 1) -> None:
        self.rcode = rcode
        super().__init__(text)


class UnknownKeyError(WireError):
    """A query signed with a key that is not known here; *tsig* is our record for it."""

    def __init__(self, tsig: bytes) -> None:
        self.tsig = tsig
        super().__init__("the key is not known", 9)


class TooManyRecordsError(WireError):
    """A response of so many records that looking at each would keep others waiting."""


class ZoneError(DnsfrontError):
    """A zone file that cannot be served, with the reason."""

    exit_code = os.EX_CONFIG


class ListError(DnsfrontError):
    """A list of names that cannot be used, or a line of it, with the reason."""

    exit_code = os.EX_CONFIG


class UnavailableError(DnsfrontError):
    """Something that is needed is not there: a port, a program, a running server."""

    exit_code = os.EX_UNAVAILABLE


class TlsError(UnavailableError):
    """A server that is not believed over TLS; *fault* is why, in a word."""

    def __init__(self, fault: str, text: str) -> None:
        self.fault = fault
        super().__init__(text)


class PrivilegeError(DnsfrontError):
    """The operating system refuses for lack of rights; the text names the right."""

    exit_code = os.EX_NOPERM


class KernelError(UnavailableError):
    """The kernel, or bcc, refuses something that steering needs."""


class ControlError(UnavailableError):
    """The running server did not do what was asked, with its reason."""

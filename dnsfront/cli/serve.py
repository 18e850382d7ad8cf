"""The command that serves."""

from __future__ import annotations

import argparse
import logging

from dnsfront import logs
from dnsfront.errors import DnsfrontError
from dnsfront.supervisor.host import last_words, spawning

_LOG = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop, or taken over from."""
    with spawning.begun():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    # Its imports take as long as those of the nursery, which has begun with its own.
    from dnsfront.supervisor import main as supervisor  # noqa: PLC0415 - as said

    fd = last_words.taken_fd()
    if fd is None:
        return supervisor.run(arguments.config, is_takeover=arguments.takeover)
    # Its output is the log of a server that runs, from the first line on.
    logs.set_up("info", "supervisor")
    try:
        return supervisor.run(arguments.config, is_takeover=arguments.takeover)
    except DnsfrontError as exc:
        last_words.say(fd, str(exc))
        for line in str(exc).splitlines():
            _LOG.error("restart_refused reason=%s", line)
        return exc.exit_code

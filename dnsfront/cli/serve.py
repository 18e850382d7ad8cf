"""The command that serves."""

from __future__ import annotations

import argparse

from dnsfront.supervisor import main as supervisor


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop, or taken over from."""
    return supervisor.run(arguments.config, is_takeover=arguments.takeover)

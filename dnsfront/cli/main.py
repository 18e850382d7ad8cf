"""The command ``dnsfront``: arguments to exit code.

Each command lives in the module of its group, which is imported when the command is
known: serving needs no rich, and showing a ring needs no supervisor.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from dnsfront import __version__
from dnsfront.cli import output, values
from dnsfront.errors import ConfigError, DnsfrontError, UsageError

DEFAULT_CONFIG: Final = Path("/etc/dnsfront/dnsfront.yaml")

_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv*, or of the process, and return its exit code."""
    try:
        return _run(argv)
    except ConfigError as exc:
        output.tell(str(exc))
        return exc.exit_code
    except DnsfrontError as exc:
        output.tell(f"dnsfront: {exc}")
        return exc.exit_code
    except KeyboardInterrupt:
        return 130  # as a shell tells it: 128 + SIGINT
    except Exception:  # noqa: BLE001 - it is logged with its place
        _LOG.exception("command_failed")
        return os.EX_SOFTWARE


def _run(argv: Sequence[str] | None) -> int:
    was_closed = output.stand_in()
    with output.written(was_closed=False):
        arguments = _parser().parse_args(argv)
    group = importlib.import_module(f"dnsfront.cli.{arguments.group}")
    command: Callable[[argparse.Namespace], int] = getattr(group, arguments.command)
    if arguments.group == "serve":
        return command(arguments)  # it logs, and prints nothing
    with output.written(was_closed=was_closed):
        return command(arguments)


class _Parser(argparse.ArgumentParser):
    """argparse, with the exit code of sysexits(3) in place of 2."""

    def error(self, message: str) -> NoReturn:
        """Leave by the way of all errors."""
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        raise UsageError(f"{message}; usage: {usage}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dnsfront",
        description="A DNS front end in which every name has one owner among workers.",
    )
    parser.add_argument(
        "--version", action="version", version=f"dnsfront {__version__}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = _Commands(commands.add_parser)
    _add_offline(add)
    _add_live(add)
    _add_query(add)
    _add_simulate(add)
    return parser


class _Commands:
    """Adds commands with the options that all of them share."""

    def __init__(self, add_parser: Callable[..., argparse.ArgumentParser]) -> None:
        self._add_parser = add_parser

    def __call__(
        self, group: str, command: str, text: str, *, is_for_programs: bool = True
    ) -> argparse.ArgumentParser:
        """Add *command*, a function of the module *group*; *text* says what it does."""
        parser = self._add_parser(command, help=text, description=text)
        parser.set_defaults(group=group, command=command)
        if command != "diff":
            parser.add_argument(
                "-c",
                dest="config",
                metavar="FILE",
                type=Path,
                default=DEFAULT_CONFIG,
                help="config file (default: %(default)s)",
            )
        if is_for_programs:
            parser.add_argument("--json", action="store_true", help="print JSON")
        return parser


def _add_offline(add: _Commands) -> None:
    run = add("serve", "run", "Serve in the foreground.", is_for_programs=False)
    run.add_argument(
        "--takeover",
        action="store_true",
        help="take over from the running server, if there is one, without a gap",
    )
    check = add("offline", "check", "Validate a config and tell every mistake.")
    check.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of the config"
    )
    ring = add("offline", "ring", "Show how many slots each worker owns.")
    ring.add_argument("--svg", metavar="OUT", type=Path, help="draw the ring to a file")
    lookup = add("offline", "lookup", "Tell the slot and the owner of names.")
    lookup.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="a domain name, or - for one a line from standard input",
    )
    for parser in (ring, lookup):
        parser.add_argument(
            "--live",
            action="store_true",
            help="ask the running server, which knows who is drained or down",
        )
        _add_socket(parser)
    diff = add("offline", "diff", "Tell what a change of config would move.")
    diff.add_argument("old", metavar="OLD", type=Path, help="config file in use")
    diff.add_argument("new", metavar="NEW", type=Path, help="config file to come")


def _add_query(add: _Commands) -> None:
    query = add("query", "query", "Ask the running server, and see who answers.")
    query.add_argument("name", metavar="NAME", help="a domain name")
    query.add_argument(
        "type",
        metavar="TYPE",
        nargs="?",
        default="A",
        help="a type like AAAA or TYPE65 (default: %(default)s)",
    )
    query.add_argument(
        "--server",
        metavar="IP:PORT",
        help="ask there, in place of the first address that the config listens at",
    )
    _add_socket(query)
    query.add_argument("--tcp", action="store_true", help="ask over TCP")
    query.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=3.0,
        help="how long to wait for the answer (default: %(default)s)",
    )


def _add_simulate(add: _Commands) -> None:
    simulate = add(
        "simulate", "simulate", "Tell what queries of a file would find, by workers."
    )
    simulate.add_argument(
        "file",
        metavar="FILE",
        help="NAME [TYPE] a line, - for standard input, or a PCAP or PCAPNG",
    )
    for option, metavar, kind, default, text in (
        (
            "--workers",
            "N,...",
            values.counts,
            None,
            "how many to try (1 to 64 doubled)",
        ),
        ("--queries", "N", values.count, None, "draw so many from the lines"),
        ("--zipf", "S", values.not_negative, None, "their popularity's exponent (1.0)"),
        (
            "--rate",
            "N",
            values.rate,
            1000.0,
            "queries a second, if the file has no times",
        ),
        ("--ttl", "TIME", values.seconds, 300, "of responses not in the file (5m)"),
        ("--size", "SIZE", values.octets, 100, "of responses not in the file (100B)"),
        ("--warm-up", "N", values.count, 0, "first queries, which do not count (0)"),
        ("--max-entries", "N", values.count, None, "of each cache (as in the config)"),
        ("--max-size", "SIZE", values.octets, None, "of each cache (as in the config)"),
        (
            "--kernel-size",
            "SIZE",
            values.octets,
            None,
            "of kernel answers; 0B for none",
        ),
        ("--kernel-answer", "SIZE", values.octets, None, "of the longest of them"),
        ("--server", "IP:PORT", str, None, "in a capture, who is asked (any:53)"),
        ("--seed", "TEXT", str, "dnsfront", "of what is drawn at random (dnsfront)"),
    ):
        simulate.add_argument(
            option, metavar=metavar, type=kind, default=default, help=text
        )


def _add_live(add: _Commands) -> None:
    live = [
        add("live", "status", "Show the running server."),
        add("top", "top", "Watch the running server.", is_for_programs=False),
        add("live", "reload", "Have the running server take its changed config."),
        add("live", "restart", "Have a new process take over from the running server."),
        add("live", "stop", "Have the running server finish its work and exit."),
    ]
    for command, text in (
        ("drain", "Take a worker's slots away, and let it finish what it has."),
        ("undrain", "Give a drained worker its slots back."),
    ):
        live.append(add("live", command, text))
        live[-1].add_argument("worker", metavar="WORKER", help="the worker's name")
    live.append(add("live", "flush", "Drop responses from the caches."))
    what = live[-1].add_mutually_exclusive_group(required=True)
    what.add_argument("name", metavar="NAME", nargs="?", help="one name, all types")
    what.add_argument("--zone", metavar="Z", help="a name and everything below it")
    what.add_argument("--all", action="store_true", help="everything")
    live.append(add("cache", "cache", "Write what is cached to a file, or load it."))
    live[-1].add_argument(
        "action", choices=("dump", "load"), help="write the file, or read it"
    )
    live[-1].add_argument("file", metavar="FILE", help="a file, or - for a pipe")
    for parser in live:
        _add_socket(parser)


def _add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket",
        metavar="PATH",
        type=Path,
        help="control socket, in place of the one that the config names",
    )

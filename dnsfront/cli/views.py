"""What commands show to people; the only user of rich, with `top`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dnsfront.cli.progress import progress_of

_BAR_WIDTH = 32
_FILE_WIDTH = 160

#: Colours of worker states; what is not here is on its way to another state.
_STATE_STYLES = {"up": "green", "down": "red", "failed": "red"}


class _Console(Console):
    """rich's, which would end the process by itself when a pipe is closed."""

    def on_broken_pipe(self) -> None:
        """Leave the exception, which is being handled, to the caller."""
        raise  # noqa: PLE0704 - that one


def console() -> Console:
    """Return standard output, which is plain, and wide, where it is no terminal.

    Nothing in it is markup: `[fe80::1]` would be a tag.
    """
    return _Console(
        markup=False,
        emoji=False,
        highlight=False,
        width=None if sys.stdout.isatty() else _FILE_WIDTH,
    )


def show(view: RenderableType) -> None:
    """Print *view* to standard output."""
    console().print(view)


def _table(*columns: str, left: int = 1) -> Table:
    """Return a table without lines; columns after the first *left* hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right")
    return table


def ring_view(ring: Mapping[str, Any]) -> RenderableType:
    """Return each worker's share, as a number and as a bar; the longest fills it."""
    table = _table("WORKER", "WEIGHT", "SLOTS", "SHARE")
    table.add_column("")
    longest = max(worker["slots"] for worker in ring["workers"])
    for worker in ring["workers"]:
        table.add_row(
            worker["name"],
            "standby" if worker["standby"] else str(worker["weight"]),
            str(worker["slots"]),
            f"{worker['share']:.2%}",
            Bar(longest, 0, worker["slots"], width=_BAR_WIDTH, color="cyan"),
        )
    summary = (
        f"method {ring['method']}, {ring['slots']} slots, "
        f"largest over mean {ring['max_over_mean']:.3f}"
    )
    return Group(table, Text(summary))


def diff_view(change: Mapping[str, Any]) -> RenderableType:
    """Return what each worker gains and loses, and how far that is from the least."""
    table = _table("WORKER", "BEFORE", "AFTER", "GAINED", "LOST")
    for worker in change["workers"]:
        keys = ("before", "after", "gained", "lost")
        table.add_row(worker["name"], *(str(worker[key]) for key in keys))
    moved, least = change["slots_moved"], change["least_possible"]
    summary = (
        f"{moved} slots move ({change['percent']:.2f} %), the least possible is {least}"
    )
    if moved > least:
        summary += f": {moved - least} more than that"
    if change["seed_changed"]:
        summary += "\nthe seed changes: every name gets another slot"
    return Group(table, Text(summary))


def simulation_view(found: Mapping[str, Any]) -> RenderableType:
    """Return what queries would find, with owners and without, by number of workers."""
    table = _table(
        "WORKERS",
        "HITS",
        "IN KERNEL",
        "UPSTREAM",
        "LARGEST",
        "WOKEN MOST",
        "BY CLIENT: HITS",
        "UPSTREAM",
        "LARGEST",
    )
    for row in found["workers"]:
        ring, by_client = row["ring"], row["by_client"]
        table.add_row(
            str(row["workers"]),
            *(f"{ring[key]:.1%}" for key in ("hit_ratio", "kernel_ratio")),
            f"{ring['upstream_ratio']:.2%}",
            f"{ring['largest_share']:.1%} ({ring['largest_over_mean']:.2f})",
            f"{ring['largest_woken_share']:.1%}",
            f"{by_client['hit_ratio']:.1%}",
            f"{by_client['upstream_ratio']:.2%}",
            f"{by_client['largest_share']:.1%} ({by_client['largest_over_mean']:.2f})",
        )
    first = (
        f"{found['queries'] - found['warm_up']} queries,"
        f" {found['warm_up']} before them not counted, of {found['questions']}"
        f" questions in {found['seconds']} s; method {found['method']}"
    )
    if found["kernel_cache"]["mode"] == "off":
        first += "; kernel answers as if kernel_cache.mode were on"
    left_out = [f"left out: {count} {why}" for why, count in found["left_out"].items()]
    foot = (
        "Shares of all queries: upstream, of questions asked of upstreams for 100"
        " queries; largest, of\nthe worker that is asked most (over the mean); woken"
        " most, of the one that answers most itself.\nBy client: what the kernel would"
        " choose by addresses and ports, so that caches are copies."
    )
    return Group(Text("\n".join((first, *left_out))), Text(), table, Text(), Text(foot))


def status_view(
    status: Mapping[str, Any], rates: Mapping[str, float] | None = None
) -> RenderableType:
    """Return the running server at a glance; *rates* are queries a second by worker."""
    kernel = status["kernel"]
    head = Text(f"generation {status['generation']}, steering ")
    is_degraded = kernel["steering"] != "ebpf"
    head.append(kernel["steering"], style="yellow" if is_degraded else "green")
    head.append(f", kernel answers {kernel['answers']}")
    if is_degraded and kernel.get("reason"):
        head.append(f" ({kernel['reason']})")
    if status.get("query_path") == "pure":
        head.append(", query path not compiled (pure Python)", style="yellow")
    for line, style in _kernel_cache(status.get("kernel_cache", {})):
        head.append(f"\n{line}", style=style)
    for reason in status.get("not_ready", ()):
        head.append(f"\nnot ready: {reason}", style="red")
    for note in status.get("config", {}).get("notes", ()):
        head.append(f"\n{note}", style="red")
    for line, style in _rules(status.get("rules", ())):
        head.append(f"\n{line}", style=style)
    for line in progress_of(status):
        head.append(f"\n{line}", style="yellow")
    return Group(head, Text(), _workers(status, rates), Text(), _upstreams(status))


def _kernel_cache(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the kernel answers, and where it cannot; older servers tell none."""
    if told.get("reason"):
        yield f"nothing is answered in the kernel: {told['reason']}", "yellow"
    attached = [x["name"] for x in told.get("interfaces", ()) if x["hook"]]
    if attached:
        size = f"{told['size_bytes'] / (1 << 20):.1f}"
        most = f"{told['max_size_bytes'] / (1 << 20):.1f}"
        where = (
            f"{told['hits']} queries answered in the kernel at {', '.join(attached)}"
        )
        yield f"{where}: {told['entries']} responses, {size} of {most} MiB", ""
    for interface in told.get("interfaces", ()):
        if interface["reason"]:
            yield f"not answered in the kernel: {interface['reason']}", "yellow"


def _rules(rules: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield what rules have decided, and lines of their lists that say nothing."""
    for rule in rules:
        name = rule["name"] or f"rule {rule['number']}"
        names = "" if rule["names"] is None else f", a list of {rule['names']} names"
        yield f"{name}: {rule['action']}, {rule['hits']} queries{names}", ""
        if rule["lines_left_out"]:
            left_out = f"{rule['file']}: lines left out: {rule['lines_left_out']}"
            yield f"{left_out}, {rule['left_out'][0]}", "yellow"


def _workers(
    status: Mapping[str, Any], rates: Mapping[str, float] | None
) -> RenderableType:
    columns = ["WORKER", "STATE", "PID", "SHARE", "SLOTS", "BACKLOG", "QUERIES", "HITS"]
    table = _table(*columns, *(["QUERIES/S"] if rates is not None else []), left=2)
    slots = sum(worker["slots"] for worker in status["workers"]) or 1
    for worker in status["workers"]:
        state = str(worker["state"])
        rate = [] if rates is None else [f"{rates.get(worker['name'], 0):.0f}"]
        table.add_row(
            worker["name"],
            Text(state, style=_STATE_STYLES.get(state, "yellow")),
            _or_dash(worker["pid"]),
            f"{worker['slots'] / slots:.1%}",
            str(worker["slots"]),
            _or_dash(worker["backlog"]),
            str(worker["queries"]),
            "-" if worker["hit_ratio"] is None else f"{worker['hit_ratio']:.1%}",
            *rate,
        )
    return table


def _upstreams(status: Mapping[str, Any]) -> RenderableType:
    if not status["upstreams"]:
        return Text("no upstreams")
    # The servers of several pools are told apart; with one there is nothing to tell.
    has_pools = len(status.get("pools", ())) > 1
    pool = ["POOL"] if has_pools else []
    table = _table("UPSTREAM", *pool, "STATE", left=2 + has_pools)
    for upstream in status["upstreams"]:
        state = Text("up", style="green")
        if not upstream["up"]:
            state = Text(_down(upstream), style="red")
        of_pool = [upstream["pool"]] if has_pools else []
        table.add_row(upstream["address"], *of_pool, state)
    return table


def _down(upstream: Mapping[str, Any]) -> str:
    """Return why and since when an upstream is down; older servers do not tell."""
    tls = upstream.get("tls") or {}
    if tls.get("fault"):
        return f"not believed over TLS, {tls['fault']}: {tls['reason']}"
    reason = upstream.get("down_by")
    return f"down by {reason} since {upstream['down_since']}" if reason else "down"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)

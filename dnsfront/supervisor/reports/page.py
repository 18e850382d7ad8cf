"""The page to look at: who owns how much of the ring, and how each worker does."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from dnsfront import __version__

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}p{margin:.25rem 0 1rem}table{border-collapse:collapse;width:100%}
th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid #8886}
th:first-child,td:first-child{text-align:left}
.ring{display:flex;height:2.5rem;margin:1rem 0;border-radius:.5rem;overflow:hidden}
.ring div{color:#fff;text-align:center;line-height:2.5rem;overflow:hidden;min-width:1px}
i{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.5em}
.bad{color:#c00;font-weight:bold}:root{color-scheme:light dark}
"""


def html(status: dict[str, Any]) -> bytes:
    """Return the page of *status*; it loads nothing and shows no client and no name."""
    workers = status["workers"]
    colours = {worker["name"]: _colour(at) for at, worker in enumerate(workers)}
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>dnsfront</title>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<style>{_STYLE}</style><h1>dnsfront</h1>",
        f"<p>{_summary(status)}</p>",
        *(f"<p class=bad>{escape(reason)}</p>" for reason in status["not_ready"]),
        *(f"<p class=bad>{escape(note)}</p>" for note in status["config"]["notes"]),
        "<div class=ring>",
        *(_arc(worker, colours[worker["name"]]) for worker in workers),
        "</div><table><tr><th>worker<th>state<th>slots<th>share<th>queries",
        "<th>hit ratio<th>backlog<th>restarts",
        *(_row(worker, colours[worker["name"]]) for worker in workers),
        "</table>",
        _upstreams(status["upstreams"]),
        "<p><a href=/metrics>metrics</a> · <a href=/ring.json>ring.json</a> · ",
        "<a href=/healthz>healthz</a> · <a href=/readyz>readyz</a></p></html>\n",
    ]
    return "".join(parts).encode()


def _summary(status: dict[str, Any]) -> str:
    kernel = status["kernel"]
    words = [
        f"version {__version__}",
        f"generation {status['generation']}",
        f"steering {kernel['steering']}",
        f"listening at {', '.join(status['listen'])}",
    ]
    if kernel["reason"]:
        words.append(kernel["reason"])
    return escape(" · ".join(words))


def _arc(worker: dict[str, Any], colour: str) -> str:
    if not worker["slots"]:
        return ""
    name, percent = escape(worker["name"]), worker["share"] * 100
    return (
        f"<div style='flex:{worker['slots']};background:{colour}' "
        f"title='{name}: {worker['slots']} slots'>{name} {percent:.1f}%</div>"
    )


def _row(worker: dict[str, Any], colour: str) -> str:
    ratio = worker["hit_ratio"]
    cells = (
        f"<i style='background:{colour}'></i>{escape(worker['name'])}",
        escape(worker["state"]) + (", standby" if worker["standby"] else ""),
        f"{worker['slots']}",
        f"{worker['share'] * 100:.2f}%",
        f"{worker['queries']}",
        "-" if ratio is None else f"{ratio * 100:.1f}%",
        f"{worker['backlog']}",
        f"{worker['restarts']}",
    )
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells)


def _upstreams(upstreams: list[dict[str, Any]]) -> str:
    if not upstreams:
        return "<p>No upstreams: zones only.</p>"
    rows = "".join(
        f"<tr><td>{escape(upstream['address'])}"
        f"<td>{'up' if upstream['up'] else '<span class=bad>down</span>'}"
        f"<td>{upstream['requests']}<td>{upstream['failures']}"
        for upstream in upstreams
    )
    return (
        "<h2>Upstreams</h2><table><tr><th>address<th>state<th>requests<th>failures"
        f"{rows}</table>"
    )


def _colour(index: int) -> str:
    """Return a colour far from its neighbours': steps of the golden angle."""
    return f"hsl({index * 137.508 % 360:.0f} 60% 42%)"

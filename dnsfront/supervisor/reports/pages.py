"""What is to be seen over HTTP, by path."""

from __future__ import annotations

import json
from http import HTTPStatus

from dnsfront.supervisor.admin.http import PageMaker
from dnsfront.supervisor.admin.http_exchange import Page
from dnsfront.supervisor.change.outcome import Outcome
from dnsfront.supervisor.reports import page
from dnsfront.supervisor.reports.metrics import Exposition
from dnsfront.supervisor.reports.readiness import Readiness
from dnsfront.supervisor.reports.status import Reports


def pages(
    reports: Reports, readiness: Readiness, outcome: Outcome, expose: Exposition
) -> dict[str, PageMaker]:
    """Return what makes each page."""

    def metrics(accept: str) -> Page:
        return Page(*expose(accept))

    def ready(_accept: str) -> Page:
        if reasons := readiness.lacks():
            body = "".join(f"{reason}\n" for reason in reasons).encode()
            return Page(body, status=HTTPStatus.SERVICE_UNAVAILABLE)
        notes = [] if outcome.refused is None else outcome.refused.lines()
        return Page("".join(f"{line}\n" for line in ["ready", *notes]).encode())

    def ring(_accept: str) -> Page:
        body = json.dumps(reports.ring(), indent=2) + "\n"
        return Page(body.encode(), "application/json")

    def overview(_accept: str) -> Page:
        return Page(page.html(reports.status()), "text/html; charset=utf-8")

    return {
        "/": overview,
        "/metrics": metrics,
        "/healthz": lambda _accept: Page(b"ok\n"),
        "/readyz": ready,
        "/ring.json": ring,
    }

"""What operators and their programs see: metrics, probes, status, the ring."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.contract import METRICS
from tests.system.clients import ask
from tests.system.front import DEMO_ZONE, Address, FrontEnd, free_address
from tests.system.processes import DNSFRONT, Program, needed, output_of, run
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

WORKERS = ["w1", "w2", "w3", "w4"]
OUTCOMES = {"primary", "backup", "overflow", "unparsed", "fallback"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def front(folder: Path, upstream: FakeUpstream) -> Iterator[FrontEnd]:
    upstreams = {"servers": [{"address": str(upstream.address)}]}
    with FrontEnd(folder, upstreams=upstreams, zones=[DEMO_ZONE]) as made:
        for _ in range(2):
            ask(made.address, "www.example.test")
            ask(made.address, "cached.test")
            ask(made.address, "tcp.test", over_tcp=True)
        yield made


def test_every_metric_of_the_contract_is_there_with_its_labels(front: FrontEnd) -> None:
    labels: dict[str, set[str]] = {}
    for sample in front.metrics().samples:
        labels.setdefault(sample.name, set()).update(sample.labels)

    assert {name: labels.get(name) for name in METRICS} == METRICS


def test_outcomes_and_workers_of_the_contract_are_label_values(
    front: FrontEnd,
) -> None:
    samples = front.metrics().samples

    outcomes = {x.labels["outcome"] for x in samples if "outcome" in x.labels}
    workers = {x.labels["worker"] for x in samples if "worker" in x.labels}

    assert outcomes >= OUTCOMES
    assert sorted(workers) == WORKERS


def test_no_name_client_or_pid_is_in_the_metrics(front: FrontEnd) -> None:
    text = front.get("/metrics").body

    assert not [name for name in ("example", "cached.test", "tcp.test") if name in text]
    assert not [pid for pid in front.pids().values() if f'"{pid}"' in text]


def test_promtool_finds_nothing_to_say_about_the_metrics(front: FrontEnd) -> None:
    promtool = needed("promtool")

    checked = run(promtool, "check", "metrics", stdin=front.get("/metrics").body)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_openmetrics_is_served_to_who_accepts_it(front: FrontEnd) -> None:
    reply = front.get("/metrics", accept="application/openmetrics-text;version=1.0.0")

    assert reply.content_type.startswith("application/openmetrics-text")
    assert reply.body.endswith("# EOF\n")
    parsed = text_string_to_metric_families(reply.body)  # type: ignore[no-untyped-call]  # theirs
    families = {family.name for family in parsed}
    assert {"dnsfront_queries", "dnsfront_build", "dnsfront_worker_up"} <= families


def test_plain_text_is_served_to_everybody_else(front: FrontEnd) -> None:
    reply = front.get("/metrics")

    assert reply.content_type.startswith("text/plain; version=0.0.4")


@pytest.fixture(scope="module")
def prometheus(front: FrontEnd, folder: Path) -> Iterator[Address]:
    """The address of a real Prometheus that scrapes the front end every second."""
    address = free_address()
    config = folder / "prometheus.yaml"
    scraped = {
        "job_name": "dnsfront",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "static_configs": [{"targets": [str(front.admin)]}],
    }
    rules = str(Path(__file__).parents[2] / "deploy/prometheus-rules.yaml")
    config.write_text(
        json.dumps({"scrape_configs": [scraped], "rule_files": [rules]}), "utf-8"
    )
    with Program(
        needed("prometheus"),
        f"--config.file={config}",
        f"--web.listen-address={address}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        log=folder / "prometheus.log",
    ):
        yield address


def queried(prometheus: Address, expression: str) -> dict[str, float]:
    """Return the values of *expression*, by worker; none while there is no scrape."""
    connection = http.client.HTTPConnection(*prometheus, timeout=10)
    with closing(connection):
        try:
            connection.request(
                "GET", f"/api/v1/query?query={urllib.parse.quote(expression)}"
            )
        except ConnectionRefusedError:
            return {}
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            return {}
        results = json.load(response)["data"]["result"]
    return {x["metric"].get("worker", ""): float(x["value"][1]) for x in results}


def test_prometheus_scrapes_every_worker(front: FrontEnd, prometheus: Address) -> None:
    up = eventually(lambda: queried(prometheus, "dnsfront_worker_up"), within_s=20)

    assert up == dict.fromkeys(WORKERS, 1)
    assert queried(prometheus, 'up{job="dnsfront"}') == {"": 1}
    queries = queried(prometheus, "sum(dnsfront_queries_total)")
    assert queries == {
        "": sum(front.metrics().counts()[f"queries {x}"] for x in ("udp", "tcp"))
    }


def test_rules_that_we_ship_are_loaded(prometheus: Address) -> None:
    def rules() -> list[Any]:
        connection = http.client.HTTPConnection(*prometheus, timeout=10)
        with closing(connection):
            try:
                connection.request("GET", "/api/v1/rules")
            except ConnectionRefusedError:
                return []
            groups = json.load(connection.getresponse())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    loaded = eventually(rules, within_s=20)

    assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}
    assert not [rule for rule in loaded if rule.get("lastError")]


def test_status_has_the_shape_of_the_contract(front: FrontEnd) -> None:
    code, printed = front.command("status", "--json")
    status = json.loads(printed)

    assert code == 0
    assert {"generation", "workers", "upstreams", "kernel"} <= status.keys()
    form = "compiled" if "DNSFRONT_COMMAND" in os.environ else "pure"
    assert status["query_path"] == form
    assert f" query_path={form} " in front.log()
    assert (status["kernel"]["steering"], status["kernel"]["answers"]) == (
        "ebpf",
        "off",
    )
    assert [worker["name"] for worker in status["workers"]] == WORKERS
    for worker in status["workers"]:
        assert {"pid", "state", "slots", "backlog", "queries", "hit_ratio"} <= set(
            worker
        )
    [upstream] = status["upstreams"]
    assert upstream["up"] is True
    assert sum(worker["slots"] for worker in status["workers"]) == 65536


def test_status_is_readable_by_people(front: FrontEnd) -> None:
    code, printed = front.command("status")

    assert code == 0
    for pid in front.pids().values():
        assert re.search(rf"\b{pid}\b", printed)


def test_ring_page_equals_the_ring_command(front: FrontEnd) -> None:
    printed = output_of(*DNSFRONT, "ring", "--json", "-c", str(front.path))
    told = json.loads(printed)

    served = json.loads(front.get("/ring.json").body)

    assert served.pop("generation") == 1
    assert served == told


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/healthz", 200), ("/readyz", 200), ("/nothing", 404)],
)
def test_pages_are_there(front: FrontEnd, path: str, status: int) -> None:
    assert front.get(path).status == status


@pytest.mark.parametrize("clients", [40, 400])
def test_probes_and_metrics_answer_beside_clients_that_say_nothing(
    front: FrontEnd, clients: int
) -> None:
    with ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(socket.create_connection(front.admin))

        for path in ("/healthz", "/readyz", "/metrics"):
            assert front.get(path).status == HTTPStatus.OK


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_query_is_answered_by_the_owner_that_it_names(
    front: FrontEnd, transport: str
) -> None:
    for name in ("www.example.test", "cached.test"):
        options = ["--tcp"] if transport == "tcp" else []

        code, printed = front.command("query", name, "A", "--json", *options)

        told = json.loads(printed)
        assert (code, told["rcode"], told["transport"]) == (0, "NOERROR", transport)
        assert told["answered_by"] == told["owner"] == front.lookup([name])[name][0]
        assert told["answer"]

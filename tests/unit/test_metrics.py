"""The metrics of a front end whose pages were written by hand."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from dnsfront.ipc.stats import (
    BUCKETS,
    Counter,
    Limit,
    Rcode,
    Source,
    Upstream,
    upstream_at,
)
from dnsfront.kernel.layouts import layout
from dnsfront.supervisor.front import Front
from tests.contract import METRICS
from tests.unit.supervisor_fakes import (
    PlayedProcess,
    everything_due,
    played,
    running,
    write_config,
)

__all__ = ["played"]

UPSTREAM = 'upstreams: {servers: [{address: "192.0.2.1:53"}]}\n'

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(
    directory: Path,
    change: Callable[[Front], None] = lambda _front: None,
    accept: str = "",
) -> str:
    """Return the metrics of a front end with two workers, after *change*."""

    async def run() -> str:
        async with running(write_config(directory, more=UPSTREAM)) as front:
            await everything_due()
            change(front)
            text, _ = front.expose(accept)
            return text.decode()

    return asyncio.run(run())


def samples(text: str) -> Samples:
    """Return each sample by its name and label values, in the order of the labels."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): (
            sample.value
        )
        for family in parse(text)
        for sample in family.samples
    }


def test_every_metric_of_the_contract_has_its_labels(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    found = {
        sample.name: set(sample.labels)
        for family in parse(scrape(tmp_path))
        for sample in family.samples
    }

    assert played.events
    assert {name: found.get(name) for name in METRICS} == METRICS


def test_promtool_has_nothing_to_say(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")

    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=scrape(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert played.events


def test_openmetrics_is_given_to_those_who_ask(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    text = scrape(tmp_path, accept="application/openmetrics-text;version=1.0.0")

    families = parse_openmetrics(text)  # type: ignore[no-untyped-call] # it has none
    names = {family.name for family in families}

    assert played.events
    assert text.endswith("# EOF\n")
    assert {"dnsfront_queries", "dnsfront_build"} <= names


def test_words_of_a_page_become_samples(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    def change(front: Front) -> None:
        words = front.roster.tallies["w2"].words
        words[Counter.QUERIES_TCP] = 3
        words[Counter.HANDOVER_TCP] = 2
        front.roster.tallies["w1"].words[Counter.HANDOVER_TCP] = 5
        words[Rcode.FIRST + 3] = 4
        words[Rcode.FIRST + 16] = 1
        front.roster.tallies["w1"].restarts = 6

    found = samples(scrape(tmp_path, change))

    assert found["dnsfront_queries_total", ("tcp", "w2")] == 3
    assert found["dnsfront_handover_total", ("tcp",)] == 7
    assert found["dnsfront_responses_total", ("NXDOMAIN", "w2")] == 4
    assert found["dnsfront_responses_total", ("BADVERS", "w2")] == 1
    assert found["dnsfront_responses_total", ("NOERROR", "w1")] == 0
    assert ("dnsfront_responses_total", ("NXDOMAIN", "w1")) not in found
    assert found["dnsfront_worker_restarts_total", ("w1",)] == 6
    assert played.events


def test_buckets_are_cumulative_and_sums_are_seconds(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    def change(front: Front) -> None:
        for name in ("w1", "w2"):
            words = front.roster.tallies[name].words
            for at in (Source.HIT, upstream_at(0) + Upstream.DURATION):
                words[at] = 10
                words[at + 1] = 5
                words[at + BUCKETS - 1] = 1
                words[at + BUCKETS] = 3_500_000_000

    found = samples(scrape(tmp_path, change))

    bucket, name = "_bucket", "dnsfront_response_duration_seconds"
    # Label values in the order of the label names: le, source, worker.
    assert found[name + bucket, ("5e-05", "hit", "w1")] == 10
    assert found[name + bucket, ("0.0001", "hit", "w1")] == 15
    assert found[name + bucket, ("2.5", "hit", "w1")] == 15
    assert found[name + bucket, ("+Inf", "hit", "w1")] == 16
    assert found[name + "_count", ("hit", "w1")] == 16
    assert found[name + "_sum", ("hit", "w1")] == 3.5
    assert found["dnsfront_upstream_duration_seconds_count", ("192.0.2.1:53",)] == 32
    assert found["dnsfront_upstream_duration_seconds_sum", ("192.0.2.1:53",)] == 7
    assert played.events


def test_outcomes_are_the_fields_of_the_counter_struct_with_their_help(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    text = scrape(tmp_path)
    steering = layout("steering")

    outcomes = [
        labels[0] for name, labels in samples(text) if name == "dnsfront_steering_total"
    ]

    assert outcomes == list(steering.fields)
    for field, comment in steering.comments.items():
        assert comment, f"struct steering: {field} has no help text"
        assert f"{field}: {comment}" in text
    assert played.events


def test_counters_of_a_removed_worker_stay_and_go_on_when_it_returns(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    async def run() -> list[Samples]:
        seen = []
        async with running(write_config(tmp_path)) as front:
            await everything_due()
            expose, reloader = front.expose, front.reloader
            front.roster.tallies["w2"].words[Counter.QUERIES_UDP] = 11
            front.datapath.steering.set_dropped(2, 0)
            load = vars(front.datapath.steering)["_load"]
            load[load.nbytes // 8 // 128 * 2] = 40  # steered to worker_id 2
            for workers in ("2", "1", "2"):
                write_config(tmp_path, workers=workers)
                await reloader.reload()
                seen.append(samples(expose("")[0].decode()))
            return seen

    before, without, after = asyncio.run(run())

    for found in (before, without, after):
        assert found["dnsfront_queries_total", ("udp", "w2")] == 11
        assert found["dnsfront_steered_total", ("w2",)] == 40
    ups = [x.get(("dnsfront_worker_up", ("w2",))) for x in (before, without, after)]
    assert ups == [1, None, 1]
    assert without["dnsfront_ring_slots", ("w2",)] == 0
    moved = after["dnsfront_ring_slots_moved_total", ()]
    assert moved == 2 * before["dnsfront_ring_slots", ("w2",)]
    assert after["dnsfront_ring_generation", ()] == 3
    assert played.events


def states(found: Samples) -> dict[str, str]:
    """Return the one state of each worker, whose other states must be 0."""
    values = {
        labels: value
        for (name, labels), value in found.items()
        if name == "dnsfront_worker_state"
    }
    named = {worker: state for (state, worker), value in values.items() if value == 1}
    assert sum(values.values()) == len(named)
    assert len(values) == 6 * len(named)
    return named


def test_drained_worker_is_up_on_purpose_and_a_removed_one_is_not_there(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    async def run() -> list[Samples]:
        seen = []
        async with running(write_config(tmp_path, workers="3")) as front:
            await everything_due()
            expose, reloader = front.expose, front.reloader
            await reloader.drain("w2")
            seen.append(samples(expose("")[0].decode()))
            write_config(tmp_path, workers="1")
            await reloader.reload()
            seen.append(samples(expose("")[0].decode()))
        return seen

    drained, removed = asyncio.run(run())

    assert states(drained) == {"w1": "up", "w2": "drained", "w3": "up"}
    assert drained["dnsfront_worker_up", ("w2",)] == 1
    assert states(removed) == {"w1": "up"}
    assert ("dnsfront_worker_up", ("w2",)) not in removed
    assert played.events


def test_dead_worker_is_down(played: type[PlayedProcess], tmp_path: Path) -> None:
    def change(_front: Front) -> None:
        played.by_name["w2"].die()

    found = samples(scrape(tmp_path, change))

    assert states(found) == {"w1": "up", "w2": "down"}
    assert found["dnsfront_worker_up", ("w1",)] == 1
    assert found["dnsfront_worker_up", ("w2",)] == 0


def test_mode_of_steering_is_a_label(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    found = samples(scrape(tmp_path))

    assert found["dnsfront_steering_info", ("userspace",)] == 1
    assert ("dnsfront_steering_info", ("ebpf",)) not in found
    assert played.events


def test_bounds_of_the_admin_endpoint_are_counted_with_the_others(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    def change(front: Front) -> None:
        front.endpoint.counts.reached["admin_time"] += 2
        front.roster.tallies["w1"].words[Limit.PENDING] = 1
        front.roster.tallies["w2"].words[Limit.PENDING] = 2

    found = samples(scrape(tmp_path, change))

    assert found["dnsfront_limit_reached_total", ("admin_time",)] == 2
    assert found["dnsfront_limit_reached_total", ("admin_connections",)] == 0
    assert found["dnsfront_limit_reached_total", ("pending",)] == 3
    assert played.events

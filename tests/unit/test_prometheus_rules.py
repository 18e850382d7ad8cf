"""The alert rules that we ship: before, during and after what they tell of."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.supervisor_fakes import PlayedProcess, played, running, write_config

__all__ = ["played"]

ROOT = Path(__file__).parents[2]
TESTS = sorted(Path(__file__).parent.glob("prometheus-rules*.test.yaml"))
RULES = ROOT / "deploy/prometheus-rules.yaml"
UPSTREAM = 'upstreams: {servers: [{address: "192.0.2.1:53"}]}\n'


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule["alert"] for rule in rules() if "alert" in rule]


@pytest.fixture(scope="module")
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    return path


@pytest.mark.long
def test_alerts_come_stay_and_go_with_their_causes(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", *TESTS],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_pass_the_check(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", RULES], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tried_before_during_and_after(alert: str) -> None:
    fires: dict[str, list[bool]] = defaultdict(list)
    for test in [x for y in TESTS for x in yaml.safe_load(y.read_text())["tests"]]:
        for look in test.get("alert_rule_test", ()):
            if look["alertname"] == alert:
                fires[test["name"]].append("exp_alerts" in look)

    assert [False, True, True, False] in [
        [looks[0], looks[1], looks[-2], looks[-1]]
        for looks in fires.values()
        if len(looks) >= 4
    ]


def test_rules_name_metrics_that_there_are(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    async def scrape() -> str:
        async with running(write_config(tmp_path, more=UPSTREAM)) as front:
            return front.expose("")[0].decode()

    families = text_string_to_metric_families(asyncio.run(scrape()))
    known = {sample.name for family in families for sample in family.samples}
    named = {
        name
        for rule in rules()
        for name in re.findall(r"(?<![\w:])dnsfront_\w+", rule["expr"])
    }

    assert named <= known
    assert played.events

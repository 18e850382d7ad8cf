"""What is in deploy/ agrees with the program, as far as that can be told offline."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
import yaml

from dnsfront.config.load import load
from dnsfront.config.model import Config

ROOT = Path(__file__).parents[2]
CONFIG_MAP, DAEMON_SET = yaml.safe_load_all(
    (ROOT / "deploy/kubernetes.yaml").read_text("utf-8")
)
[CONTAINER] = DAEMON_SET["spec"]["template"]["spec"]["containers"]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "dnsfront.yaml"
    path.write_text(CONFIG_MAP["data"]["dnsfront.yaml"], "utf-8")
    return load(path)


def test_config_of_the_manifest_has_no_mistake_and_no_warning(config: Config) -> None:
    assert not config.told


@pytest.mark.parametrize(
    ("probe", "path"), [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
)
def test_probes_of_the_manifest_go_over_loopback_and_are_let_in(
    config: Config, probe: str, path: str
) -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    get = CONTAINER[probe]["httpGet"]

    assert DAEMON_SET["spec"]["template"]["spec"]["hostNetwork"] is True
    assert (get["path"], ports[get["port"]]) == (path, config.admin.listen.port)
    host = ipaddress.ip_address(get["host"])
    assert host.is_loopback
    assert any(host in ipaddress.ip_network(x) for x in config.admin.allow)

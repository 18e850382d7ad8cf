"""What `dnsfront check` warns of: it is allowed, and hardly ever meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfront.cli.main import main
from tests.unit.cli_configs import write

#: Without it every config draws a warning.
SEED = "ring: {seed: our own}"


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        pytest.param([], 1, id="by default"),
        pytest.param(["log: {level: info}", "ring: {seed: dnsfront}"], 4, id="written"),
    ],
)
def test_public_seed_draws_a_warning_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[str], line: int
) -> None:
    path = write(tmp_path, "public.yaml", *lines)

    assert main(["check", "-c", str(path)]) == 0

    out, err = capsys.readouterr()
    assert out.startswith(f"{path}: OK, ")
    [warning] = err.splitlines()
    assert warning.startswith(f'{path}:{line}: ring.seed: warning: "dnsfront" is')
    assert main(["check", "--json", "-c", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [
        warning.replace("warning: ", "")
    ]


@pytest.mark.parametrize(
    ("identity", "warned"),
    [
        ('{id: "{foo}-{worker}"}', ["id: warning: {foo} is told as it is; known is"]),
        (
            '{id: "{version}{version}", version: "{} {worker} {version}"}',
            [
                "id: warning: {version} ",
                "version: warning: {} ",
                "version: warning: {w",
            ],
        ),
        ('{id: "{worker} at {", version: "dnsfront {version}"}', []),
    ],
    ids=["another", "each once", "known"],
)
def test_words_in_braces_that_mean_nothing_draw_a_warning(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    identity: str,
    warned: list[str],
) -> None:
    path = write(tmp_path, "braces.yaml", SEED, f"identity: {identity}")

    assert main(["check", "-c", str(path)]) == 0

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(warned)
    for line, begin in zip(lines, warned, strict=True):
        assert line.startswith(f"{path}:4: identity.{begin}")


def test_metrics_for_other_hosts_that_none_may_read_draw_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (admin, warnings) in enumerate(
        [
            ('{listen: "0.0.0.0:9353"}', 1),
            ('{listen: "0.0.0.0:9353", allow: ["192.0.2.0/24"]}', 0),
            ('{listen: "127.0.0.2:9353"}', 0),
        ]
    ):
        path = write(tmp_path, f"{number}.yaml", SEED, f"admin: {admin}")

        assert main(["check", "-c", str(path)]) == 0

        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == warnings
        assert all(line.startswith(f"{path}:4: admin.allow: ") for line in lines)


@pytest.mark.parametrize(("timeout", "warnings"), [("1s", 0), ("1001ms", 1), ("2s", 1)])
def test_time_out_beyond_the_patience_of_clients_draws_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], timeout: str, warnings: int
) -> None:
    path = write(tmp_path, "slow.yaml", SEED, f"upstreams: {{timeout: {timeout}}}")

    assert main(["check", "-c", str(path)]) == 0

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == warnings
    for line in lines:
        shown = "2s" if timeout == "2s" else "1001ms"
        assert line.startswith(
            f"{path}:4: upstreams.timeout: warning: {shown} is more than 1s: "
        )

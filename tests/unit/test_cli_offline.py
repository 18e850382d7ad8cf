from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dnsfront import __version__
from dnsfront.cli.main import main
from tests.unit.cli_configs import ZONE, config, write

#: Without it every config draws a warning.
SEED = "ring: {seed: our own}"

__all__ = ["config"]


def printed(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - JSON
    return json.loads(capsys.readouterr().out)


def test_good_config_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path, "own.yaml", SEED)

    assert main(["check", "-c", str(config)]) == 0

    assert capsys.readouterr() == (
        f"{config}: OK, 2 addresses, 4 workers, 0 upstreams, 1 zone\n",
        "",
    )


def test_bad_config_is_told_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "bad.yaml", "ring: {methd: ring, workers: -1}")

    assert main(["check", "-c", str(path)]) == os.EX_CONFIG

    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == [
        f"{path}:3: ring.workers: got -1, want 1 to 64, or a list of workers",
        f"{path}:3: ring.methd: unknown key, want method",
    ]


def test_mistakes_in_zones_are_told_with_those_of_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "bad.yaml", "log: {level: loud}")
    (tmp_path / "lab.zone").write_text(ZONE + "www IN A 192.0.2.999\n")

    assert main(["check", "-c", str(path)]) == os.EX_CONFIG

    zone, log = capsys.readouterr().err.splitlines()
    assert zone.startswith(f"{path}:2: zones[0].file: {tmp_path}/lab.zone:5: ")
    assert log.startswith(f"{path}:3: log.level: ")


def test_check_speaks_json(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--json", "-c", str(config)]) == 0
    told = printed(capsys)
    assert (told["ok"], told["mistakes"]) == (True, [])

    bad = write(tmp_path, "bad.yaml", "log: {level: loud}")
    assert main(["check", "--json", "-c", str(bad)]) == os.EX_CONFIG
    assert printed(capsys) == {
        "ok": False,
        "mistakes": [
            f'{bad}:3: log.level: got "loud", want debug, info, warning or error'
        ],
        "warnings": [],
    }


def test_schema_needs_no_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == 0

    schema = printed(capsys)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["listen"]


def test_missing_config_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", "/nowhere.yaml"]) == os.EX_CONFIG

    assert (
        capsys.readouterr().err
        == "/nowhere.yaml: cannot read: No such file or directory\n"
    )


def test_ring_shares_add_up(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ring", "--json", "-c", str(config)]) == 0

    ring = printed(capsys)
    workers = ring["workers"]
    assert (ring["method"], ring["slots"]) == ("ring", 1024)
    assert [worker["name"] for worker in workers] == ["w1", "w2", "w3", "w4"]
    assert {(worker["weight"], worker["standby"]) for worker in workers} == {(1, False)}
    assert sum(worker["slots"] for worker in workers) == 1024
    assert ring["max_over_mean"] == max(x["slots"] for x in workers) / 256


def test_ring_keeps_the_order_of_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "conf.yaml", "ring: {workers: [{name: b}, {name: a}]}")

    main(["ring", "--json", "-c", str(path)])

    assert [worker["name"] for worker in printed(capsys)["workers"]] == ["b", "a"]


def test_ring_is_drawn_as_bars(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path, "c.yaml", "ring: {workers: [{name: a}, {name: b, standby: true}]}"
    )

    assert main(["ring", "-c", str(path)]) == 0

    header, first, second, summary = capsys.readouterr().out.splitlines()
    assert header.split() == ["WORKER", "WEIGHT", "SLOTS", "SHARE"]
    assert first.split() == ["a", "1", "65536", "100.00%", "█" * 32]
    assert second.split() == ["b", "standby", "0", "0.00%"]
    assert summary.strip() == "method ring, 65536 slots, largest over mean 1.000"


def test_ring_is_drawn_as_svg(config: Path, tmp_path: Path) -> None:
    assert main(["ring", "-c", str(config), "--svg", str(tmp_path / "o.svg")]) == 0

    assert (tmp_path / "o.svg").read_text("utf-8").startswith("<svg")


def test_svg_that_cannot_be_written_is_one_sentence(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["ring", "-c", str(config), "--svg", "/nowhere/o.svg"])

    assert code == os.EX_UNAVAILABLE
    assert (
        capsys.readouterr().err
        == "dnsfront: /nowhere/o.svg: cannot write: No such file or directory\n"
    )


def test_lookup_folds_case_and_reads_escapes(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["www.lab.test", "WWW.Lab.TEST.", r"\119ww.lab.test", r"w\ww.lab.test"]

    assert main(["lookup", "--json", "-c", str(config), *names]) == 0

    found = printed(capsys)
    assert [entry["name"] for entry in found] == names
    assert len({entry["slot"] for entry in found}) == 1
    assert all(entry["owner"] == entry["preference"][0] for entry in found)
    assert sorted(found[0]["preference"]) == ["w1", "w2", "w3", "w4"]


def test_an_escaped_dot_is_part_of_its_label(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lookup", "--json", "-c", str(config), r"a\.b.test", "a.b.test"])

    escaped, plain = printed(capsys)
    assert escaped["slot"] != plain["slot"]


def test_lookup_prints_one_line_per_name(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lookup", "--json", "-c", str(config), "a.test", "."])
    found = printed(capsys)

    assert main(["lookup", "-c", str(config), "a.test", "."]) == 0

    assert capsys.readouterr().out.splitlines() == [
        " ".join([entry["name"], str(entry["slot"]), *entry["preference"]])
        for entry in found
    ]


def test_lookup_reads_names_from_standard_input(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("b.test\n\n c.test\n"))

    main(["lookup", "--json", "-c", str(config), "a.test", "-"])

    names = [entry["name"] for entry in printed(capsys)]
    assert names == ["a.test", "b.test", "c.test"]


def test_lookup_of_no_name_is_wrong_usage(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lookup", "-c", str(config), "a..test"]) == os.EX_USAGE

    out, err = capsys.readouterr()
    assert not out
    assert err == (
        "dnsfront: lookup: 'a..test': got a label of 0 octets, want 1 to 63\n"
    )


def test_diff_tells_the_least_possible(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = "[{name: w1}, {name: w3}, {name: w4}]"
    new = write(
        tmp_path, "new.yaml", f"ring: {{seed: lab, slots: 1024, workers: {workers}}}"
    )

    assert main(["diff", "--json", str(config), str(new)]) == 0

    change = printed(capsys)
    gone = change["workers"][1]
    assert gone["name"] == "w2"
    assert (gone["after"], gone["gained"], gone["lost"]) == (0, 0, gone["before"])
    assert change["slots_moved"] == change["least_possible"] == gone["before"]
    assert change["percent"] == 100 * gone["before"] / 1024
    assert change["seed_changed"] is False


def test_diff_speaks_to_people(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = write(tmp_path, "new.yaml", "ring: {seed: x, slots: 1024, workers: 4}")

    assert main(["diff", str(config), str(new)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["WORKER", "BEFORE", "AFTER", "GAINED", "LOST"]
    assert "slots move" in lines[5]
    assert lines[6].strip() == "the seed changes: every name gets another slot"


def test_diff_refuses_a_wrong_config(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path, "bad.yaml", "log: {level: loud}")

    assert main(["diff", str(config), str(bad)]) == os.EX_CONFIG

    assert f"{bad}:3: log.level: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["explode"], id="unknown command"),
        pytest.param(["lookup"], id="no name"),
        pytest.param(["check", "--frobnicate"], id="unknown option"),
        pytest.param(["diff", "one.yaml"], id="one config"),
        pytest.param(["flush"], id="flush of nothing"),
        pytest.param(["flush", "a.test", "--all"], id="flush of two things"),
        pytest.param(["top"], id="top without a terminal"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == os.EX_USAGE

    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("dnsfront: ")
    assert len(err.splitlines()) == 1


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out == f"dnsfront {__version__}\n"


def test_an_unforeseen_error_is_logged_with_its_place(
    config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dnsfront.cli.offline.load", lambda _path: 1 / 0)

    assert main(["ring", "-c", str(config)]) == os.EX_SOFTWARE

    (record,) = caplog.records
    assert record.message == "command_failed"
    assert record.exc_info is not None


def test_interrupt_ends_as_a_shell_expects(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dnsfront.cli.offline.load", interrupted)

    assert main(["ring", "-c", str(config)]) == 130

from __future__ import annotations

import io
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from dnsfront.cli.main import main
from tests.unit.cli_configs import config, write

dpkt = pytest.importorskip("dpkt", reason="dpkt is not installed: run `make setup`")

__all__ = ["config"]

CLIENT, SERVER, UPSTREAM = "192.0.2.7", "192.0.2.1", "198.51.100.1"
QUESTION = b"\x01a\x04test\0\0\1\0\1"
ANSWER = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\xc0\0\2\5"


def simulated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["simulate", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(
    capsys: pytest.CaptureFixture[str], *arguments: str, code: int = os.EX_USAGE
) -> str:
    assert main(["simulate", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    return str(err)


@pytest.fixture
def names(tmp_path: Path) -> str:
    path = tmp_path / "names"
    path.write_text("".join(f"host{number}.test A\n" for number in range(500)))
    return str(path)


def query(*, opt: bytes = b"", name: bytes = QUESTION) -> bytes:
    return b"\0\1\1\0\0\1\0\0\0\0\0" + bytes([bool(opt)]) + name + opt


def response(ttl: int = 30) -> bytes:
    answer = ANSWER[:6] + ttl.to_bytes(4, "big") + ANSWER[10:]
    return b"\0\1\x81\x80\0\1\0\1\0\0\0\0" + QUESTION + answer


def datagram(
    octets: bytes,
    source: str = CLIENT,
    target: str = SERVER,
    ports: tuple[int, int] = (9999, 53),
) -> bytes:
    udp = dpkt.udp.UDP(sport=ports[0], dport=ports[1], data=octets)
    udp.ulen = len(udp)
    packed = {
        "src": socket.inet_pton(family_of(source), source),
        "dst": socket.inet_pton(family_of(target), target),
    }
    if ":" in source:
        ip = dpkt.ip6.IP6(nxt=17, plen=len(udp), data=udp, hlim=64, **packed)
        return bytes(dpkt.ethernet.Ethernet(type=0x86DD, data=ip))
    return bytes(dpkt.ethernet.Ethernet(data=dpkt.ip.IP(p=17, data=udp, **packed)))


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def captured(path: Path, packets: list[tuple[float, bytes]]) -> str:
    module = dpkt.pcapng if path.suffix == ".pcapng" else dpkt.pcap
    with path.open("wb") as file:
        writer = module.Writer(file)
        for at, octets in packets:
            writer.writepkt(octets, ts=at)
    return str(path)


def test_table_for_people(
    config: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", names, "-c", str(config), "--workers", "1,4"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("500 queries, 0 before them not counted, of 500")
    assert [line.split()[0] for line in lines[2:5]] == ["WORKERS", "1", "4"]


def test_figures_for_programs(
    config: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--queries", "3000", "--warm-up", "1000", "--max-entries", "50")

    found = simulated(capsys, names, "-c", str(config), *options)

    assert [row["workers"] for row in found["workers"]] == [1, 2, 4, 8, 16, 32, 64]
    assert found["questions"] == 500
    assert found["cache"]["max_entries"] == 50
    for row in found["workers"]:
        for placed in (row["ring"], row["by_client"]):
            assert 0 < placed["hit_ratio"] < 1
            assert placed["upstream_queries"] == 2000 * placed["upstream_ratio"]
        assert row["ring"]["kernel_ratio"] < row["ring"]["hit_ratio"]
        assert row["by_client"]["kernel_ratio"] == 0
    first, *_, last = found["workers"]
    assert last["ring"]["hit_ratio"] > first["ring"]["hit_ratio"]
    assert last["by_client"]["hit_ratio"] < first["by_client"]["hit_ratio"]


def test_sizes_of_the_config_hold_unless_options_say_otherwise(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = (
        "ring: {seed: own}",
        "cache: {max_entries: 9, max_size: 1MiB}",
        "kernel_cache: {max_size: 64KiB, max_answer: 600B}",
    )
    path = write(tmp_path, "s.yaml", *sections)
    options = ("--max-size", "2KiB", "--kernel-size", "0B", "--workers", "1")

    found = simulated(capsys, names, "-c", str(path), "--workers", "1")
    other = simulated(capsys, names, "-c", str(path), *options)

    assert found["cache"] == {"max_entries": 9, "max_size_octets": 1 << 20}
    assert found["kernel_cache"] == {
        "mode": "auto",
        "max_size_octets": 64 << 10,
        "max_answer_octets": 600,
    }
    assert other["cache"] == {"max_entries": 9, "max_size_octets": 2 << 10}
    assert other["kernel_cache"]["max_size_octets"] == 0
    assert other["workers"][0]["ring"]["kernel_ratio"] == 0


def test_equal_seeds_give_equal_figures(
    config: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(seed: str) -> dict[str, Any]:
        drawn = ("--queries", "500", "--seed", seed, "--workers", "3")
        return simulated(capsys, names, "-c", str(config), *drawn)

    assert run("a") == run("a")
    assert run("a")["workers"] != run("b")["workers"]


def test_names_come_from_standard_input(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"a.test\nb.test MX\n")))
    monkeypatch.setattr("sys.stdin", stream)

    assert simulated(capsys, "-", "-c", str(config))["questions"] == 2


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng"])
def test_a_capture_comes_through_a_pipe(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    capture = captured(tmp_path / f"capture{suffix}", [(1000.5, datagram(query()))])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(
        target=lambda: pipe.write_bytes(Path(capture).read_bytes())
    )
    writer.start()

    found = simulated(capsys, str(pipe), "-c", str(config))

    writer.join()
    assert found["queries"] == 1


def test_what_is_no_name_is_not_shown_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"x" * 30_000_000)

    assert len(refused(capsys, str(path), code=os.EX_DATAERR)) < 300


def test_without_a_config_the_defaults_serve(
    names: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nowhere = tmp_path / "none.yaml"
    monkeypatch.setattr("dnsfront.cli.main.DEFAULT_CONFIG", nowhere)
    monkeypatch.setattr("dnsfront.cli.simulate.DEFAULT_CONFIG", nowhere)

    found = simulated(capsys, names, "--workers", "1")

    assert found["config"] is None
    assert found["cache"]["max_entries"] == 100_000


def test_method_exact_has_as_many_workers_as_places(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = write(tmp_path, "e.yaml", "ring: {seed: own, method: exact, places: 4}")

    found = simulated(capsys, names, "-c", str(exact))

    assert [row["workers"] for row in found["workers"]] == [1, 2, 4]
    error = refused(capsys, names, "-c", str(exact), "--workers", "5")
    assert "--workers 5: worker w5 would take place 5, want 1 to 4" in error


def test_standby_workers_of_the_config_are_asked_nothing(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = "ring: {seed: own, workers: [{name: a}, {name: b, standby: true}]}"
    path = write(tmp_path, "s.yaml", ring)

    found = simulated(capsys, names, "-c", str(path), "--workers", "2")

    assert found["workers"][0]["ring"]["largest_share"] == 1


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng"])
def test_queries_of_a_capture_with_their_times_and_responses(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    capture = captured(
        tmp_path / f"capture{suffix}",
        [
            (1000.5, datagram(query())),
            (1000.6, datagram(response(), SERVER, CLIENT, (53, 9999))),
            (1020.0, datagram(query(), "2001:db8::7", "2001:db8::1")),
            (1031.0, datagram(query())),
        ],
    )

    found = simulated(capsys, capture, "-c", str(config), "--workers", "1")

    # The TTL in the capture is 30 s; what is made up has five minutes.
    assert (found["queries"], found["questions"], found["seconds"]) == (3, 1, 30)
    assert found["workers"][0]["ring"]["hit_ratio"] == 1 / 3
    assert found["left_out"] == {}


def test_queries_to_others_and_odd_packets_are_left_out(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tcp = dpkt.ip.IP(p=6, data=dpkt.tcp.TCP(dport=53, data=b"\0\1x"))
    packets = [
        datagram(query()),
        datagram(query(), SERVER, UPSTREAM),
        datagram(query(name=b"\x01a\0\0\xff\0\1")),
        datagram(query(name=b"\x01a\0\0\1\0\3")),
        datagram(query()[:-1]),
        datagram(query())[:-3],
        datagram(b"\0"),
        datagram(query(), ports=(53, 9999)),
        bytes(dpkt.ethernet.Ethernet(data=tcp)),
        b"\0",
    ]
    path = captured(tmp_path / "odd.pcap", [(1.0, packet) for packet in packets])

    found = simulated(capsys, path, "-c", str(config), "--server", f"{SERVER}:53")

    assert found["queries"] == 1
    assert found["left_out"] == {
        "class or ANY": 2,
        "malformed": 2,
        "fragment or cut packet": 1,
        "TCP segment": 1,
        "unreadable packet": 1,
    }


def test_the_kernel_answers_plain_queries_of_a_capture_only(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, cookie = b"\0\0\x29\x04\xd0\0\0\0\0\0\0", b"\0\x0a\0\x08" + bytes(8)
    with_cookie = plain[:-2] + bytes([0, len(cookie)]) + cookie

    def kernel_ratio(opt: bytes) -> float:
        packets = [(float(at), datagram(query(opt=opt))) for at in range(8)]
        capture = captured(tmp_path / "opt.pcap", packets)
        found = simulated(capsys, capture, "-c", str(config), "--workers", "1")
        ratio: float = found["workers"][0]["ring"]["kernel_ratio"]
        return ratio

    assert kernel_ratio(b"") == kernel_ratio(plain) == 5 / 8
    assert kernel_ratio(with_cookie) == 0


def test_a_damaged_capture_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.pcap"
    whole = captured(path, [(1.0, datagram(query()))] * 2)
    path.write_bytes(path.read_bytes() + b"\0\0\0")

    error = refused(capsys, whole, "-c", str(config), code=os.EX_DATAERR)

    assert error.startswith(f"dnsfront: {path}: damaged or cut short behind packet 2:")


def test_a_clock_that_jumped_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packets = [(1.0, datagram(query())), (2.0e9, datagram(query()))]
    path = captured(tmp_path / "late.pcap", packets)

    error = refused(capsys, path, "-c", str(config), code=os.EX_DATAERR)

    assert "packet 2: got one of 1999999999 s after the first, want a year" in error


def test_a_capture_without_queries_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = captured(tmp_path / "none.pcap", [(1.0, datagram(query()))])
    asked = ("-c", str(config), "--server", "[2001:db8::1]:5353")

    error = refused(capsys, path, *asked, code=os.EX_DATAERR)

    wanted = "got no query over UDP to 2001:db8::1, port 5353, want some"
    assert error == f"dnsfront: {path}: {wanted}\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--workers", "0"], 'got "0", want numbers of workers from 1 to 64'),
        (["--workers", "1,x"], 'got "1,x", want numbers of workers from 1 to 64'),
        (["--queries", "-1"], 'got "-1", want a whole number from 1 to'),
        (["--zipf", "1"], "got --zipf without --queries"),
        (["--zipf", "nan", "--queries", "1"], 'got "nan", want a number from 0 on'),
        (["--rate", "0"], 'got "0", want a number of 0.001 or more'),
        (["--ttl", "5"], 'got "5", want a whole number with its unit'),
        (["--size", "1 kB"], 'got "1 kB", want a whole number with its unit'),
        (["--kernel-answer", "2KiB"], "got 2048B, want a size from 512B to 1232B"),
        (["--warm-up", "500"], "got --warm-up 500 for 500 queries, want fewer"),
    ],
)
def test_an_option_that_means_nothing_is_refused(
    names: str,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    reason: str,
) -> None:
    assert reason in refused(capsys, names, "-c", str(config), *options)


def test_a_wrong_server_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = captured(tmp_path / "q.pcap", [(1.0, datagram(query()))])

    error = refused(capsys, path, "-c", str(config), "--server", "192.0.2.1")

    assert '--server: got "192.0.2.1", want a port too' in error


def test_a_file_that_is_not_there_is_named(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, "/nonexistent/q", "-c", str(config), code=os.EX_DATAERR)

    assert error == (
        "dnsfront: /nonexistent/q: cannot read: No such file or directory\n"
    )

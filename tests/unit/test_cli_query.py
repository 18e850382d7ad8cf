"""`dnsfront query`, asked of a worker that is there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import pytest

from dnsfront.cli.main import main
from dnsfront.cli.query import _reachable
from dnsfront.config.address import SocketAddress
from dnsfront.dns.messages import error_name, question, response, type_from_text
from dnsfront.dns.names import qname_from_text
from dnsfront.errors import UnavailableError, WireError
from tests.unit.fake_upstream import said_to
from tests.unit.worker_rig import ZONE, Rig

RECORDS = ZONE + (
    'many TXT "one" "two; three"\n'
    "alias CNAME www\n"
    "svc HTTPS 1 . alpn=h2\n"
    + "".join(f'big TXT "{n:03d}{"x" * 240}"\n' for n in range(20))
)


@pytest.fixture(scope="module")
def server() -> Iterator[Rig]:
    """A worker w1 that serves in a thread of its own."""
    is_over = threading.Event()
    with Rig(zone=RECORDS) as rig:

        def serve() -> None:
            while not is_over.is_set():
                rig.round()
                is_over.wait(0.001)

        thread = threading.Thread(target=serve)
        thread.start()
        yield rig
        is_over.set()
        thread.join()


class ControlSocket:
    """Stands in for the control socket of the server: there, or not."""

    def __init__(self) -> None:
        self.placed: dict[str, Any] | None = None
        self.requests: list[dict[str, Any]] = []

    def ask(
        self, path: Path, request: dict[str, Any], _timeout_s: float
    ) -> dict[str, Any]:
        self.requests.append(request)
        if self.placed is None:
            raise UnavailableError(f"{path}: no dnsfront runs")
        return {"ok": True, "placed": [self.placed]}


@pytest.fixture(autouse=True)
def control(monkeypatch: pytest.MonkeyPatch) -> ControlSocket:
    made = ControlSocket()
    monkeypatch.setattr("dnsfront.cli.live.ask", made.ask)
    return made


@pytest.fixture
def config(server: Rig, tmp_path: Path) -> Path:
    return config_for(tmp_path, server.address)


def config_for(folder: Path, address: tuple[str, int], workers: int = 1) -> Path:
    path = folder / "dnsfront.yaml"
    path.write_text(
        f"listen: ['{address[0]}:{address[1]}']\n"
        f"ring: {{workers: {workers}, slots: 1024, seed: lab}}\n"
        "admin: {socket: c.sock}\n"
        "upstreams: {servers: [{address: '192.0.2.53:53'}]}\n"
    )
    return path


def told(
    capsys: pytest.CaptureFixture[str], config: Path, *arguments: str
) -> dict[str, Any]:
    assert main(["query", "-c", str(config), "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_query_shows_owner_who_answered_and_the_answer(
    capsys: pytest.CaptureFixture[str], config: Path, server: Rig
) -> None:
    assert main(["query", "-c", str(config), "www.example.test"]) == 0

    first, *rest = capsys.readouterr().out.splitlines()
    host, port = server.address
    assert first.startswith(
        f"www.example.test A: NOERROR from {host}:{port} over udp in "
    )
    assert first.endswith("flags aa rd ra")
    assert rest[0].startswith("owner: w1, slot ")
    assert rest[1:] == [
        "answered by: w1",
        "goes to: default, server 192.0.2.53:53",
        "answer:",
        "  www.example.test. 300 A 192.0.2.80",
    ]


def test_query_says_so_when_another_than_the_owner_answered(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, server: Rig
) -> None:
    config = config_for(tmp_path, server.address, workers=8)
    owners = {}
    for name in ("www.example.test", "ns1.example.test", "nobody.example.test"):
        main(["query", "-c", str(config), name])
        lines = capsys.readouterr().out.splitlines()
        owners[lines[1].split()[1].rstrip(",")] = lines[2]

    for owner, line in owners.items():
        is_owner = owner == "w1"
        assert line == (
            "answered by: w1" + ("" if is_owner else ", not the owner, by the file")
        )
    assert set(owners) != {"w1"}


def test_query_for_programs_has_all_that_people_see(
    capsys: pytest.CaptureFixture[str], config: Path, server: Rig
) -> None:
    found = told(capsys, config, "alias.example.test", "aaaa")

    assert 0 <= found.pop("milliseconds") < 60_000
    assert 0 <= found.pop("slot") < 1024
    assert found.pop("slots") == 1024
    [soa] = found.pop("authority")
    assert soa["type"] == "SOA"
    assert found == {
        "name": "alias.example.test",
        "type": "AAAA",
        "server": "{}:{}".format(*server.address),
        "transport": "udp",
        "owner": "w1",
        "owner_by": "file",
        "forward": {"to": "default", "by": None, "server": "192.0.2.53:53"},
        "answered_by": "w1",
        "rcode": "NOERROR",
        "flags": ["aa", "rd", "ra"],
        "answer": [
            {
                "name": "alias.example.test.",
                "ttl": 300,
                "type": "CNAME",
                "data": "www.example.test.",
            }
        ],
        "additional": [],
        "errors": [],
    }


@pytest.mark.parametrize(
    ("arguments", "transport"),
    [
        (["www.example.test"], "udp"),
        (["www.example.test", "--tcp"], "tcp"),
        (["big.example.test", "TXT"], "tcp"),
    ],
    ids=["by default", "--tcp", "too large for a datagram"],
)
def test_transport_is_the_one_that_is_asked_for_or_needed(
    capsys: pytest.CaptureFixture[str],
    config: Path,
    arguments: list[str],
    transport: str,
) -> None:
    found = told(capsys, config, *arguments)

    assert found["transport"] == transport
    assert len(found["answer"]) == (20 if "TXT" in arguments else 1)


def test_error_and_its_reason_are_shown(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    assert main(["query", "-c", str(config), "elsewhere.test"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "REFUSED" in lines[0]
    assert "error 20: Not Authoritative" in lines


@pytest.mark.parametrize(
    ("code", "name"),
    [(0, "Other"), (14, "Not Ready"), (24, "Invalid Data"), (29, "Synthesized")],
)
def test_extended_errors_have_the_names_of_the_registry(code: int, name: str) -> None:
    assert error_name(code) == name
    assert error_name(49152) == ""


def test_owner_is_the_one_that_the_running_server_has(
    capsys: pytest.CaptureFixture[str], config: Path, control: ControlSocket
) -> None:
    control.placed = {"name": "x", "slot": 7, "slots": 65536, "owner": "w2"}
    assert main(["query", "-c", str(config), "www.example.test"]) == 0

    printed = capsys.readouterr()
    assert printed.out.splitlines()[1:3] == [
        "owner: w2, slot 7 of 65536",
        "answered by: w1, not the owner",
    ]
    assert printed.err == ""
    assert control.requests == [{"command": "lookup", "names": ["www.example.test"]}]

    control.placed = {"name": "x", "slot": 7, "owner": None}
    assert main(["query", "-c", str(config), "www.example.test"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "owner: nobody, slot 7"


def test_owner_is_the_files_and_so_is_told_where_no_server_runs(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    assert main(["query", "-c", str(config), "www.example.test"]) == 0

    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].endswith(" of 1024, by the file")
    [line] = printed.err.splitlines()
    assert line.startswith(f"query: the owner is the one that {config} has: ")
    assert line.endswith("no dnsfront runs")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a..b"], "got a label of 0 octets"),
        (["a.test", "NONSENSE"], 'got "NONSENSE", want a type like AAAA or TYPE65'),
        (["a.test", "TYPE70000"], "want a type like"),
        (["a.test", "--server", "nowhere"], '--server: got "nowhere", want IP:port'),
        (["a.test", "--timeout", "0"], "want more than 0"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
    config: Path,
    arguments: list[str],
    reason: str,
) -> None:
    assert main(["query", "-c", str(config), *arguments]) == 64

    [line] = capsys.readouterr().err.splitlines()
    assert reason in line


def test_server_that_is_not_there_is_told_as_unavailable(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{taken.getsockname()[1]}"
        silent = ["query", "-c", str(config), "a.test", "--server", server]

        assert main([*silent, "--timeout", "0.03"]) == 69
        assert main([*silent, "--tcp"]) == 69

    assert capsys.readouterr().err.splitlines() == [
        f"dnsfront: {server}: no response within 0.03 s",
        f"dnsfront: {server}: Connection refused",
    ]


def test_what_is_no_response_to_the_query_is_passed_over(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    with closing(socket.socket(type=socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

        def answer() -> None:
            octets, sender = sock.recvfrom(512)
            query = dns.message.from_wire(octets)
            whole = said_to(query, "a.test. 60 A 192.0.2.1").to_wire()
            wrong_id = bytes([whole[0] ^ 1]) + whole[1:]
            other = said_to(
                dns.message.make_query("b.test", "A", id=query.id)
            ).to_wire()
            for message in (octets, wrong_id, other, whole):
                sock.sendto(message, sender)

        thread = threading.Thread(target=answer)
        thread.start()
        server = f"127.0.0.1:{sock.getsockname()[1]}"
        found = told(capsys, config, "a.test", "--server", server)
        thread.join()

    assert [record["data"] for record in found["answer"]] == ["192.0.2.1"]
    assert found["answered_by"] is None


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("0.0.0.0:53", "127.0.0.1:53"),
        ("[::]:53", "[::1]:53"),
        ("192.0.2.1:53", "192.0.2.1:53"),
    ],
)
def test_server_at_all_addresses_is_asked_at_loopback(listen: str, asked: str) -> None:
    assert str(_reachable(SocketAddress.from_text(listen))) == asked


@pytest.mark.parametrize(
    ("text", "number"),
    [("a", 1), ("HTTPS", 65), ("smimea", 53), ("type65", 65), ("TYPE65535", 65535)],
)
def test_type_is_a_mnemonic_or_a_number(text: str, number: int) -> None:
    assert type_from_text(text) == number


def test_question_is_the_name_and_type_asked_for() -> None:
    query = dns.message.from_wire(question(r"a\.b.Example.test", 65))

    assert query.question[0].name.to_text() == r"a\.b.example.test."
    assert query.question[0].rdtype == 65
    assert query.flags & dns.flags.RD
    assert [option.otype for option in query.options] == [3]
    assert qname_from_text(r"a\.b.Example.test") in question(r"a\.b.Example.test", 65)


def test_response_that_cannot_be_read_is_an_error() -> None:
    query = question("a.test", 1)

    with pytest.raises(WireError, match="cannot be read"):
        response(
            query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:24] + b"\xc0", query
        )

"""Without a single right: the same front end, hashing in user space, and saying so."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, ask_all, nsid_of
from tests.system.front import DEMO_ZONE, Address, FrontEnd, free_address, owners
from tests.system.load import under_load
from tests.system.metrics import missed, responded
from tests.system.processes import (
    AS_NOBODY,
    DNSFRONT,
    ROOT,
    run,
    skip_unless_nobody_may_run,
)
from tests.system.remains import bound_sockets
from tests.system.upstream import FakeUpstream

NAMES = [f"name{number}.test" for number in range(1000)]
NOBODY = 65534


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A directory of nobody's own, since pytest's are root's alone."""
    skip_unless_nobody_may_run()
    with tempfile.TemporaryDirectory() as path:
        os.chown(path, NOBODY, NOBODY)
        yield Path(path)


@pytest.fixture(scope="module")
def listen() -> list[Address]:
    return [free_address(), free_address("::1"), free_address("0.0.0.0")]  # noqa: S104 - a private network


@pytest.fixture(scope="module")
def front(
    open_folder: Path, listen: list[Address], upstream: FakeUpstream
) -> Iterator[FrontEnd]:
    with FrontEnd(
        open_folder,
        rights=AS_NOBODY,
        listen=[str(address) for address in listen],
        upstreams={"servers": [{"address": str(upstream.address)}]},
        zones=[DEMO_ZONE],
    ) as made:
        yield made


def test_one_warning_tells_what_is_missing_and_what_it_costs(front: FrontEnd) -> None:
    lines = [line for line in front.log().splitlines() if " INFO " not in line]

    [warning] = [line for line in lines if "key=ring.seed" not in line]
    assert len(lines) == 2
    assert " WARNING supervisor steering_in_user_space " in warning
    assert "CAP_BPF" in warning
    assert "hand-over" in warning


def test_status_shows_that_names_are_steered_in_user_space(front: FrontEnd) -> None:
    kernel = front.status()["kernel"]

    assert (kernel["steering"], kernel["answers"]) == ("userspace", "off")
    assert "CAP_BPF" in kernel["reason"]
    assert front.get("/readyz").body == "ready\n"


def test_thousand_names_are_answered_by_the_workers_that_lookup_names(
    front: FrontEnd, listen: list[Address], upstream: FakeUpstream
) -> None:
    preferences = front.lookup(NAMES)
    before = front.metrics()

    responses = ask_all(listen[0], [qname_of(name) for name in NAMES])

    assert [nsid_of(x) for x in responses] == [preferences[x][0] for x in NAMES]
    # One source port, so the kernel gave everything to one worker.
    taken = Counter(front.metrics().by_worker("queries_total", transport="udp"))
    taken -= Counter(before.by_worker("queries_total", transport="udp"))
    [(worker, count)] = taken.items()
    assert count == len(NAMES)
    foreign = len(NAMES) - owners(preferences)[worker]
    assert 0 < foreign < len(NAMES)
    front.expect(
        before.counts(),
        Counter({"queries udp": len(NAMES), "handover userspace": foreign})
        + missed(len(NAMES), str(upstream.address)),
    )


@pytest.mark.parametrize("at", range(3), ids=["IPv4", "IPv6", "wildcard"])
@pytest.mark.parametrize("over_tcp", [False, True], ids=["UDP", "TCP"])
def test_every_address_and_transport_is_served(
    front: FrontEnd, listen: list[Address], at: int, *, over_tcp: bool
) -> None:
    address = Address(listen[at].host.replace("0.0.0.0", "127.0.0.2"), listen[at].port)  # noqa: S104
    names = [f"name{number}.example.test" for number in range(20)]
    preferences = front.lookup(names)

    responses = [ask(address, name, over_tcp=over_tcp) for name in names]

    assert [nsid_of(x) for x in responses] == [preferences[x][0] for x in names]


def test_zone_answer_is_handed_over_too(front: FrontEnd, listen: list[Address]) -> None:
    before = front.metrics().counts()

    response = ask(listen[0], "mail.example.test", "AAAA")

    assert str(response.answer[0][0]) == "2001:db8::25"
    change = front.metrics().counts() - before
    change.pop("handover userspace", 0)
    assert change == Counter({"queries udp": 1}) + responded(1, "zone")


def test_no_query_is_lost_while_workers_leave_and_come_back(
    front: FrontEnd, listen: list[Address]
) -> None:
    names = [f"name{number}.wild.example.test" for number in range(100)]

    with under_load(listen[0], names, per_second=1000) as load:
        for worker in ("w1", "w2", "w3", "w4") * 3:
            assert front.command("drain", worker)[0] == 0
            assert front.command("undrain", worker)[0] == 0

    assert load.sent > 0
    assert load.lost == []


def rights_of_the_unit() -> set[str]:
    """Return the capabilities that deploy/dnsfront.service leaves to the supervisor."""
    unit = (ROOT / "deploy/dnsfront.service").read_text("utf-8")
    lines = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    return {
        name.removeprefix("CAP_").lower() for line in lines for name in line.split()
    }


def with_rights(rights: Iterable[str]) -> tuple[str, ...]:
    """Return options of setpriv(1) for root with these rights and no others."""
    return (f"--bounding-set={','.join(('-all', *(f'+{x}' for x in rights)))}",)


def processes() -> list[int]:
    return [int(x.name) for x in Path("/proc").iterdir() if x.name.isdecimal()]


def uid_of(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116 - a number is no path
    except FileNotFoundError:
        return 0  # it has ended meanwhile


def test_without_net_admin_workers_answer_and_the_right_is_named(
    tmp_path: Path,
) -> None:
    rights = rights_of_the_unit() - {"net_admin"}
    with FrontEnd(
        tmp_path,
        rights=with_rights(rights),
        zones=[DEMO_ZONE],
        kernel_cache={"mode": "auto"},
    ) as front:
        assert ask(front.address, "www.example.test").answer
        kernel = front.status()["kernel"]
        reason = front.status()["kernel_cache"]["reason"]

    assert (kernel["steering"], kernel["answers"]) == ("ebpf", "off")
    assert "grant CAP_NET_ADMIN" in reason
    assert front.log().count("kernel_cache_off") == 1


def test_root_that_can_be_nobody_else_does_not_start(tmp_path: Path) -> None:
    rights = rights_of_the_unit() - {"setgid"}
    config = tmp_path / "dnsfront.yaml"
    servers = '[{address: "127.0.0.1:9"}]'
    listen = f'listen: ["{free_address()}"]'
    config.write_text(f"{listen}\nupstreams: {{servers: {servers}}}\n")

    done = run(*DNSFRONT, "run", "-c", str(config), rights=with_rights(rights))

    assert done.returncode == os.EX_NOPERM
    last = done.stderr.splitlines()[-1]
    assert "without CAP_SETGID," in last
    assert "Traceback" not in done.stderr


def test_rights_of_the_unit_are_enough_for_the_kernel(tmp_path: Path) -> None:
    with FrontEnd(
        tmp_path, rights=with_rights(rights_of_the_unit()), zones=[DEMO_ZONE]
    ) as front:
        assert front.status()["kernel"]["steering"] == "ebpf"
        assert ask(front.address, "www.example.test").answer
        uids = {name: uid_of(pid) for name, pid in front.pids().items()}
        others = Counter(map(uid_of, processes()))
    assert len(set(uids.values())) == len(uids)
    assert not set(uids.values()) & {0, NOBODY}
    assert [others[uid] for uid in uids.values()] == [1] * len(uids)
    assert front.log().count(" WARNING ") == 1  # of the seed


@pytest.mark.parametrize("missing", ["bpf", "perfmon"])
def test_right_that_is_missing_is_named_and_costs_only_steering(
    tmp_path: Path, missing: str
) -> None:
    rights = rights_of_the_unit() - {missing}
    with FrontEnd(tmp_path, rights=with_rights(rights), zones=[DEMO_ZONE]) as front:
        kernel = front.status()["kernel"]
        assert ask(front.address, "www.example.test").answer

    assert kernel["steering"] == "userspace"
    assert f"CAP_{missing.upper()}" in kernel["reason"]


def test_kubernetes_and_systemd_grant_the_same_rights() -> None:
    manifest = (ROOT / "deploy/kubernetes.yaml").read_text("utf-8")
    [granted] = re.findall(r"add: \[(.*)\]", manifest)

    assert {name.lower() for name in granted.split(", ")} == rights_of_the_unit()


def test_reserved_port_needs_a_right_that_is_named(open_folder: Path) -> None:
    folder = open_folder / "reserved"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    front = FrontEnd(
        folder, rights=AS_NOBODY, listen=["127.0.0.1:53"], zones=[DEMO_ZONE]
    )
    others = bound_sockets()

    program = front.launch()

    assert program.wait() == os.EX_NOPERM
    *read, sentence = program.output().splitlines()
    assert all("zone_compiled" in line for line in read)
    assert "listen[0] 127.0.0.1:53: no right to bind the UDP port" in sentence
    assert "CAP_NET_BIND_SERVICE" in sentence
    assert bound_sockets() == others
    assert not front.control.exists()


def test_control_socket_of_another_user_needs_a_right_that_is_named(
    open_folder: Path, tmp_path: Path
) -> None:
    folder = open_folder / "control"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    front = FrontEnd(folder, rights=AS_NOBODY, zones=[DEMO_ZONE])
    front.configure(
        admin={"listen": str(front.admin), "socket": str(tmp_path / "control.sock")}
    )

    program = front.launch()

    assert program.wait() == os.EX_NOPERM
    *read, sentence = program.output().splitlines()
    assert all("zone_compiled" in line for line in read)
    assert f"admin.socket {tmp_path}/control.sock: no right" in sentence


def test_leaving_workers_answer_from_the_address_that_was_asked(
    front: FrontEnd, listen: list[Address]
) -> None:
    names = [f"name{number}.wild.example.test" for number in range(100)]
    wildcard = Address("127.0.0.2", listen[2].port)

    # The clients' sockets are connected, and take responses from there only.
    with (
        under_load(listen[1], names, per_second=400) as over_ipv6,
        under_load(wildcard, names, per_second=400) as at_wildcard,
    ):
        for worker in ("w1", "w2", "w3", "w4"):
            assert front.command("drain", worker)[0] == 0
            assert front.command("undrain", worker)[0] == 0

    assert over_ipv6.sent
    assert over_ipv6.lost == at_wildcard.lost == []


def test_kernel_cache_is_told_to_be_off_and_workers_answer(
    front: FrontEnd, listen: list[Address]
) -> None:
    front.configure(kernel_cache={"mode": "auto"})
    try:
        assert front.command("reload")[0] == 0
        status = front.status()
        assert ask(listen[0], "www.example.test").answer
    finally:
        front.configure(kernel_cache={"mode": "off"})
        assert front.command("reload")[0] == 0

    assert status["kernel"]["answers"] == "off"
    assert status["kernel_cache"]["reason"] == "names are steered in user space"
    assert front.log().count("kernel_cache_off reason=") == 1

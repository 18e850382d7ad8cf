"""A change of the addresses that are served, while they are."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dns.rcode
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, ask_all, nsid_of
from tests.system.front import DEMO_ZONE, Address, FrontEnd, free_address
from tests.system.load import under_load
from tests.system.processes import AS_NOBODY, skip_unless_nobody_may_run
from tests.system.remains import bound_sockets, descriptors_of, held_by
from tests.waiting import eventually

NAMES = [f"name{number}.wild.example.test" for number in range(300)]
QNAMES = [qname_of(name) for name in NAMES]
PER_SECOND = 500
NOBODY = 65534
APPLIED_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[FrontEnd]:
    with FrontEnd(folder, ring={"workers": 3}, zones=[DEMO_ZONE]) as made:
        yield made


@pytest.fixture(scope="module")
def in_user_space() -> Iterator[FrontEnd]:
    skip_unless_nobody_may_run()
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        with FrontEnd(
            Path(folder), rights=AS_NOBODY, ring={"workers": 3}, zones=[DEMO_ZONE]
        ) as made:
            yield made


@pytest.fixture(autouse=True)
def _one_listener(front: FrontEnd, in_user_space: FrontEnd) -> Iterator[None]:
    yield
    for each in (front, in_user_space):
        listen(each, each.address)


def listen(front: FrontEnd, *addresses: Address) -> None:
    """Have *front* serve these addresses, and no others."""
    front.configure(listen=[str(address) for address in addresses])
    code, text = front.command("reload")
    assert code == 0, text


def assert_served(front: FrontEnd, address: Address) -> None:
    """Prove that every name is answered there by its owner, over UDP and TCP."""
    preferences = front.lookup(NAMES)
    asked = Address(address.host.replace("0.0.0.0", "127.0.0.3"), address.port)  # noqa: S104
    responses = ask_all(asked, QNAMES)
    assert [nsid_of(x) for x in responses] == [preferences[x][0] for x in NAMES]
    for name in NAMES[:5]:
        assert nsid_of(ask(asked, name, over_tcp=True)) == preferences[name][0]


def is_bound(address: Address) -> bool:
    return any(line.endswith(f":{address.port:04X}") for line in bound_sockets())


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "0.0.0.0", "::"])  # noqa: S104
def test_new_address_is_served_and_the_old_one_has_no_gap(
    front: FrontEnd, host: str
) -> None:
    new, pids = free_address(host), front.pids()

    with under_load(front.address, NAMES, PER_SECOND) as load:
        listen(front, front.address, new)
        assert_served(front, new if host != "::" else Address("::1", new.port))
        listen(front, front.address)

    assert load.lost == []
    assert set(load.rcodes) == {dns.rcode.NOERROR}
    assert front.pids() == pids
    assert not is_bound(new)


def test_what_was_asked_before_an_address_goes_is_answered(front: FrontEnd) -> None:
    old = free_address()
    listen(front, front.address, old)

    load = under_load(old, NAMES, PER_SECOND)
    with under_load(front.address, NAMES, PER_SECOND) as staying:
        with load as leaving:
            eventually(lambda: leaving.sent > PER_SECOND / 4)
        listen(front, front.address)

    assert leaving.lost == staying.lost == []
    assert not is_bound(old)


def test_wildcard_takes_the_place_of_an_address_and_gives_it_back(
    front: FrontEnd,
) -> None:
    wildcard = Address("0.0.0.0", front.address.port)  # noqa: S104

    with under_load(front.address, NAMES, PER_SECOND) as load:
        listen(front, wildcard)
        assert_served(front, wildcard)
        assert_served(front, front.address)
        listen(front, front.address)

    assert_served(front, front.address)
    assert load.sent > 0
    assert load.lost == []


def test_respawned_and_new_workers_listen_where_the_others_do(front: FrontEnd) -> None:
    new, before = free_address(), front.pids()
    listen(front, front.address, new)

    os.kill(front.pids()["w2"], signal.SIGKILL)
    eventually(lambda: front.pids().get("w2") not in (None, before["w2"]))
    eventually(front.is_ready, APPLIED_WITHIN_S)
    front.configure(ring={"workers": 4})
    assert front.command("reload")[0] == 0

    assert_served(front, new)
    front.configure(ring={"workers": 3})


def test_refused_address_changes_nothing_and_is_counted(front: FrontEnd) -> None:
    other = free_address()
    before, pids = front.metrics().counts(), front.pids()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(other)
        taken.listen()
        front.configure(listen=[str(front.address), str(other)], ring={"workers": 5})
        code, text = front.command("reload")

    assert code == 1
    assert text.startswith(f"listen[1] {other}: TCP address is in use; ")
    front.expect(before, {"config_reloads failure": 1})
    assert front.pids() == pids
    assert not is_bound(other)
    front.configure(ring={"workers": 3})
    assert_served(front, front.address)


def test_user_space_does_the_same(in_user_space: FrontEnd) -> None:
    front = in_user_space
    new = free_address("::1")

    with under_load(front.address, NAMES, PER_SECOND) as load:
        listen(front, front.address, new)
        assert_served(front, new)
        with under_load(new, NAMES, PER_SECOND) as leaving:
            eventually(lambda: leaving.sent > PER_SECOND / 4)
        listen(front, front.address)

    assert load.lost == leaving.lost == []
    assert not is_bound(new)


def test_twenty_changes_leave_nothing_behind(front: FrontEnd) -> None:
    ours = [front.address, *(free_address() for _ in range(3))]
    pids = [front.program.pid, *front.pids().values()]

    def held() -> list[int]:
        return [len(held_by(pids[0]).objects), *map(descriptors_of, pids)]

    before = held()
    for number in range(20):
        listen(front, *ours[: 1 + number % 4])
    listen(front, front.address)

    def is_left() -> bool:
        # A connection to the control socket may still have been open before.
        now = held()
        assert all(x <= y for x, y in zip(now, before, strict=True)), (now, before)
        return True

    eventually(is_left)
    assert_served(front, front.address)


def test_admin_endpoint_moves(front: FrontEnd) -> None:
    old, new = front.admin, free_address()
    section = {"listen": str(new), "socket": str(front.control)}

    front.configure(admin=section)
    assert front.command("reload")[0] == 0

    front.admin = new
    assert front.get("/readyz").body == "ready\n"
    assert not is_bound(old)
    front.configure(admin=section | {"listen": str(old)})
    assert front.command("reload")[0] == 0
    front.admin = old
    assert front.get("/readyz").body == "ready\n"


@pytest.mark.parametrize("way", ["reload", "take-over"])
def test_admin_endpoint_widens_and_narrows_on_its_port(
    front: FrontEnd, way: str
) -> None:
    old, wide = front.admin, Address("0.0.0.0", front.admin.port)  # noqa: S104
    section = {"socket": str(front.control), "allow": ["127.0.0.0/8"]}

    for address in (wide, old):
        front.configure(admin=section | {"listen": str(address)})
        if way == "reload":
            assert front.command("reload")[0] == 0
        else:
            front.take_over()

        assert front.get("/readyz").body == "ready\n"
        assert is_bound(wide)

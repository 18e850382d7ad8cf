"""Where programs are attached, who is there already, and what is left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from dnsfront.errors import KernelError, PrivilegeError
from dnsfront.kernel.answers import KernelAnswers
from dnsfront.kernel.hook import Hook
from dnsfront.kernel.maps import SCHED_CLS, XDP, load_program
from tests.kern.answering import ROOM_OCTETS, entry_for, message_for
from tests.kern.lab import HASH_KEY, SLOTS
from tests.kern.packets import PORT
from tests.kern.process import in_child
from tests.kern.queries import qname_of
from tests.namespaces import ip
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dnsfront.kernel.hook import HookMode
    from tests.kern.answering import AnswerLab

QUESTION: Final = qname_of("www.example.test") + b"\0\0\1\0\1"
#: r0 = 2, which is XDP_PASS; exit.
XDP_PASS: Final = bytes.fromhex("b700000002000000 9500000000000000")
#: r0 = 0, which is TCX_PASS, the end of the row; or -1, which is TCX_NEXT. Exit.
TCX_PASS: Final = bytes.fromhex("b700000000000000 9500000000000000")
TCX_NEXT: Final = bytes.fromhex("b7000000ffffffff 9500000000000000")
LO_MODES: Final[tuple[HookMode, ...]] = ("xdp_generic", "tc")


@pytest.fixture
def other(request: pytest.FixtureRequest) -> Iterator[int]:
    """A program of somebody else: its descriptor; code and type are the test's."""
    code, kind = request.param
    fd = load_program("other", code, kind)
    yield fd
    os.close(fd)


@pytest.fixture
def cable() -> Iterator[str]:
    """An interface with a driver that knows XDP."""
    ip("link", "add", "dnsf-a", "type", "veth", "peer", "name", "dnsf-b")
    yield "dnsf-a"
    ip("link", "delete", "dnsf-a")


def program_at(interface: str) -> int | None:
    """Return the id of the XDP program at an interface."""
    shown = subprocess.run(
        ["ip", "-json", "link", "show", interface], capture_output=True, check=True
    )
    xdp = json.loads(shown.stdout)[0].get("xdp")
    return int(xdp["prog"]["id"]) if xdp else None


def is_answered() -> bool:
    """Return whether a query over lo has its answer, without any server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", PORT))
        client.settimeout(10)
        client.send(message_for(QUESTION))
        try:
            return len(client.recv(4096)) > len(message_for(QUESTION))
        except ConnectionRefusedError:
            return False


@pytest.mark.parametrize("mode", LO_MODES)
def test_hook_answers_from_its_making_to_its_closing(
    answering: AnswerLab, mode: HookMode
) -> None:
    answering.keep(entry_for(QUESTION))
    assert not is_answered()

    hook = answering.answers.attach("lo", mode)
    assert is_answered()

    hook.close()
    hook.close()
    assert not is_answered()


@pytest.mark.parametrize("mode", LO_MODES)
def test_death_of_the_process_takes_the_program_away(
    answering: AnswerLab, mode: HookMode
) -> None:
    answering.keep(entry_for(QUESTION))
    program = answering.answers.program_fd(mode)

    def attach_and_die() -> None:
        Hook("lo", mode, program)
        assert is_answered()

    in_child(attach_and_die)

    eventually(lambda: not is_answered())


@pytest.mark.parametrize("mode", LO_MODES)
def test_program_is_replaced_from_one_packet_to_the_next(
    answering: AnswerLab, mode: HookMode
) -> None:
    answering.keep(entry_for(QUESTION))
    code, kind = (TCX_NEXT, SCHED_CLS) if mode == "tc" else (XDP_PASS, XDP)
    hook = Hook("lo", mode, answering.answers.program_fd(mode))
    idle = load_program("idle", code, kind)
    try:
        assert is_answered()
        hook.replace(idle)
        assert not is_answered()
        hook.replace(answering.answers.program_fd(mode))
        assert is_answered()
    finally:
        hook.close()
        os.close(idle)


@pytest.mark.parametrize(
    "other", [(TCX_NEXT, SCHED_CLS), (TCX_PASS, SCHED_CLS)], indirect=True
)
def test_programs_of_others_at_tc_stay_beside_ours(
    answering: AnswerLab, other: int
) -> None:
    answering.keep(entry_for(QUESTION))
    ours = answering.answers.attach("lo", "tc")
    theirs = Hook("lo", "tc", other)
    try:
        assert is_answered()
        ours.close()
        assert not is_answered()
        again = answering.answers.attach("lo", "tc")
        again.close()
    finally:
        theirs.close()


@pytest.mark.parametrize("other", [(XDP_PASS, XDP)], indirect=True)
@pytest.mark.parametrize("mode", ["xdp", "xdp_generic"])
def test_program_of_others_before_the_stack_is_left_alone(
    answering: AnswerLab, cable: str, other: int, mode: HookMode
) -> None:
    theirs = Hook(cable, mode, other)
    before = program_at(cable)
    assert before

    with pytest.raises(
        KernelError,
        match=rf"^answer at {cable} \({mode}\): EBUSY; another program has the hook",
    ):
        answering.answers.attach(cable, mode)

    assert program_at(cable) == before
    theirs.close()
    answering.answers.attach(cable, mode).close()
    assert program_at(cable) is None


@pytest.mark.parametrize("other", [(XDP_PASS, XDP)], indirect=True)
@pytest.mark.parametrize(
    ("theirs", "ours"), [("xdp", "xdp_generic"), ("xdp_generic", "xdp")]
)
def test_program_of_others_in_the_other_mode_is_in_the_way(
    answering: AnswerLab, cable: str, other: int, theirs: HookMode, ours: HookMode
) -> None:
    hook = Hook(cable, theirs, other)
    with pytest.raises(KernelError, match="another program has the hook"):
        answering.answers.attach(cable, ours)
    hook.close()


def test_driver_without_xdp_is_named(answering: AnswerLab) -> None:
    with pytest.raises(
        KernelError, match=r"^answer at lo \(xdp\): \w+; the driver has no XDP"
    ):
        answering.answers.attach("lo", "xdp")


def test_link_with_packets_too_large_for_the_driver_is_named(
    answering: AnswerLab, cable: str
) -> None:
    for end in (cable, "dnsf-b"):
        ip("link", "set", end, "mtu", "9000")

    with pytest.raises(KernelError, match=r"ERANGE; the MTU is too large for XDP"):
        answering.answers.attach(cable, "xdp")

    for mode in LO_MODES:
        answering.answers.attach(cable, mode).close()


@pytest.mark.parametrize("mode", ["xdp", "xdp_generic", "tc"])
def test_missing_interface_is_named(answering: AnswerLab, mode: HookMode) -> None:
    with pytest.raises(
        KernelError, match=r"^answer at eth77 \(\w+\): there is no interface of that"
    ):
        answering.answers.attach("eth77", mode)


def test_missing_right_is_named(answering: AnswerLab) -> None:
    steering = answering.steering

    def begin_as_nobody() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(PrivilegeError, match=r"EPERM; grant CAP_BPF"):
            KernelAnswers(
                slots=SLOTS,
                hash_key=HASH_KEY,
                tables_fd=steering.tables_fd,
                live_fd=steering.kernel_live_fd,
                room_octets=ROOM_OCTETS,
            )

    in_child(begin_as_nobody)


def test_interface_that_goes_takes_its_hook_along(answering: AnswerLab) -> None:
    ip("link", "add", "dnsf-c", "type", "veth", "peer", "name", "dnsf-d")
    hooks = [answering.answers.attach("dnsf-c", "tc")]
    hooks.append(answering.answers.attach("dnsf-c", "xdp_generic"))

    ip("link", "delete", "dnsf-c")

    for hook in hooks:
        hook.close()

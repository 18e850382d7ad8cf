from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from dnsfront.errors import KernelError
from dnsfront.kernel import objects
from dnsfront.kernel.compiler import Compiling
from dnsfront.kernel.loader import Job, Loading
from dnsfront.kernel.programs import SHIPPED, Program

PROGRAM = "int steer(struct sk_reuseport_md *md) { return SK_PASS; }"


def _program(tmp_path: Path, text: str, **names: tuple[str, ...]) -> Program:
    source = tmp_path / "steer.bpf.c"
    source.write_text(text, encoding="ascii")
    return Program(source, **names)  # type: ignore[arg-type]  # maps and numbers


def _load(tmp_path: Path, text: str, *, timeout_s: float = 20) -> int:
    return Loading(Job(_program(tmp_path, text), "steer", {})).wait(timeout_s)


def _fake_bcc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module_text: str
) -> None:
    """Put a module in front of the real bcc in the compiler's process."""
    (tmp_path / "bcc.py").write_text(module_text, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def _without_bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_bcc(tmp_path, monkeypatch, "raise ImportError('No module named bcc')")


def test_program_is_handed_over(tmp_path: Path) -> None:
    fd = _load(tmp_path, PROGRAM)
    link = Path(f"/proc/self/fd/{fd}").readlink()
    is_inheritable = os.get_inheritable(fd)
    os.close(fd)

    assert not is_inheritable
    assert str(link) == "anon_inode:bpf-prog"


@pytest.mark.parametrize("program", SHIPPED, ids=lambda program: program.name)
def test_compiling_again_gives_the_shipped_octets(program: Program) -> None:
    shipped = objects.read(program, objects.shipped_path(program))

    again = Compiling(program).wait(60)

    if again.made_by != shipped.made_by:
        pytest.skip(f"shipped objects are made by {shipped.made_by}")
    assert again.to_text() == shipped.to_text()


def test_what_was_compiled_is_kept_until_its_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    os.close(_load(tmp_path, PROGRAM))
    [event] = caplog.messages
    assert event.startswith("program_compiled source=steer.bpf.c ")
    assert event.endswith("/objects/steer.json) is missing")

    _without_bcc(tmp_path, monkeypatch)
    os.close(_load(tmp_path, PROGRAM))

    assert len(caplog.messages) == 1
    with pytest.raises(KernelError, match="bcc is missing"):
        _load(tmp_path, PROGRAM + "\n")


def test_source_that_cannot_have_anything_beside_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(objects, "write", refuse)

    os.close(_load(tmp_path, PROGRAM))

    assert {path.name for path in tmp_path.iterdir()} == {"steer.bpf.c"}


def test_damaged_object_is_compiled_again(tmp_path: Path) -> None:
    program = _program(tmp_path, PROGRAM)
    shipped, kept = objects.shipped_path(program), objects.kept_path(program)
    shipped.parent.mkdir()
    kept.parent.mkdir()
    shipped.write_text("{}")
    kept.write_text("")

    os.close(Loading(Job(program, "steer", {})).wait(20))

    assert "steer" in objects.find(program).functions


def test_number_that_the_compiler_reckons_with_is_an_error(tmp_path: Path) -> None:
    text = '#include "bcc.h"\nint steer(void *md) { return 2 * COUNT; }'
    program = _program(tmp_path, text, numbers=("COUNT",))
    with pytest.raises(KernelError, match=r"compile steer.bpf.c: .*:2:.*: error: "):
        Compiling(program).wait(20)


def test_descriptor_that_the_compiler_reckons_with_is_an_error(tmp_path: Path) -> None:
    text = '#include "bcc.h"\nint steer(void *md) { return 2 * MAP_FD; }'
    program = _program(tmp_path, text, maps=("MAP_FD",))
    with pytest.raises(
        KernelError,
        match=r"^compile steer.bpf.c: steer: instruction 0 is made of MAP_FD in ano",
    ):
        Compiling(program).wait(20)


def test_function_that_is_not_there_is_named(tmp_path: Path) -> None:
    job = Job(_program(tmp_path, PROGRAM), "stear", {})
    with pytest.raises(KernelError, match=r"^load stear: steer.bpf.c has no such"):
        Loading(job).wait(20)


def test_missing_define_is_named(tmp_path: Path) -> None:
    text = '#include "siphash.h"\n' + PROGRAM
    with pytest.raises(KernelError, match=r"compile steer.bpf.c: .*KEY0 and KEY1, the"):
        _load(tmp_path, text)


def test_compiler_error_is_one_line_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(
        KernelError, match=r"^compile steer.bpf.c: .*:2:\d+: error: .*WRONG[^\n]*$"
    ):
        _load(tmp_path, "\nint steer(void *md) { return WRONG; }")


def test_verdict_of_the_verifier_is_one_line(tmp_path: Path) -> None:
    text = """int steer(struct sk_reuseport_md *md)
    { return *(volatile int *)(md->data + 1000); }"""  # no check against data_end
    with pytest.raises(
        KernelError,
        match=r"^load steer: the verifier says: [^\n]*outside of the packet[^\n]*$",
    ):
        _load(tmp_path, text)


def test_missing_object_and_missing_bcc_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_bcc(tmp_path, monkeypatch)
    with pytest.raises(
        KernelError,
        match=r"^the object of steer.bpf.c \(/.*/objects/steer.json\) is missing, and"
        r" bcc is missing: import bcc failed in /.*python3-bpfcc",
    ):
        _load(tmp_path, PROGRAM)


def test_stale_object_without_bcc_names_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _program(tmp_path, PROGRAM)
    made = Compiling(program).wait(20)
    objects.shipped_path(program).parent.mkdir()
    objects.write(objects.shipped_path(program), made)
    _without_bcc(tmp_path, monkeypatch)
    os.close(Loading(Job(program, "steer", {})).wait(20))

    with pytest.raises(
        KernelError,
        match=r" is stale: steer.bpf.c changed since it was made, and bcc is missing",
    ):
        _load(tmp_path, PROGRAM + "\n")


def test_damaged_object_without_bcc_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _program(tmp_path, PROGRAM)
    objects.shipped_path(program).parent.mkdir()
    objects.shipped_path(program).write_text("{")
    _without_bcc(tmp_path, monkeypatch)
    with pytest.raises(KernelError, match=r" is damaged: .*, and bcc is missing: "):
        Loading(Job(program, "steer", {})).wait(20)


def test_compiler_that_dies_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import os; os.write(2, b'LLVM ERROR: out of memory\\n'); os._exit(3)"
    _fake_bcc(tmp_path, monkeypatch, text)
    with pytest.raises(
        KernelError, match=r"ended with status 3: LLVM ERROR: out of memory"
    ):
        _load(tmp_path, PROGRAM)


def test_compiler_that_hangs_is_ended_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_bcc(tmp_path, monkeypatch, "import signal; signal.pause()")
    started_at = time.monotonic()
    with pytest.raises(
        KernelError, match=r"compile steer.bpf.c: no object within 0.1 s"
    ):
        _load(tmp_path, PROGRAM, timeout_s=0.1)
    assert time.monotonic() - started_at < 60


def test_noise_of_the_compiler_stays_off_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KernelError):
        _load(tmp_path, "#warning noise\nnonsense")
    assert capfd.readouterr() == ("", "")


def test_closing_ends_a_compiler_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_bcc(tmp_path, monkeypatch, "import signal; signal.pause()")
    loading = Loading(Job(_program(tmp_path, PROGRAM), "steer", {}))
    assert loading._compiling

    loading.close()
    loading.close()

    assert not Path(f"/proc/{loading._compiling.pid}").exists()

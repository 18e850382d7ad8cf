from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dnsfront.errors import KernelError
from dnsfront.kernel.loader import Job, Loading

PROGRAM = "int steer(struct sk_reuseport_md *md) { return SK_PASS; }"


def _load(tmp_path: Path, text: str, *, within_s: float = 20, **defines: str) -> int:
    source = tmp_path / "steer.bpf.c"
    source.write_text(text, encoding="ascii")
    return Loading(Job(str(source), "steer", defines), ()).wait(within_s)


def _fake_bcc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module_text: str
) -> None:
    """Put a module in front of the real bcc in the loader's child."""
    (tmp_path / "bcc.py").write_text(module_text, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_program_is_handed_over(tmp_path: Path) -> None:
    fd = _load(tmp_path, PROGRAM)
    link = Path(f"/proc/self/fd/{fd}").readlink()
    is_inheritable = os.get_inheritable(fd)
    os.close(fd)

    assert not is_inheritable
    assert str(link) == "anon_inode:bpf-prog"


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


def test_missing_bcc_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_bcc(tmp_path, monkeypatch, "raise ImportError('No module named bcc')")
    with pytest.raises(
        KernelError, match=r"^bcc is missing: import bcc failed in /.*python3-bpfcc"
    ):
        _load(tmp_path, PROGRAM)


def test_loader_that_dies_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import os; os.write(2, b'LLVM ERROR: out of memory\\n'); os._exit(3)"
    _fake_bcc(tmp_path, monkeypatch, text)
    with pytest.raises(
        KernelError, match=r"ended with status 3: LLVM ERROR: out of memory"
    ):
        _load(tmp_path, PROGRAM)


def test_loader_that_hangs_is_ended_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_bcc(tmp_path, monkeypatch, "import signal; signal.pause()")
    started_at = time.monotonic()
    with pytest.raises(KernelError, match=r"load steer: no program within 0.1 s"):
        _load(tmp_path, PROGRAM, within_s=0.1)
    assert time.monotonic() - started_at < 60


def test_noise_of_the_compiler_stays_off_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KernelError):
        _load(tmp_path, "#warning noise\nnonsense")
    assert capfd.readouterr() == ("", "")

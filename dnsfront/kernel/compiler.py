"""The child that compiles a kernel program with bcc.

LLVM needs 120 MB and some tenths of a second. A process of its own gives the memory
back, and the supervisor binds its sockets meanwhile. It is started only where no object
is good for the sources (`dnsfront/kernel/objects.py`), reads what to compile from a
socket, answers with the object or with a sentence, and is gone.

bcc is pointed at a few headers of our own (`kern/uapi`), so neither the kernel's
headers nor those of the C library have to be installed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Final, NoReturn

from dnsfront.errors import DnsfrontError, KernelError
from dnsfront.ipc import memory, signals
from dnsfront.ipc.channel import receive_fds
from dnsfront.kernel.objects import ProgramObject
from dnsfront.kernel.placeholders import located, placeholders
from dnsfront.kernel.programs import Program
from dnsfront.kernel.sources import kern_directory
from dnsfront.paths import PACKAGE_PARENT

_MAX_PACKET_OCTETS: Final = 1 << 16
_PR_SET_PDEATHSIG: Final = 1


class MissingBccError(KernelError):
    """bcc cannot be imported, so nothing can be compiled here."""


class Compiling:
    """A program that is being compiled: one child, from start to :meth:`wait`."""

    def __init__(self, program: Program) -> None:
        """Start the child and return at once.

        The calling thread must outlive the child, which dies with it.
        """
        self._what = f"compile {program.source.name}"
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fields = asdict(program) | {"source": str(program.source)}
        self._channel.send(json.dumps([os.getpid(), fields]).encode())
        # What LLVM and the child itself print: a file, so that neither can block.
        self._output_fd = memory.output("compiler-output")
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [
                    sys.executable,
                    "-m",
                    "dnsfront.kernel.compiler",
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._output_fd,
                stderr=self._output_fd,
                pass_fds=(theirs.fileno(),),
                cwd=PACKAGE_PARENT,
            )

    @property
    def pid(self) -> int:
        """The child's."""
        return self._process.pid

    def wait(self, timeout_s: float) -> ProgramObject:
        """Return what the child has made, and end it.

        Raises:
            MissingBccError: there is no compiler.
            KernelError: the compiler refuses, or has not answered in time.
        """
        try:
            self._channel.settimeout(timeout_s)
            octets, fds, _flags = receive_fds(self._channel, _MAX_PACKET_OCTETS, 1)
        except TimeoutError as exc:
            raise KernelError(
                f"{self._what}: no object within {timeout_s:g} s"
            ) from exc
        except ConnectionError:
            octets, fds = b"", []
        finally:
            status = self._end()
            last = memory.last_line(self._output_fd)
            self.close()
        if fds:
            return _handed_over(fds[0])
        if not octets:
            raise KernelError(
                f"{self._what}: the compiler ended with status {status}: {last}"
            )
        answer = json.loads(octets)
        error = MissingBccError if answer["is_bcc_missing"] else KernelError
        raise error(answer["text"])

    def close(self) -> None:
        """End the child if it still runs, and give up what belongs to it."""
        self._end()
        self._channel.close()
        if self._output_fd >= 0:
            os.close(self._output_fd)
            self._output_fd = -1

    def _end(self) -> int:
        """Return the child's exit status; whatever it had to say has been said."""
        if self._process.returncode is None:
            self._process.kill()
        return self._process.wait()


def _handed_over(fd: int) -> ProgramObject:
    try:
        return ProgramObject.from_text(memory.content(fd).decode("ascii"))
    finally:
        os.close(fd)


def main() -> None:
    """Do one job in the child; the only argument is the descriptor of the channel."""
    # A child that outlived its supervisor would be nobody's.
    signals.ignore(signal.SIGHUP)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    channel = socket.socket(fileno=int(sys.argv[1]))
    octets = channel.recv(_MAX_PACKET_OCTETS)
    if not octets:
        return
    supervisor_pid, fields = json.loads(octets)
    if os.getppid() != supervisor_pid:
        return  # it died before the signal was asked for
    try:
        made = _compiled(Program(**fields | {"source": Path(fields["source"])}))
    except DnsfrontError as error:
        answer = {
            "text": str(error),
            "is_bcc_missing": isinstance(error, MissingBccError),
        }
        channel.send(json.dumps(answer).encode())
    else:
        fd = memory.sealed("dnsfront-object", made.to_text().encode("ascii"))
        socket.send_fds(channel, [b"{}"], [fd])


def _compiled(program: Program) -> ProgramObject:
    # Before the compiler reads them: were one to change meanwhile, the object is stale.
    try:
        made_from = program.made_from()
    except OSError as exc:
        raise KernelError(f"compile {program.source.name}: {exc}") from exc
    # Read by bcc when it compiles. Without it, bcc looks for the kernel's headers.
    os.environ["BCC_KERNEL_SOURCE"] = str(kern_directory() / "uapi")
    try:
        import bcc  # noqa: PLC0415 - 40 MB, and only this child wants it
    except (ImportError, OSError) as exc:
        raise MissingBccError(
            f"bcc is missing: import bcc failed in {sys.executable} ({exc});"
            " apt-get install python3-bpfcc and use a virtual environment with system"
            " site packages"
        ) from exc
    first, second = (_byte_code(bcc, program, turn) for turn in (0, 1))
    return ProgramObject(
        made_from,
        f"bcc {bcc.__version__}",
        {
            name: located(program, name, code, second[name])
            for name, code in sorted(first.items())
        },
    )


def _byte_code(bcc: ModuleType, program: Program, turn: int) -> dict[str, bytes]:
    """Return all functions of *program* by name, with the placeholders of *turn*."""
    values = {
        # A text, so that the compiler cannot reckon with it: `kern/bcc.h`.
        name: f'"{value}"' if name in program.numbers else str(value)
        for name, value in placeholders(program, turn).items()
    }
    defines = {**program.defines, **values}
    flags = [
        f"-I{kern_directory()}",
        *(f"-D{key}={value}" for key, value in defines.items()),
    ]
    try:
        module = bcc.BPF(text=program.source.read_bytes(), cflags=flags)
        names = [
            bcc.lib.bpf_function_name(module.module, number)
            for number in range(bcc.lib.bpf_num_functions(module.module))
        ]
        return {name.decode(): module.dump_func(name) for name in names}
    except Exception as exc:  # noqa: BLE001 - bcc raises nothing more exact
        _raise_compile_error(program.source, exc)


def _raise_compile_error(source: Path, exc: Exception) -> NoReturn:
    """Raise what the compiler found first; bcc has written that to descriptor 2."""
    sys.stderr.flush()
    errors = [line for line in memory.printed(2).splitlines() if "error:" in line]
    raise KernelError(f"compile {source.name}: {[*errors, str(exc)][0]}") from exc


if __name__ == "__main__":
    main()

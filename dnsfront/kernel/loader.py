"""The child that compiles a kernel program with bcc, loads it and hands it over.

LLVM needs 120 MB and some tenths of a second. A process of its own gives the memory
back, and the supervisor binds its sockets meanwhile. The child inherits the maps by
their descriptors, reads one job from a socket, answers with the program's descriptor
or with a sentence, and is gone.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from dnsfront.errors import DnsfrontError, KernelError, PrivilegeError
from dnsfront.ipc import memory, signals
from dnsfront.ipc.channel import receive_fds
from dnsfront.kernel.maps import SK_REUSEPORT, load_program
from dnsfront.kernel.sources import kern_directory
from dnsfront.paths import PACKAGE_PARENT

if TYPE_CHECKING:
    from collections.abc import Collection

_MAX_PACKET_OCTETS: Final = 1 << 16
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Job:
    """What to compile and how to load it.

    *defines* hold the sizes, the hash key and the descriptors of the maps. The job
    travels over a socket, because a command line can be read by every user.
    """

    source: str
    function: str
    defines: dict[str, str]
    program_type: int = SK_REUSEPORT


class Loading:
    """A program on its way into the kernel: one child, from start to :meth:`wait`."""

    def __init__(self, job: Job, map_fds: Collection[int]) -> None:
        """Start the child and return at once; it inherits *map_fds* and little else.

        The calling thread must outlive the child, which dies with it.
        """
        self._job = job
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.send(json.dumps([os.getpid(), asdict(job)]).encode())
        # What LLVM and the child itself print: a file, so that neither can block.
        self._output_fd = memory.output("loader-output")
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-m", "dnsfront.kernel.loader", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._output_fd,
                stderr=self._output_fd,
                pass_fds=(*map_fds, theirs.fileno()),
                cwd=PACKAGE_PARENT,
            )

    def wait(self, timeout_s: float) -> int:
        """Return the program's descriptor, which the caller owns, and end the child.

        Raises:
            PrivilegeError: loading needs rights that this process lacks.
            KernelError: bcc is missing, the compiler or the verifier refuses, or the
                child has not answered in time.
        """
        try:
            self._channel.settimeout(timeout_s)
            octets, fds, _flags = receive_fds(self._channel, _MAX_PACKET_OCTETS, 1)
        except TimeoutError as exc:
            raise KernelError(
                f"load {self._job.function}: no program within {timeout_s:g} s"
            ) from exc
        except ConnectionError:
            octets, fds = b"", []
        finally:
            status = self._end()
            last = memory.last_line(self._output_fd)
            self.close()
        if fds:
            return fds[0]
        if not octets:
            raise KernelError(
                f"load {self._job.function}: the loader ended with status {status}:"
                f" {last}"
            )
        answer = json.loads(octets)
        error = PrivilegeError if answer["is_privilege"] else KernelError
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


def main() -> None:
    """Do one job in the child; the only argument is the descriptor of the channel."""
    # A child that outlived its supervisor would hold its maps.
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
        fd = _compile_and_load(Job(**fields))
    except DnsfrontError as error:
        answer = {
            "text": str(error),
            "is_privilege": isinstance(error, PrivilegeError),
        }
        channel.send(json.dumps(answer).encode())
    else:
        socket.send_fds(channel, [b"{}"], [fd])


def _compile_and_load(job: Job) -> int:
    kern = kern_directory()
    # Read by bcc when it compiles. Without it, bcc looks for the kernel's headers.
    os.environ["BCC_KERNEL_SOURCE"] = str(kern / "uapi")
    try:
        from bcc import BPF  # noqa: PLC0415 - 40 MB, and only this child wants it
    except (ImportError, OSError) as exc:
        raise KernelError(
            f"bcc is missing: import bcc failed in {sys.executable} ({exc});"
            " apt-get install python3-bpfcc and use a virtual environment with system"
            " site packages"
        ) from exc
    source = Path(job.source)
    flags = [f"-I{kern}", *(f"-D{key}={value}" for key, value in job.defines.items())]
    try:
        module = BPF(text=source.read_bytes(), cflags=flags)
        instructions: bytes = module.dump_func(job.function.encode())
    except Exception as exc:  # noqa: BLE001 - bcc raises nothing more exact
        _raise_compile_error(source, exc)
    return load_program(job.function, instructions, job.program_type)


def _raise_compile_error(source: Path, exc: Exception) -> NoReturn:
    """Raise what the compiler found first; bcc has written that to descriptor 2."""
    sys.stderr.flush()
    errors = [line for line in memory.printed(2).splitlines() if "error:" in line]
    raise KernelError(f"compile {source.name}: {[*errors, str(exc)][0]}") from exc


if __name__ == "__main__":
    main()

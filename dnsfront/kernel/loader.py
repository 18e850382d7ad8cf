"""From a program to its descriptor: found or compiled, filled in, loaded.

Where an object is good for the sources it is loaded at once, by bpf(2) and without bcc.
Elsewhere a child compiles one (`dnsfront/kernel/compiler.py`), and it is kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from dnsfront.errors import KernelError
from dnsfront.kernel import objects
from dnsfront.kernel.compiler import Compiling, MissingBccError
from dnsfront.kernel.maps import SK_REUSEPORT, load_program
from dnsfront.kernel.programs import Program

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What to load: a function of a program, and the value of each of its names.

    *values* are the descriptors of the maps, the sizes and the hash key.
    """

    program: Program
    function: str
    values: Mapping[str, int]
    program_type: int = SK_REUSEPORT


class Loading:
    """A program on its way into the kernel, from here to :meth:`wait`."""

    def __init__(self, job: Job) -> None:
        """Return at once; where no object is good, a compiler is at work meanwhile."""
        self._job = job
        self._found: objects.ProgramObject | None = None
        self._compiling: Compiling | None = None
        self._lack = ""
        self._began_at = time.monotonic()
        try:
            self._found = objects.find(job.program)
        except objects.NoObjectError as error:
            self._lack = str(error)
            self._compiling = Compiling(job.program)

    def wait(self, timeout_s: float) -> int:
        """Return the program's descriptor, which the caller owns.

        Raises:
            PrivilegeError: loading needs rights that this process lacks.
            KernelError: neither object nor bcc is there, the compiler or the verifier
                refuses, or the compiler has not answered in time.
        """
        job = self._job
        found = self._found or self._compiled(timeout_s)
        function = found.functions.get(job.function)
        if function is None:
            raise KernelError(
                f"load {job.function}: {job.program.source.name} has no such function"
            )
        return load_program(
            job.function, function.filled_in(job.values), job.program_type
        )

    def close(self) -> None:
        """End the compiler if it is still at work."""
        if self._compiling:
            self._compiling.close()

    def _compiled(self, timeout_s: float) -> objects.ProgramObject:
        assert self._compiling, "what is not found is compiled"
        try:
            made = self._compiling.wait(timeout_s)
        except MissingBccError as error:
            raise KernelError(f"{self._lack}, and {error}") from error
        _LOG.info(
            "program_compiled source=%s seconds=%.2f reason=%s",
            self._job.program.source.name,
            time.monotonic() - self._began_at,
            self._lack,
        )
        objects.keep(self._job.program, made)
        return made

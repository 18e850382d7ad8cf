"""Make the objects that come with the package: `make objects`, after a change in kern/.

Byte code for BPF is the same on every machine with the low octet first, so one object
serves x86_64 and aarch64.
"""

from __future__ import annotations

import sys

from dnsfront.errors import KernelError
from dnsfront.kernel import objects
from dnsfront.kernel.compiler import Compiling
from dnsfront.kernel.programs import SHIPPED


def main() -> int:
    """Compile what has no good object, and return an exit status."""
    for program in SHIPPED:
        path = objects.shipped_path(program)
        try:
            objects.read(program, path)
        except objects.NoObjectError as reason:
            try:
                objects.write(path, Compiling(program).wait(60))
            except KernelError as error:
                sys.stderr.write(f"{error}\n")
                return error.exit_code
            sys.stdout.write(f"compiled {path}: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where the C sources of the kernel programs are, in a checkout or in a wheel."""

from __future__ import annotations

from pathlib import Path

from dnsfront.paths import PACKAGE, PACKAGE_PARENT


def kern_directory() -> Path:
    """Return the directory that holds the BPF C sources.

    A wheel carries them inside the package, a checkout beside it.
    """
    packaged = PACKAGE / "kern"
    return packaged if packaged.is_dir() else PACKAGE_PARENT / "kern"

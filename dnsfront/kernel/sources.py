"""Where the C sources of the kernel programs are, in a checkout or in a wheel."""

from __future__ import annotations

from pathlib import Path


def kern_directory() -> Path:
    """Return the directory that holds the BPF C sources.

    A wheel carries them inside the package, a checkout beside it.
    """
    package = Path(__file__).resolve().parent.parent
    packaged = package / "kern"
    return packaged if packaged.is_dir() else package.parent / "kern"

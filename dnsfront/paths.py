"""Where the package is, in a checkout and in an installation; imports nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent
#: Where Python finds the package. Processes that are started here have it as their
#: working directory, which Python puts first on its path.
PACKAGE_PARENT: Final = PACKAGE.parent

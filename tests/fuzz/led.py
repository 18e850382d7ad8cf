"""One target under atheris; a process of its own, since atheris ends it."""

from __future__ import annotations

import logging
import sys

import atheris  # type: ignore[import-untyped] - it ships none

with atheris.instrument_imports(include=["dnsfront"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz the target that the first argument names."""
    name = sys.argv.pop(1)
    logging.disable(logging.WARNING)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

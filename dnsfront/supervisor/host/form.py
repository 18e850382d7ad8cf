"""In which form the workers' query path is installed: compiled, or pure Python."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Final, Literal

#: One of those that are compiled; all are, or none (`deploy/build.py`).
_MODULE: Final = "dnsfront.worker.transports.udp"

Form = Literal["compiled", "pure"]


@cache
def query_path() -> Form:
    """Return what workers run, as it was when this was first asked.

    The module is looked for and not imported: what workers need is not for here.
    """
    spec = importlib.util.find_spec(_MODULE)
    assert spec, "it is part of the package"
    return "compiled" if spec.origin and spec.origin.endswith(".so") else "pure"

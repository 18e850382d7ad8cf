"""What `dnsfront simulate` says of a list of queries, by number of workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.errors import BenchError
from tests.bench.server import ROOT


def simulated(
    queries: Path, *, rate: int, warm_up: int, entries: int, seed: str
) -> list[dict[str, Any]]:
    """Return the rows for 1 to 64 workers whose ring has the *seed*.

    Responses live for a day, as those of the upstream here do.
    """
    config = queries.with_suffix(".yaml")
    config.write_text(f"""\
listen: ["127.0.0.1:53"]
ring: {{seed: {seed}, workers: 1}}
upstreams: {{servers: [{{address: "127.0.0.1:54"}}]}}
cache: {{max_entries: {entries}, max_size: 1GiB}}
""")
    command = [sys.executable, "-m", "dnsfront", "simulate", str(queries), "--json"]
    options = ["-c", str(config), "--rate", str(rate), "--warm-up", str(warm_up)]
    done = subprocess.run(
        [*command, *options, "--ttl", "1d"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=ROOT,
    )
    if done.returncode:
        raise BenchError(f"dnsfront simulate exited: {done.stderr.strip()}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)["workers"]
    return rows

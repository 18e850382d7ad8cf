"""The whole text that Prometheus reads, beside one that was kept."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from zlib import crc32

from dnsfront.ipc.stats import (
    BUCKETS,
    PAGE_WORDS,
    RCODES,
    Counter,
    Limit,
    Rcode,
    Source,
    Upstream,
    upstream_at,
)
from tests.unit.supervisor_fakes import (
    PlayedProcess,
    eventually,
    played,
    running,
    write_config,
)

__all__ = ["played"]

#: With two workers and one upstream, pages as `fill` fills them.
KEPT = Path(__file__).parents[1] / "vectors/exposition.txt"
UPSTREAM = 'upstreams: {servers: [{address: "192.0.2.1:53"}]}\n'
IS_DOWN = 'dnsfront_upstream_up{upstream="192.0.2.1:53"} 0.0'
#: What differs from one run or release to the next.
CHANGING = re.compile(
    r'(?<=version=")[^"]+|(?<=python=")[^"]+|(?<=timestamp_seconds )\d.+'
)


def fill(worker: str, words: memoryview) -> None:
    """Give every word of a page a number that follows from its name."""

    def put(at: int, name: str) -> None:
        words[at] = crc32(f"{worker} {name}".encode()) % 100_000

    for word in (*Counter, *Limit):
        put(word, f"{type(word).__name__} {word.name}")
    for rcode in range(0, RCODES, 2):
        words[Rcode.FIRST + rcode + 1] = 0
        put(Rcode.FIRST + rcode, f"rcode {rcode}")
    for word in Upstream:
        put(upstream_at(0) + word, f"upstream {word.name}")
    for source in Source:
        for bucket in range(BUCKETS + 1):
            put(source + bucket, f"{source.name} {bucket}")
    for bucket in range(BUCKETS + 1):
        put(upstream_at(0) + Upstream.DURATION + bucket, f"upstream {bucket}")


def test_every_line_that_was_kept_is_there_and_in_its_order(
    played: type[PlayedProcess], tmp_path: Path
) -> None:
    async def scrape() -> str:
        async with running(write_config(tmp_path, more=UPSTREAM)) as front:
            # The upstream is not there, which its first probe has to find out.
            await eventually(lambda: IS_DOWN in front.expose("")[0].decode())
            for name, tally in front.roster.tallies.items():
                fill(name, tally.words)
            return front.expose("")[0].decode()

    found = iter(CHANGING.sub("_", asyncio.run(scrape())).splitlines())

    for line in KEPT.read_text("utf-8").splitlines():
        assert line in found, f"{line} is missing, or comes too early"
    assert played.events


def test_declared_metrics_have_a_help_text_and_no_two_lines_are_one_series() -> None:
    shown = [word for word in (*PAGE_WORDS, *Upstream) if word.metric.is_shown]
    texts = {word.metric.name: word.metric.text for word in shown}

    assert all(text.endswith(".") or ";" in text for text in texts.values())
    assert len({word.metric for word in shown}) == len(texts)
    assert len({(word.metric, word.label) for word in shown}) == len(shown)


def test_words_follow_each_other_without_a_gap() -> None:
    ends = [word + word.metric.words for word in PAGE_WORDS]

    assert [0, *ends] == [*PAGE_WORDS, upstream_at(0)]

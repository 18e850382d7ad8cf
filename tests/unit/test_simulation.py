"""What simulated workers do: the real ring, cache and book, and hand-made traffic."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.settings import CacheSettings
from dnsfront.errors import InputError
from dnsfront.ring.placement import Member
from dnsfront.ring.table import SlotTable, build
from dnsfront.simulation.hosts import Host, Result
from dnsfront.simulation.kernel import KernelSettings
from dnsfront.simulation.names import read_names
from dnsfront.simulation.traffic import Key, Traffic, made_up_response

CACHE = CacheSettings(
    max_entries=1000,
    max_size_octets=1 << 24,
    max_entry_size_octets=1 << 14,
    min_ttl_s=0,
    max_ttl_s=86400,
    serve_stale_s=0,
    prefetch=False,
)
NO_KERNEL = KernelSettings(0, 512)
KERNEL = KernelSettings(1 << 20, 512)


def traffic_of(*lines: str, rate: float = 1, ttl_s: int = 60) -> Traffic:
    octets = [line.encode() for line in lines]
    return read_names(
        "names", octets, rate=rate, ttl_s=ttl_s, size_octets=100, seed="lab"
    )


def host_of(
    traffic: Traffic,
    kernel: KernelSettings = NO_KERNEL,
    cache: CacheSettings = CACHE,
    warm_up: int = 0,
) -> Host:
    return Host(
        traffic, hash_key=bytes(16), cache=cache, kernel=kernel, warm_up=warm_up
    )


def table_of(workers: int) -> SlotTable:
    members = [Member(f"w{number}") for number in range(1, workers + 1)]
    return build(members, slots=4096, vnodes=64, seed="lab")


def alone(host: Host) -> Result:
    return host.by_ring(table_of(1))


def names(count: int) -> list[str]:
    return [f"n{number}.test" for number in range(count)]


def test_a_name_is_fetched_once_and_hit_until_its_ttl_ends() -> None:
    result = alone(host_of(traffic_of(*["a.test"] * 10, ttl_s=5)))

    # In seconds 1 and 6; the response of second 1 may be sent in seconds 2 to 5.
    assert (result.fetches, result.hits, result.queries) == (2, 8, 10)


def test_types_and_spellings_of_a_name() -> None:
    result = alone(host_of(traffic_of("a.test", "A.Test A", "a.test. a", "a.test MX")))

    assert (result.fetches, result.hits) == (2, 2)


def test_prefetch_counts_as_upstream_load_and_never_misses() -> None:
    traffic = traffic_of(*["a.test"] * 40, ttl_s=10)
    prefetching = replace(CACHE, prefetch=True)

    result = alone(host_of(traffic, cache=prefetching))

    assert result.hits == 39
    assert result.fetches == 1 + 39 // 9  # in the last second of each ten


def test_the_kernel_answers_from_the_hit_of_another_second_on() -> None:
    result = alone(host_of(traffic_of(*["a.test"] * 8), kernel=KERNEL))

    # A miss, a first hit, a second one that puts it into the book, and five more.
    assert (result.fetches, result.hits, result.kernel_hits) == (1, 7, 5)
    assert result.woken == (3,)


def test_the_kernel_leaves_what_expires_soon_to_the_worker() -> None:
    result = alone(host_of(traffic_of(*["a.test"] * 20, ttl_s=20), kernel=KERNEL))

    # Seconds 1 to 3 as above; from second 19 on, the last tenth, the worker is asked.
    assert result.kernel_hits == 15
    assert result.hits == 19


def test_the_kernel_has_no_answer_of_an_entry_that_was_let_go() -> None:
    lines = [*["a.test"] * 4, *names(40), "a.test"]
    small = replace(CACHE, max_entries=4)

    result = alone(host_of(traffic_of(*lines, ttl_s=600), kernel=KERNEL, cache=small))

    assert result.kernel_hits == 1 + (result.hits == 4)
    assert result.evictions


@pytest.mark.parametrize(("size", "hits"), [(496, 5), (497, 0)])
def test_the_kernel_has_no_answer_too_long_for_its_book(size: int, hits: int) -> None:
    lines = [b"a.test"] * 8
    # A cell has room for 488 octets: the question, padded to 16, and the record.
    traffic = read_names("names", lines, rate=1, ttl_s=60, size_octets=size, seed="")

    assert alone(host_of(traffic, kernel=KERNEL)).kernel_hits == hits


def test_owners_have_a_name_cached_once_however_many_there_are() -> None:
    host = host_of(traffic_of(*names(200) * 5, rate=100, ttl_s=600))

    results = [host.by_ring(table_of(workers)) for workers in (1, 4, 16)]

    assert {result.fetches for result in results} == {200}
    assert {result.hits for result in results} == {800}


def test_by_client_each_worker_has_a_copy() -> None:
    host = host_of(traffic_of(*["a.test"] * 400, rate=100, ttl_s=600))

    result = host.by_client(8)

    assert result.fetches == 8
    assert len(result.asked) == 8
    assert max(result.asked) < 2 * 400 / 8


def test_bounded_caches_grow_with_workers_where_names_have_owners() -> None:
    small = replace(CACHE, max_entries=100)
    lines = traffic_of(*names(1000)).drawn(20_000, 1.0, 1000, "lab")
    host = host_of(lines, cache=small)

    assert host.by_ring(table_of(16)).hits > host.by_ring(table_of(1)).hits
    assert host.by_client(16).hits < host.by_client(1).hits


def test_warm_up_is_asked_and_not_counted() -> None:
    result = alone(host_of(traffic_of(*names(10) * 2, ttl_s=600), warm_up=10))

    assert (result.queries, result.hits, result.fetches) == (10, 10, 0)


def test_the_shares_of_all_workers_are_all_queries() -> None:
    traffic = traffic_of(*names(300), rate=100)
    result = host_of(traffic).by_ring(table_of(8))

    assert sum(result.asked) == len(traffic)
    summary = result.summary()
    assert summary["largest_share"] == max(result.asked) / 300
    assert summary["largest_over_mean"] == max(result.asked) * 8 / 300


def test_a_made_up_response_has_the_size_that_was_asked_for() -> None:
    question = qname_from_text("www.example.test") + b"\0\1\0\1"

    response = made_up_response(question, ttl_s=7, size_octets=100)

    assert 12 + len(question) + len(response.body) == 100
    [at] = response.ttl_offsets
    assert response.body[at : at + 4] == b"\0\0\0\x07"


def test_keys_have_one_hash_in_every_process() -> None:
    code = "from dnsfront.simulation.traffic import Key; print(hash(Key(b'a')))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert said == {f"{hash(Key(b'a'))}\n"}
    assert {Key(b"a"): 1}[Key(b"a")] == 1
    assert Key(b"a") == b"a"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        pytest.param([b"a", b"", b"b A x"], '3: got "b A x", want NAME', id="words"),
        pytest.param([b"a NOPE"], '1: got "NOPE", want a type', id="type"),
        pytest.param([b"a..b"], "1: 'a..b': got a label of 0", id="label"),
        pytest.param([b"# none"], "1: got no query, want NAME", id="nothing"),
        pytest.param([b"a", b"\xff\xfe"], "2: got .*, which is not ASCII", id="octets"),
        pytest.param([b"x" * 99 + b" A A"], '1: got "x{60}...", want', id="long"),
    ],
)
def test_a_bad_line_is_named(lines: list[bytes], reason: str) -> None:
    with pytest.raises(InputError, match=f"^names:{reason}"):
        read_names("names", lines, rate=1, ttl_s=60, size_octets=100, seed="")

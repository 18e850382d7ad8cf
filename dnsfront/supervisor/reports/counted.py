"""What is counted in a worker's name: in its page, and in the kernel for it.

Who lets the kernel answer finds the same totals as before.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Sequence

from dnsfront.ipc.stats import Counter, Rcode
from dnsfront.kernel.book import OF_ZONE
from dnsfront.supervisor.workers.tally import KernelHits

#: From the index of a word of a page to its count.
Read = Callable[[int], int]


def counted(page: Sequence[int], hits: KernelHits) -> Read:
    """Return a reader of *page* that counts *hits* as the worker would have done.

    How long a response took is counted by workers alone.
    """
    more: Counts[int] = Counts()
    for kind, count in hits.items():
        is_zone, rcode = divmod(kind, OF_ZONE)
        more[Counter.QUERIES_UDP] += count
        more[Rcode.FIRST + rcode] += count
        if not is_zone:
            more[Counter.CACHE_REQUESTS] += count
            more[Counter.CACHE_HITS] += count
    return lambda word: page[word] + more[word]

"""A large zone file is saved again and again, and nobody who asks notices.

`python -m tests.bench.zones` is the same at full size, with latencies and memory.
"""

from __future__ import annotations

from pathlib import Path

from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.large_zone import ORIGIN, LargeZone, latencies_ms
from tests.system.steady import Names, SteadyLoad
from tests.waiting import eventually

RECORDS = 20_000
NAMES = 500
SAVES = 3
PER_SECOND = 2000
#: All who asked while a zone was parsed waited longer than that, or in vain.
LONG_MS = 1000


def test_saving_a_large_zone_loses_nothing(tmp_path: Path) -> None:
    names = Names(tmp_path, NAMES)
    zone = LargeZone(tmp_path / "zone", names, RECORDS)
    front = FrontEnd(
        tmp_path, zones=[DEMO_ZONE, {"origin": ORIGIN, "file": str(zone.path)}]
    )

    with front:
        with SteadyLoad(front.address, names, PER_SECOND) as load:
            for _ in range(SAVES):
                zone.save()
                eventually(lambda: zone.is_served(front), within_s=20)

        assert len(load.records) > PER_SECOND / 2
        assert load.lost() == []
        assert load.wrong() == []
        assert [wait for wait in latencies_ms(load) if wait > LONG_MS] == []
    # The demo zone is compiled at the start, and not touched after it.
    compiled = front.log().count("zone_compiled origin=")
    assert compiled - front.log().count(f"zone_compiled origin={ORIGIN}") <= 1
    assert compiled >= SAVES

"""Who is asked depends on what queries come to, and not on probes alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import dns.rcode

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.upstream import Asked, FakeUpstream, Response, answer
from tests.waiting import eventually

_NAMES = itertools.count()
#: Counters are looked at, and servers tried again, every few seconds.
_NOTICED_WITHIN_S = 15.0


def refuse(asked: Asked) -> list[Response]:
    """Fail whatever is asked, though not the probe."""
    response = asked.response()
    response.set_rcode(dns.rcode.SERVFAIL)
    return [response]


def ask_new(front: FrontEnd, count: int = 10) -> None:
    """Ask for names that nobody asked for yet, and get answers."""
    for _ in range(count):
        response = ask(front.address, f"n{next(_NAMES)}.test")
        assert response.rcode() == dns.rcode.NOERROR


def test_one_that_fails_all_queries_is_passed_over_until_it_answers(
    tmp_path: Path,
) -> None:
    with FakeUpstream(refuse) as bad, FakeUpstream() as good:
        upstreams = {
            "policy": "ordered",
            "servers": [{"address": str(x.address)} for x in (bad, good)],
        }
        with FrontEnd(tmp_path, upstreams=upstreams) as front:

            def is_up(upstream: FakeUpstream) -> bool:
                ask_new(front)
                metrics = front.metrics()
                return bool(
                    metrics.value("upstream_up", upstream=str(upstream.address))
                )

            def asked_of_40(upstream: FakeUpstream) -> int:
                before = len(upstream.asked)
                ask_new(front, 40)
                return len(upstream.asked) - before

            eventually(lambda: not is_up(bad), _NOTICED_WITHIN_S)
            assert is_up(good)
            assert front.get("/readyz").status == 200
            eventually(lambda: asked_of_40(bad) <= 8, _NOTICED_WITHIN_S)
            assert "reason=queries" in front.log()

            bad.script = answer

            eventually(lambda: is_up(bad), _NOTICED_WITHIN_S)


def test_a_name_to_probe_decides_where_it_is_given(tmp_path: Path) -> None:
    with FakeUpstream(refuse) as upstream:
        servers = [{"address": str(upstream.address)}]
        health = {"name": "health.test", "type": "A", "interval": "100ms"}
        with FrontEnd(tmp_path, upstreams={"servers": servers}) as front:
            front.configure(upstreams={"servers": servers, "health": health})
            code, printed = front.command("reload")
            assert code == 0, printed

            eventually(lambda: not front.status()["upstreams"][0]["up"])
            assert upstream.count("health.test") > 0
            upstream.script = answer

            eventually(lambda: front.status()["upstreams"][0]["up"])

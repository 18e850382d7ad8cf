"""What crosses between processes as records, and what is not taken for one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pytest

from dnsfront.config.model import Config
from dnsfront.dns.settings import CacheSettings
from dnsfront.ipc import records, spec
from dnsfront.ipc.records import ShapeError, from_json, from_plain, layout, to_json
from dnsfront.ipc.spec import WorkerSpec

SPEC = WorkerSpec(
    worker_id=3,
    name="w3",
    listeners=(spec.Listener("192.0.2.1", 53, 2, "udp", is_wildcard=False, number=7),),
    hash_key_hex="00" * 16,
    steering="ebpf",
    upstreams=spec.PoolSettings(
        "ordered", 0.8, (spec.UpstreamServer(0, "192.0.2.53", 53, 2, 1),)
    ),
    zones=(spec.ZoneImage("example.test.", "d", "p", 0, 9),),
    special_names=("localhost",),
    rules=(
        spec.RuleSettings(
            1,
            (),
            None,
            (1,),
            (),
            spec.ListImage("d", "p", 0, 9),
            "pass",
            (),
            None,
            1,
            0,
        ),
    ),
    cache=CacheSettings(1, 2, 3, 4, 5, 6, prefetch=True),
    edns=spec.EdnsSettings(1232, cookies=True, cookie_secrets=("0" * 32,)),
    identity=spec.IdentitySettings("{worker}", ""),
    limits=spec.Limits(1, 2, 3, 4.5, 5, 6, 7, 8),
    access=spec.AccessSettings(("127.0.0.0/8",), "refuse"),
    log=spec.LogSettings("info"),
)


@dataclass(frozen=True)
class Inner:
    count: int
    share: float = 1.0


@dataclass(frozen=True)
class Outer:
    text: str
    is_true: bool
    inner: Inner
    many: tuple[Inner, ...]
    pair: tuple[int, int] | None


OUTER = Outer("x", is_true=True, inner=Inner(1), many=(Inner(2, 0.5),), pair=(3, 4))


def test_a_spec_comes_back_as_it_went() -> None:
    assert from_json(WorkerSpec, to_json(SPEC)) == SPEC


@pytest.mark.parametrize("record", [OUTER, replace(OUTER, many=(), pair=None)])
def test_records_come_back_as_they_went(record: Outer) -> None:
    assert from_json(Outer, to_json(record)) == record


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"text": 5}, "a wrong text"),
        ({"text": None}, "a wrong text"),
        ({"text": "x" * (records.MAX_TEXT + 1)}, "a wrong text"),
        ({"text": "half a pair: \ud800"}, "a wrong text"),
        ({"is_true": 1}, "a wrong is_true"),
        ({"inner": {"count": True, "share": 1.0}}, "a wrong inner"),
        ({"inner": {"count": -1, "share": 1.0}}, "a wrong inner"),
        ({"inner": {"count": records.MAX_COUNT + 1, "share": 1.0}}, "a wrong inner"),
        ({"inner": {"count": 1, "share": float("nan")}}, "a wrong inner"),
        ({"inner": {"count": 1, "share": float("inf")}}, "a wrong inner"),
        ({"inner": {"count": 1}}, "a wrong inner"),
        ({"inner": {"count": 1, "share": 1, "more": 1}}, "a wrong inner"),
        ({"inner": [1, 1.0]}, "a wrong inner"),
        ({"many": {}}, "a wrong many"),
        ({"many": [7]}, "a wrong many"),
        ({"pair": [1]}, "a wrong pair"),
        ({"pair": [1, "2"]}, "a wrong pair"),
        ({"more": 1}, "a surplus more"),
        ({"more\ud800": 1}, r"a surplus more\\ud800"),
    ],
)
def test_what_a_class_does_not_say_is_no_record_of_it(
    changes: dict[str, Any], wrong: str
) -> None:
    plain = json.loads(json.dumps(asdict(OUTER))) | changes

    with pytest.raises(ShapeError, match=f"^{wrong}$"):
        from_plain(Outer, plain)


@pytest.mark.parametrize("name", [field.name for field in fields(Outer)])
def test_a_field_that_may_be_nothing_is_there_all_the_same(name: str) -> None:
    plain = json.loads(json.dumps(asdict(OUTER)))
    del plain[name]

    with pytest.raises(ShapeError, match=f"^a wrong {name}$"):
        from_plain(Outer, plain)


@pytest.mark.parametrize("plain", [None, [], "x", 1])
def test_only_an_object_is_a_record(plain: object) -> None:
    with pytest.raises(ShapeError, match="no object"):
        from_plain(Outer, plain)


def test_a_word_is_one_of_those_that_its_type_names() -> None:
    plain = asdict(SPEC.log) | {"level": "loud"}

    with pytest.raises(ShapeError, match="a wrong level"):
        from_plain(spec.LogSettings, plain)


def test_a_layout_tells_of_every_record_inside() -> None:
    told = layout(Outer)

    assert told.startswith("Outer(text: <class 'str'>, ")
    assert told.count(layout(Inner)) == 2


@pytest.mark.parametrize("part", fields(WorkerSpec), ids=lambda part: part.name)
def test_settings_of_a_worker_have_the_keys_of_a_section(part: Any) -> None:  # noqa: ANN401 - Field
    kind = type(getattr(SPEC, part.name))
    if not kind.__name__.endswith("Settings") and kind is not spec.Limits:
        return
    section: Any = Config.model_fields[part.name].annotation

    # The name of a pool is a key of its own.
    keys = {field.name for field in fields(kind)} - {"name"}
    assert keys <= section.model_fields.keys()

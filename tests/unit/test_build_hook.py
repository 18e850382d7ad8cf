"""What the build of a wheel does with the query path, without a build."""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dnsfront.supervisor.host import form

ROOT = Path(__file__).parents[2]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"][
    "build"
]["targets"]["wheel"]["hooks"]["custom"]


class Interface:
    """Stands in for hatchling's, which only a build has."""

    def __class_getitem__(cls, _config: object) -> type[Interface]:
        return cls

    def __init__(self) -> None:
        self.root, self.config, self.warnings = str(ROOT), HOOK, list[str]()
        self.app = SimpleNamespace(display_warning=self.warnings.append)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hook's module; nothing that is set outside decides what it does."""
    name = "hatchling.builders.hooks.plugin.interface"
    interface = ModuleType(name)
    interface.BuildHookInterface = Interface  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, name, interface)
    for parent in ("", ".builders", ".builders.hooks", ".builders.hooks.plugin"):
        monkeypatch.setitem(
            sys.modules, f"hatchling{parent}", ModuleType(f"hatchling{parent}")
        )
    for variable in ("DNSFRONT_BUILD", "CC"):
        monkeypatch.delenv(variable, raising=False)
    spec = importlib.util.spec_from_file_location("build_hook", ROOT / HOOK["path"])
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def initialized(build: ModuleType, version: str = "standard") -> tuple[Any, Any]:
    hook = build.QueryPathHook()
    data = {"force_include": {}}
    hook.initialize(version, data)
    hook.finalize(version, data, "")
    return hook, data


def test_every_module_that_is_compiled_is_there_and_named_once() -> None:
    modules = HOOK["include"]

    assert [module for module in modules if not (ROOT / module).is_file()] == []
    assert len(modules) == len(set(modules))


def test_everything_in_c_is_built_and_has_a_twin() -> None:
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "dnsfront").rglob("*.c")}
    twins = [ROOT / source.replace("/_", "/") for source in sources]

    assert set(HOOK["extensions"]) == sources
    assert all(twin.with_suffix(".py").is_file() for twin in twins)


def test_form_is_told_by_a_module_that_is_compiled() -> None:
    path = form._MODULE.replace(".", "/") + ".py"

    assert path in HOOK["include"]


@pytest.mark.parametrize(
    ("file", "found"),
    [("udp.py", "pure"), ("udp.cpython-311-x86_64-linux-gnu.so", "compiled")],
)
def test_form_is_told_by_the_file_that_would_be_imported(
    monkeypatch: pytest.MonkeyPatch, file: str, found: str
) -> None:
    spec = SimpleNamespace(origin=f"/opt/dnsfront/{file}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    form.query_path.cache_clear()

    assert form.query_path() == found

    form.query_path.cache_clear()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"DNSFRONT_BUILD": "pure"}, "DNSFRONT_BUILD=pure"),
        ({"CC": "no-such-cc -m64"}, r"there is no C compiler \(no-such-cc\); install"),
    ],
)
def test_wheel_is_pure_where_nothing_can_be_compiled_and_a_warning_says_why(
    build: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    reason: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    hook, data = initialized(build)

    assert hook.dependencies() == []
    assert data == {"force_include": {}}
    [warning] = hook.warnings
    assert re.search(reason, warning)


def test_missing_headers_of_python_are_named(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))

    [warning] = initialized(build)[0].warnings

    assert warning.endswith("the headers of Python are missing; install python3-dev")


def test_compiled_wheel_that_cannot_be_had_is_an_error(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFRONT_BUILD", "compiled")
    monkeypatch.setenv("CC", "no-such-cc")

    with pytest.raises(
        RuntimeError, match="cannot be compiled: there is no C compiler"
    ):
        initialized(build)


def test_editable_installation_is_never_compiled(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", sys.executable)  # anything that is there
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled"))

    hook, data = initialized(build, "editable")

    assert data == {"force_include": {}}
    assert not hook.warnings


def test_libraries_go_where_their_sources_are(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(root: Path, place: Path, config: dict[str, Any]) -> Path:
        assert (root, config) == (ROOT, HOOK)
        library = place / "built/dnsfront/dns/cache.cpython.so"
        library.parent.mkdir(parents=True)
        library.touch()
        return place / "built"

    monkeypatch.setattr(build, "_reason_for_pure", lambda: "")
    monkeypatch.setattr(build, "_compile", compiled)

    hook, data = initialized(build)

    [(source, target)] = data["force_include"].items()
    assert target == "dnsfront/dns/cache.cpython.so"
    assert data["infer_tag"]
    assert not data["pure_python"]
    assert hook.dependencies()
    assert not Path(source).exists(), "what was built in is gone afterwards"

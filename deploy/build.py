"""The build hook of the wheel: compiles the query path where that can be done.

mypyc makes one library of the modules that `pyproject.toml` lists, and what is in C
becomes modules too; the sources go into the wheel as well. Without a C compiler or
Python's headers the wheel is pure Python, and `dnsfront status` says so.
DNSFRONT_BUILD=compiled makes that an error, and DNSFRONT_BUILD=pure asks for it. An
editable installation is never compiled: a library beside the sources would be run in
place of a source just edited.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MYPY: Final = ["mypy>=1.13,<3", "setuptools>=66"]
_SETUP: Final = """\
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Extension, setup

extensions = [
    Extension(".".join(Path(source).with_suffix("").parts), [source])
    for source in {extensions!r}
]
modules = mypycify(
    ["--ignore-missing-imports", "--follow-imports=silent", *{modules!r}],
    opt_level="3",
    target_dir="intermediate",
)
setup(name="compiled", ext_modules=[*modules, *extensions])
"""


class QueryPathHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what the build needs besides hatchling."""
        return [] if _reason_for_pure() else _MYPY

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel include what comes of it."""
        self._place = Path()
        if version == "editable":
            return
        reason = _reason_for_pure()
        if reason:
            if os.environ.get("DNSFRONT_BUILD") == "compiled":
                raise RuntimeError(f"the query path cannot be compiled: {reason}")
            self.app.display_warning(f"the query path stays pure Python: {reason}")
            return
        self._place = Path(tempfile.mkdtemp(prefix="dnsfront-build-"))
        built = _compile(Path(self.root), self._place, self.config)
        libraries = {
            str(path): path.relative_to(built).as_posix()
            for path in built.rglob("*.so")
        }
        build_data["force_include"].update(libraries)
        build_data["infer_tag"] = True
        build_data["pure_python"] = False

    def finalize(
        self, version: str, build_data: dict[str, Any], artifact_path: str
    ) -> None:
        """Remove what the wheel has a copy of."""
        del version, build_data, artifact_path
        if self._place != Path():
            shutil.rmtree(self._place)


def _reason_for_pure() -> str:
    """Return why nothing is compiled, nothing if it is."""
    if os.environ.get("DNSFRONT_BUILD") == "pure":
        return "DNSFRONT_BUILD=pure"
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    compiler = shlex.split(command)[0]
    if not shutil.which(compiler):
        return f"there is no C compiler ({compiler}); install gcc"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "the headers of Python are missing; install python3-dev"
    return ""


def _compile(root: Path, place: Path, config: dict[str, Any]) -> Path:
    """Compile what *config* lists in a copy of the package; return where it is then."""
    shutil.copytree(
        root / "dnsfront", place / "dnsfront", ignore=shutil.ignore_patterns("*.so")
    )
    text = _SETUP.format(modules=config["include"], extensions=config["extensions"])
    (place / "setup.py").write_text(text, encoding="utf-8")
    built = place / "built"
    arguments = ["build_ext", "--build-lib", str(built), "--build-temp", "temporary"]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "setup.py", *arguments],
        cwd=place,
        # Debug information would be most of the library.
        env={**os.environ, "CFLAGS": f"{os.environ.get('CFLAGS', '')} -g0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mypyc: {done.stdout}")
    return built

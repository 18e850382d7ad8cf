#!/usr/bin/env bash
# Install the checkout into .venv-compiled, as an operator would, with the modules of the
# query path compiled by mypyc. Takes half a minute, and nothing when no source changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'make compiled: %s\n' "$1" >&2
  exit 69
}

include=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
[[ -e $include/Python.h ]] ||
  fail "the headers of Python are missing; apt-get install python3-dev"

sources=$({ find dnsfront kern -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum
  sha256sum pyproject.toml; } | sha256sum)
place=$(printf '%s\n%s' "$PWD" "$sources")
[[ $(cat .venv-compiled/.made 2>/dev/null) == "$place" ]] && exit 0

[[ -x .venv-compiled/bin/python ]] ||
  /usr/bin/python3 -m venv --system-site-packages .venv-compiled </dev/null ||
  fail "could not create .venv-compiled; see above"
# The hook leaves its objects beside the sources, where Python would prefer them to a
# source just edited; so it gets a copy.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r dnsfront kern pyproject.toml README.md LICENSE "$copy"
pip=(.venv-compiled/bin/python -m pip --quiet --disable-pip-version-check --no-input)
HATCH_BUILD_HOOK_ENABLE_MYPYC=1 "${pip[@]}" wheel --no-deps --wheel-dir "$copy/wheels" "$copy" </dev/null ||
  fail "the build failed; see above"
# Twice: the version may be the installed one, and what it needs may be missing.
"${pip[@]}" install --force-reinstall --no-deps "$copy"/wheels/*.whl </dev/null &&
  "${pip[@]}" install "$copy"/wheels/*.whl </dev/null ||
  fail "pip could not install the wheel or what it needs; see above"
printf '%s\n' "$place" >.venv-compiled/.made

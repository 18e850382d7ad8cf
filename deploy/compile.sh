#!/usr/bin/env bash
# Install the checkout into .venv-compiled, as an operator would, with the modules of the
# query path compiled. Takes a minute, and nothing when no source changed.
#
#   deploy/compile.sh           build it if it is not there for these sources
#   deploy/compile.sh --check   wait for who builds it, and exit 1 if it is not there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'make compiled: %s\n' "$1" >&2
  exit 69
}

mkdir -p .venv-compiled
exec 9>.venv-compiled/.lock
flock 9

sources=$({ find dnsfront kern deploy/build.py pyproject.toml -type f -not -name '*.pyc' \
  -not -path '*/__objects__/*' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
place=$(printf '%s\n%s' "$PWD" "$sources")
[[ $(cat .venv-compiled/.made 2>/dev/null) == "$place" ]] && exit 0
[[ ${1-} != --check ]] || exit 1

include=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
[[ -e $include/Python.h ]] ||
  fail "the headers of Python are missing; apt-get install python3-dev"
command -v gcc >/dev/null || fail "there is no C compiler; apt-get install gcc"
printf 'compiling the query path, once for these sources: a minute or two\n' >&2

[[ -x .venv-compiled/bin/python ]] ||
  /usr/bin/python3 -m venv --system-site-packages .venv-compiled </dev/null 9>&- ||
  fail "could not create .venv-compiled; see above"
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
pip=(-m pip --quiet --disable-pip-version-check --no-input)
rm -f .venv-compiled/.made
# With what .venv has, so that only the first time wants a network.
DNSFRONT_BUILD=compiled .venv/bin/python "${pip[@]}" wheel --no-deps --no-build-isolation \
  --wheel-dir "$wheels" . </dev/null 9>&- ||
  fail "the build failed; see above"
pip=(.venv-compiled/bin/python "${pip[@]}")
# Twice: the version may be the installed one, and what it needs may be missing.
"${pip[@]}" install --force-reinstall --no-deps "$wheels"/*.whl </dev/null 9>&- &&
  "${pip[@]}" install "$wheels"/*.whl </dev/null 9>&- ||
  fail "pip could not install the wheel or what it needs; see above"
printf '%s\n' "$place" >.venv-compiled/.made

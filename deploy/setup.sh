#!/usr/bin/env bash
# Prepare a checkout on Debian or Ubuntu: packages by apt, and .venv on the system Python.
#
#   deploy/setup.sh         what running and testing need (`make setup`)
#   deploy/setup.sh bench   and the peers that `make bench` measures against
#
# Does only what is missing, so that a second run needs neither root nor a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(
  python3-venv                                               # to run
  iproute2 nftables unbound nsd bind9-dnsutils knot-dnsutils prometheus   # to test
  gcc libc6-dev python3-dev                                  # to compile the query path
  python3-bpfcc clang-format dnsperf                         # to change kern/, check and measure
)
# Of these come daemons that nobody asked to have at the next boot.
daemons=(unbound nsd prometheus dnsdist)
policy=/usr/sbin/policy-rc.d

fail() {
  printf 'make setup: %s\n' "$2" >&2
  exit "$1"
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      printf '%s\n' "$package"
  done
}

install_packages() {
  local own_policy=no daemon
  if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    own_policy=yes
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q </dev/null ||
    fail 69 "apt-get update failed; see above"
  apt-get install -y -q --no-install-recommends "$@" </dev/null ||
    fail 69 "apt-get could not install: $*; see above"
  if [[ $own_policy == yes ]]; then
    rm -f "$policy"
    trap - EXIT
  fi
  for daemon in "${daemons[@]}"; do
    if [[ " $* " == *" $daemon "* ]] && command -v systemctl >/dev/null; then
      systemctl disable --quiet "$daemon.service" </dev/null ||
        printf 'make setup: %s.service starts at boot; disable it by hand\n' "$daemon" >&2
    fi
  done
}

setup_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  ((EUID == 0)) ||
    fail 77 "these packages are missing: ${missing[*]}; run it as root to install them"
  install_packages "${missing[@]}"
}

setup_venv() {
  local place wanted made
  # An editable install and its scripts hold the path of the checkout.
  place=$(printf '%s\n%s' "$PWD" "$(/usr/bin/python3 --version)")
  wanted=$(printf '%s\n%s' "$place" "$(sha256sum <pyproject.toml)")
  made=$(cat .venv/.setup 2>/dev/null || true)
  [[ -x .venv/bin/dnsfront && $made == "$wanted" ]] && return 0
  /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail 69 "/usr/bin/python3 is $(/usr/bin/python3 --version), want 3.11 or newer"
  if [[ ! -x .venv/bin/python || $made != "$place"* ]]; then
    /usr/bin/python3 -m venv --clear --system-site-packages .venv </dev/null ||
      fail 69 "could not create .venv; see above"
  fi
  # Pure, or the build would want what compiling needs.
  DNSFRONT_BUILD=pure .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-input --editable '.[dev]' </dev/null ||
    fail 69 "pip could not install what pyproject.toml names; see above"
  printf '%s\n' "$wanted" >.venv/.setup
}

case $* in
  '') ;;
  bench) packages+=(dnsdist) ;;
  *) fail 64 "got \"$*\", want nothing or bench" ;;
esac
command -v dpkg-query >/dev/null ||
  fail 69 "this is not Debian or Ubuntu; install by hand what CONTRIBUTING.md lists"
setup_packages
setup_venv

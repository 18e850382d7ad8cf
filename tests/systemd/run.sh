#!/usr/bin/env bash
# Run deploy/dnsfront.service under a real systemd, in namespaces and on a file system of
# its own: `make test-systemd`, as root. Nothing of it reaches this machine's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
checkout=$PWD
((EUID == 0)) || { echo "test-systemd: root is missing: it makes namespaces" >&2; exit 77; }
[[ -x /lib/systemd/systemd ]] || { echo "test-systemd: systemd is missing" >&2; exit 69; }

place=$(mktemp -d)
trap 'kill -KILL "$outer" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$place"' EXIT
mkdir "$place/root" "$place/out"
cp tests/systemd/inside.sh "$place/out/"

# Every mount comes before the chroot, and a failed one ends it: systemd cleans /tmp.
unshare --fork --kill-child --pid --mount --cgroup --uts --ipc --net \
  bash -euo pipefail -c '
  root=$1/root checkout=$2
  mount --make-rprivate /
  mount -t tmpfs tmpfs "$root"
  mkdir "$root/upper" "$root/work" "$root/merged"
  mount -t overlay overlay "$root/merged" \
    -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work"
  new=$root/merged
  mount -t tmpfs tmpfs "$new/tmp"
  mount -t tmpfs tmpfs "$new/run"
  mount -t proc proc "$new/proc"
  mount --rbind /dev "$new/dev"
  mount -t tmpfs tmpfs "$new/sys"
  mkdir -p "$new/sys/fs/cgroup" "$new/sys/devices"
  mount --rbind /sys/devices "$new/sys/devices"
  mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
  mkdir "$new/test"
  mount --bind "$1/out" "$new/test"
  mkdir -p "$new$checkout"
  mount --bind "$checkout" "$new$checkout"
  rm -rf "$new"/etc/systemd/system/*.wants
  ip link set lo up
  container=test exec chroot "$new" /lib/systemd/systemd --system \
    --unit=rescue.target --log-target=null --show-status=no </dev/null
  ' _ "$place" "$checkout" >"$place/out/boot.log" 2>&1 &
outer=$!

enter() {
  local inner
  inner=$(pgrep -P "$outer") || return 1
  nsenter -t "$inner" -m -p -n -i -u -C -r -w "$@"
}

for _ in $(seq 100); do
  enter systemctl list-units >/dev/null 2>&1 && break
  kill -0 "$outer" 2>/dev/null || { cat "$place/out/boot.log" >&2; exit 69; }
  read -rt 0.1 <> <(:) || true
done
enter bash -euo pipefail /test/inside.sh "$checkout"

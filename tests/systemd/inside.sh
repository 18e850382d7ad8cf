# What is to hold under systemd; run by run.sh, inside.
checkout=$1
unit=dnsfront.service
config=/etc/dnsfront/dnsfront.yaml

expect() { # WHAT WANTED GOT
  [[ $3 == "$2" ]] || {
    printf 'test-systemd: %s: want %s, got %s\n' "$1" "$2" "$3" >&2
    journalctl -u $unit --no-pager -o cat >&2
    exit 1
  }
  printf 'ok: %s\n' "$1"
}
main_pid() { systemctl show -p MainPID --value $unit; }
answer() { dig +short +tries=1 @127.0.0.1 www.example.test; }
dnsfront() { /opt/dnsfront/bin/dnsfront "$@" -c $config; }
workers() { sed -i "s/workers: [0-9]*/workers: $1/" $config; }

mkdir -p /opt/dnsfront/bin /etc/dnsfront
printf '#!/bin/sh\nexec %s/.venv/bin/dnsfront "$@"\n' "$checkout" >/opt/dnsfront/bin/dnsfront
chmod 755 /opt/dnsfront/bin/dnsfront
cat >$config <<YAML
listen: ["127.0.0.1:53"]
ring: {workers: 3}
zones: [{origin: example.test, file: $checkout/deploy/example.test.zone}]
admin: {listen: "127.0.0.1:9353", socket: /run/dnsfront/control.sock}
YAML
cp "$checkout/deploy/$unit" /etc/systemd/system/
systemctl daemon-reload

systemctl start $unit
expect "start waits until it serves" 192.0.2.80 "$(answer)"
expect "the unit's rights are enough for the kernel" 1 \
  "$(dnsfront status | grep -c 'steering ebpf')"

first=$(main_pid)
workers 4
systemctl reload $unit
expect "reload keeps the process" "$first" "$(main_pid)"
expect "reload applies the config" 4 "$(dnsfront status | grep -c ' up ')"

for _ in 1 2; do
  before=$(main_pid)
  told=$(dnsfront restart)
  for _ in $(seq 50); do
    [[ $(main_pid) != "$before" ]] && break
    read -rt 0.1 <> <(:) || true
  done
  expect "restart makes the new process the main one" \
    "restarted: pid $(main_pid) has taken over" "$told"
  expect "it is active" active "$(systemctl is-active $unit)"
  expect "it answers" 192.0.2.80 "$(answer)"
done

before=$(main_pid)
workers 0
dnsfront restart >/dev/null 2>&1 && status=0 || status=$?
expect "restart with a wrong config is refused" 1 $status
systemctl reload $unit 2>/dev/null && status=0 || status=$?
expect "reload with a wrong config fails" 1 $status
expect "the process stays" "$before" "$(main_pid)"
expect "it goes on answering" 192.0.2.80 "$(answer)"

workers 3
kill -KILL "$before"
for _ in $(seq 100); do
  [[ $(systemctl is-active $unit) == active && $(main_pid) != "$before" ]] && break
  read -rt 0.1 <> <(:) || true
done
expect "a killed successor is started again" 192.0.2.80 "$(answer)"

systemctl restart $unit
expect "systemctl restart" 192.0.2.80 "$(answer)"
systemctl stop $unit
expect "stop ends in good order" success "$(systemctl show -p Result --value $unit)"
expect "nothing is left" "" "$(pgrep -f 'dnsfront (run|worker)' || true)"

# backend iptables: asked for
# Removes the rules and the policy routing; to be read by sh.
set -e
# IPTABLES=iptables-legacy chooses the other variant, where a machine has both.
IPTABLES=${IPTABLES:-iptables} IP6TABLES=${IP6TABLES:-ip6tables}
has_jump() { "$1" -w 30 -t "$2" -C "$3" -j "$4" 2>/dev/null; }
last() { has_jump "$@" || "$1" -w 30 -t "$2" -A "$3" -j "$4"; }
first() {
  [ "$("$1" -w 30 -t "$2" -S "$3" 1)" = "-A $3 -j $4" ] && return
  while has_jump "$@"; do "$1" -w 30 -t "$2" -D "$3" -j "$4"; done
  "$1" -w 30 -t "$2" -I "$3" 1 -j "$4"
}
without() {
  while has_jump "$@"; do "$1" -w 30 -t "$2" -D "$3" -j "$4" || return 1; done
  "$1" -w 30 -t "$2" -F "$4" 2>/dev/null || return 0
  "$1" -w 30 -t "$2" -X "$4"
}
failed=
"$IPTABLES" -w 30 -t nat -S >/dev/null || failed=1
without "$IPTABLES" nat PREROUTING ISTIO_PRERT || failed=1
without "$IPTABLES" nat OUTPUT ISTIO_OUTPUT || failed=1
without "$IPTABLES" mangle PREROUTING ISTIO_PRERT || failed=1
without "$IPTABLES" mangle OUTPUT ISTIO_OUTPUT || failed=1
without "$IPTABLES" raw PREROUTING ISTIO_PRERT || failed=1
without "$IPTABLES" raw OUTPUT ISTIO_OUTPUT || failed=1
if [ -d /proc/sys/net/ipv6 ]; then
"$IP6TABLES" -w 30 -t nat -S >/dev/null || failed=1
without "$IP6TABLES" nat PREROUTING ISTIO_PRERT || failed=1
without "$IP6TABLES" nat OUTPUT ISTIO_OUTPUT || failed=1
without "$IP6TABLES" mangle PREROUTING ISTIO_PRERT || failed=1
without "$IP6TABLES" mangle OUTPUT ISTIO_OUTPUT || failed=1
without "$IP6TABLES" raw PREROUTING ISTIO_PRERT || failed=1
without "$IP6TABLES" raw OUTPUT ISTIO_OUTPUT || failed=1
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi
while [ -n "$(ip -4 rule show fwmark 0x111/0xfff pref 32764 lookup 100)" ]; do ip -4 rule del fwmark 0x111/0xfff pref 32764 lookup 100 || { failed=1; break; }; done
ip -4 route del local 0.0.0.0/0 dev lo table 100 2>/dev/null || :
if [ -d /proc/sys/net/ipv6 ]; then
while [ -n "$(ip -6 rule show fwmark 0x111/0xfff pref 32764 lookup 100)" ]; do ip -6 rule del fwmark 0x111/0xfff pref 32764 lookup 100 || { failed=1; break; }; done
ip -6 route del local ::/0 dev lo table 100 2>/dev/null || :
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi
[ -z "$failed" ]

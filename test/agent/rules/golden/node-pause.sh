# backend iptables: asked for
# From here on no new connection is redirected. What is open goes on: marks and policy routing stay, for answers on it.
# To be read by sh.
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
"$IPTABLES-restore" -w 30 --noflush <<'RULES'
*nat
:TWINSTACK_PRERT - [0:0]
COMMIT
RULES
if [ -d /proc/sys/net/ipv6 ]; then
"$IP6TABLES-restore" -w 30 --noflush <<'RULES'
*nat
:TWINSTACK_PRERT - [0:0]
COMMIT
RULES
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi

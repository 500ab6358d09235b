# backend iptables: asked for
# For the network namespace of a pod: what istio-cni programs there, with Istio's names and in its order.
# localhost is never captured, nor what has the mark of the proxy.
# To be read by sh; it may be run again.
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
# Policy routing: answers to the addresses of clients come to the proxy, which connected to the application from them.
if [ -d /proc/sys/net/ipv6 ]; then
[ -n "$(ip -6 rule show fwmark 0x111/0xfff pref 32764 lookup 100)" ] || ip -6 rule add fwmark 0x111/0xfff pref 32764 lookup 100
[ "$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6)" = 1 ] || ip -6 route replace local ::/0 dev lo table 100
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi
# The rules.
if [ -d /proc/sys/net/ipv6 ]; then
without "$IP6TABLES" raw PREROUTING ISTIO_PRERT
without "$IP6TABLES" raw OUTPUT ISTIO_OUTPUT
"$IP6TABLES-restore" -w 30 --noflush <<'RULES'
*nat
:ISTIO_PRERT - [0:0]
:ISTIO_OUTPUT - [0:0]
# probes of the kubelet, which the node sends from this address
-A ISTIO_PRERT -s fd16:9254:7127:1337:ffff:ffff:ffff:ffff -p tcp -j ACCEPT
# answers to such probes
-A ISTIO_OUTPUT -d fd16:9254:7127:1337:ffff:ffff:ffff:ffff -p tcp -j ACCEPT
# connections into the pod
-A ISTIO_PRERT ! -d ::1/128 -p tcp -m tcp ! --dport 15008 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15006
# answers on connections that the proxy made from the address of its client
-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
# an application that calls itself by the address of its pod
-A ISTIO_OUTPUT ! -d ::1/128 -o lo -j ACCEPT
# connections out of the pod; to localhost, and with the mark of the proxy, they pass
-A ISTIO_OUTPUT ! -d ::1/128 -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
COMMIT
*mangle
:ISTIO_PRERT - [0:0]
:ISTIO_OUTPUT - [0:0]
# connections of the proxy to the application are remembered
-A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
# and answers on them are marked, which the policy routing brings back to the proxy
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
RULES
last "$IP6TABLES" nat OUTPUT ISTIO_OUTPUT
last "$IP6TABLES" nat PREROUTING ISTIO_PRERT
last "$IP6TABLES" mangle PREROUTING ISTIO_PRERT
last "$IP6TABLES" mangle OUTPUT ISTIO_OUTPUT
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi

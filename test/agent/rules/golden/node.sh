# backend iptables: asked for
# For the network namespace of the host, where there is no istio-cni; the agent runs in the host's network.
# TCP from pods of this node goes to the outbound port, TCP to them from elsewhere to the inbound port.
# Between two pods of this node a connection passes the agent once, at the outbound port.
# Only PREROUTING redirects. So never captured, and without a rule:
# - what this node itself sends: probes of the kubelet, pods in the network of the host, the agent;
# - what a pod sends to its own localhost: it does not leave the pod;
# - answers, and connections that were there before the rules: nat looks at the first packet alone;
# - UDP and everything else that is not TCP.
# Captured after all, and perhaps to be excluded: calls to the control plane and to cluster DNS over TCP.
# Not captured into pods, and their policies are not asked: what kube-proxy or the CNI of this node sends there from a
# node port, a load balancer or a hostPort.
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
# Policy routing, for ENABLE_ORIG_SRC=true: answers to the addresses of clients come to the agent, which connected from them.
[ -n "$(ip -4 rule show fwmark 0x111/0xfff pref 32764 lookup 1337)" ] || ip -4 rule add fwmark 0x111/0xfff pref 32764 lookup 1337
ip -4 route replace local 0.0.0.0/0 dev lo table 1337
if [ -d /proc/sys/net/ipv6 ]; then
[ -n "$(ip -6 rule show fwmark 0x111/0xfff pref 32764 lookup 1337)" ] || ip -6 rule add fwmark 0x111/0xfff pref 32764 lookup 1337
[ "$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6)" = 1 ] || ip -6 route replace local ::/0 dev lo table 1337
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi
# The rules.
"$IPTABLES-restore" -w 30 --noflush <<'RULES'
*nat
:TWINSTACK_PRERT - [0:0]
# the agent itself
-A TWINSTACK_PRERT -m mark --mark 0x539/0xfff -j RETURN
# addresses of the link and of groups
-A TWINSTACK_PRERT -d 127.0.0.0/8 -j RETURN
-A TWINSTACK_PRERT -d 169.254.0.0/16 -j RETURN
-A TWINSTACK_PRERT -d 224.0.0.0/4 -j RETURN
-A TWINSTACK_PRERT -d 255.255.255.255/32 -j RETURN
# the agent's own ports, and those that were excluded
-A TWINSTACK_PRERT -p tcp -m tcp --dport 15001 -j RETURN
-A TWINSTACK_PRERT -p tcp -m tcp --dport 15006 -j RETURN
-A TWINSTACK_PRERT -p tcp -m tcp --dport 15008 -j RETURN
# to this node: the kubelet, pods in the network of the host, node ports
-A TWINSTACK_PRERT -m addrtype --dst-type LOCAL -j RETURN
# connections of pods of this node
-A TWINSTACK_PRERT -s 10.244.0.0/24 -p tcp -j REDIRECT --to-ports 15001
# connections to pods of this node that come from elsewhere
-A TWINSTACK_PRERT -d 10.244.0.0/24 -p tcp -j REDIRECT --to-ports 15006
COMMIT
*mangle
:TWINSTACK_PRERT - [0:0]
:TWINSTACK_OUTPUT - [0:0]
# connections that the agent makes from the address of its client (ENABLE_ORIG_SRC) are remembered
-A TWINSTACK_OUTPUT -m mark --mark 0x539/0xfff -m addrtype ! --src-type LOCAL -j CONNMARK --set-xmark 0x111/0xfff
# and answers on them are marked, which the policy routing brings back to the agent
-A TWINSTACK_PRERT -m connmark --mark 0x111/0xfff -j MARK --set-xmark 0x111/0xfff
COMMIT
RULES
first "$IPTABLES" nat PREROUTING TWINSTACK_PRERT
first "$IPTABLES" mangle PREROUTING TWINSTACK_PRERT
first "$IPTABLES" mangle OUTPUT TWINSTACK_OUTPUT
if [ -d /proc/sys/net/ipv6 ]; then
"$IP6TABLES-restore" -w 30 --noflush <<'RULES'
*nat
:TWINSTACK_PRERT - [0:0]
# the agent itself
-A TWINSTACK_PRERT -m mark --mark 0x539/0xfff -j RETURN
# addresses of the link and of groups
-A TWINSTACK_PRERT -d ::1/128 -j RETURN
-A TWINSTACK_PRERT -d fe80::/10 -j RETURN
-A TWINSTACK_PRERT -d ff00::/8 -j RETURN
# the agent's own ports, and those that were excluded
-A TWINSTACK_PRERT -p tcp -m tcp --dport 15001 -j RETURN
-A TWINSTACK_PRERT -p tcp -m tcp --dport 15006 -j RETURN
-A TWINSTACK_PRERT -p tcp -m tcp --dport 15008 -j RETURN
# to this node: the kubelet, pods in the network of the host, node ports
-A TWINSTACK_PRERT -m addrtype --dst-type LOCAL -j RETURN
# connections of pods of this node
-A TWINSTACK_PRERT -s fd00:10:244::/64 -p tcp -j REDIRECT --to-ports 15001
# connections to pods of this node that come from elsewhere
-A TWINSTACK_PRERT -d fd00:10:244::/64 -p tcp -j REDIRECT --to-ports 15006
COMMIT
*mangle
:TWINSTACK_PRERT - [0:0]
:TWINSTACK_OUTPUT - [0:0]
# connections that the agent makes from the address of its client (ENABLE_ORIG_SRC) are remembered
-A TWINSTACK_OUTPUT -m mark --mark 0x539/0xfff -m addrtype ! --src-type LOCAL -j CONNMARK --set-xmark 0x111/0xfff
# and answers on them are marked, which the policy routing brings back to the agent
-A TWINSTACK_PRERT -m connmark --mark 0x111/0xfff -j MARK --set-xmark 0x111/0xfff
COMMIT
RULES
first "$IP6TABLES" nat PREROUTING TWINSTACK_PRERT
first "$IP6TABLES" mangle PREROUTING TWINSTACK_PRERT
first "$IP6TABLES" mangle OUTPUT TWINSTACK_OUTPUT
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi

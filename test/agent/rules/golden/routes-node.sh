# Policy routing, for ENABLE_ORIG_SRC=true: answers to the addresses of clients come to the agent, which connected from them.
set -e
[ -n "$(ip -4 rule show fwmark 0x111/0xfff pref 32764 lookup 1337)" ] || ip -4 rule add fwmark 0x111/0xfff pref 32764 lookup 1337
ip -4 route replace local 0.0.0.0/0 dev lo table 1337
if [ -d /proc/sys/net/ipv6 ]; then
[ -n "$(ip -6 rule show fwmark 0x111/0xfff pref 32764 lookup 1337)" ] || ip -6 rule add fwmark 0x111/0xfff pref 32764 lookup 1337
[ "$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6)" = 1 ] || ip -6 route replace local ::/0 dev lo table 1337
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi

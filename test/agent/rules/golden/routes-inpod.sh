# Policy routing: answers to the addresses of clients come to the proxy, which connected to the application from them.
set -e
[ -n "$(ip -4 rule show fwmark 0x111/0xfff pref 32764 lookup 100)" ] || ip -4 rule add fwmark 0x111/0xfff pref 32764 lookup 100
ip -4 route replace local 0.0.0.0/0 dev lo table 100
if [ -d /proc/sys/net/ipv6 ]; then
[ -n "$(ip -6 rule show fwmark 0x111/0xfff pref 32764 lookup 100)" ] || ip -6 rule add fwmark 0x111/0xfff pref 32764 lookup 100
[ "$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6)" = 1 ] || ip -6 route replace local ::/0 dev lo table 100
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi

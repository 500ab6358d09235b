# Removes the policy routing.
failed=
while [ -n "$(ip -4 rule show fwmark 0x111/0xfff pref 32764 lookup 100)" ]; do ip -4 rule del fwmark 0x111/0xfff pref 32764 lookup 100 || { failed=1; break; }; done
ip -4 route del local 0.0.0.0/0 dev lo table 100 2>/dev/null || :
if [ -d /proc/sys/net/ipv6 ]; then
while [ -n "$(ip -6 rule show fwmark 0x111/0xfff pref 32764 lookup 100)" ]; do ip -6 rule del fwmark 0x111/0xfff pref 32764 lookup 100 || { failed=1; break; }; done
ip -6 route del local ::/0 dev lo table 100 2>/dev/null || :
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi
[ -z "$failed" ]

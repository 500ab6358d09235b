# Removes the policy routing.
set -e
while ip -4 rule show | grep -q '^32764:.*fwmark 0x111/0xfff '; do ip -4 rule del fwmark 0x111/0xfff pref 32764 lookup 100; done
ip -4 route del local 0.0.0.0/0 dev lo table 100 2>/dev/null || :
if [ -d /proc/sys/net/ipv6 ]; then
while ip -6 rule show | grep -q '^32764:.*fwmark 0x111/0xfff '; do ip -6 rule del fwmark 0x111/0xfff pref 32764 lookup 100; done
ip -6 route del local ::/0 dev lo table 100 2>/dev/null || :
else
  echo 'twinstack: the kernel has no IPv6, its part is left out' >&2
fi

/**
 * Numbers of the Linux kernel's interface that the engine uses. They are those of asm-generic, which x64, arm64 and
 * riscv64 share; loadSyscalls refuses other machines.
 *
 * https://github.com/torvalds/linux/tree/master/include/uapi
 */

export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const SOCK_STREAM = 1
export const SOCK_RAW = 3
export const SOCK_SEQPACKET = 5
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
/** Of a socket that listens: it does so no more. */
export const SHUT_RD = 0
export const SHUT_WR = 1
export const NETLINK_SOCK_DIAG = 4

/** Levels of socket options. */
export const SOL_IP = 0
export const SOL_SOCKET = 1
export const SOL_TCP = 6
export const SOL_IPV6 = 41

export const SO_REUSEADDR = 2
export const SO_ERROR = 4
export const SO_KEEPALIVE = 9
export const SO_LINGER = 13
export const SO_REUSEPORT = 15
export const SO_MARK = 36
export const SO_ATTACH_REUSEPORT_CBPF = 51
export const SO_DETACH_REUSEPORT_BPF = 68

export const IP_FREEBIND = 15
export const IP_TRANSPARENT = 19
export const IP_BIND_ADDRESS_NO_PORT = 24
export const IPV6_V6ONLY = 26
export const IPV6_TRANSPARENT = 75
export const IPV6_FREEBIND = 78
/** SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST have the same number on their levels. */
export const SO_ORIGINAL_DST = 80

export const TCP_NODELAY = 1
export const TCP_KEEPIDLE = 4
export const TCP_KEEPINTVL = 5
export const TCP_KEEPCNT = 6
export const TCP_USER_TIMEOUT = 18

export const EPOLL_CTL_ADD = 1
export const EPOLL_CTL_DEL = 2
export const EPOLLIN = 0x1
export const EPOLLOUT = 0x4
export const EPOLLERR = 0x8
export const EPOLLHUP = 0x10
export const EPOLLRDHUP = 0x2000
/** Of several that wait for one descriptor, not all are woken. */
export const EPOLLEXCLUSIVE = 0x10000000
export const EPOLLET = 0x80000000

/** MSG_DONTWAIT | MSG_NOSIGNAL: a send never blocks and never raises SIGPIPE. */
export const SEND_FLAGS = 0x4040
/** SPLICE_F_MOVE | SPLICE_F_NONBLOCK */
export const SPLICE_FLAGS = 0x3
export const F_SETPIPE_SZ = 1031

/** What setns(2) is to expect of a descriptor: a network namespace. */
export const CLONE_NEWNET = 0x40000000
/** ioctl_nsfs(2): what kind of namespace a descriptor is of. */
export const NS_GET_NSTYPE = 0xb703

/** unix(7): descriptors that come with a message. */
export const SCM_RIGHTS = 1
export const MSG_CTRUNC = 0x8
export const MSG_TRUNC = 0x20
export const MSG_CMSG_CLOEXEC = 0x40000000

/** struct sockaddr_in6; struct sockaddr_in has 16. */
export const SOCKADDR_BYTES = 28
export const SOCKADDR_IN_BYTES = 16

/**
 * The C functions that the engine calls, bound once per thread through koffi. This is the only file that loads it.
 * Pointers are passed as numbers: the cheapest way, and the caller owns the memory anyway (native-memory.ts).
 */
import os from 'node:os'

import { errorCodeOf, errorMessage } from '../../core/errors.ts'
import { NativeMemory } from './native-memory.ts'

import type { ErrorCode } from '../../core/errors.ts'

type Pointer = number

/** Each returns what the function returns; -1 is a failure, whose number {@link Syscalls.errno} tells. */
export interface Syscalls {
  readonly socket: (family: number, type: number, protocol: number) => number
  readonly bind: (fd: number, address: Pointer, length: number) => number
  readonly listen: (fd: number, backlog: number) => number
  readonly accept4: (fd: number, address: Pointer, length: Pointer, flags: number) => number
  readonly connect: (fd: number, address: Pointer, length: number) => number
  readonly close: (fd: number) => number
  readonly shutdown: (fd: number, how: number) => number
  readonly setsockopt: (fd: number, level: number, name: number, value: Pointer, length: number) => number
  readonly getsockopt: (fd: number, level: number, name: number, value: Pointer, length: Pointer) => number
  readonly getsockname: (fd: number, address: Pointer, length: Pointer) => number
  readonly epoll_create1: (flags: number) => number
  readonly epoll_ctl: (epoll: number, operation: number, fd: number, event: Pointer) => number
  readonly epoll_wait: (epoll: number, events: Pointer, count: number, timeoutMs: number) => number
  readonly recv: (fd: number, buffer: Pointer, length: number, flags: number) => number
  readonly send: (fd: number, buffer: Pointer, length: number, flags: number) => number
  readonly splice: (
    from: number,
    fromOffset: Pointer,
    to: number,
    toOffset: Pointer,
    length: number,
    flags: number,
  ) => number
  readonly pipe2: (descriptors: Pointer, flags: number) => number
  readonly fcntl: (fd: number, command: number, argument: number) => number
  readonly eventfd: (initial: number, flags: number) => number
  readonly read: (fd: number, buffer: Pointer, length: number) => number
  readonly write: (fd: number, buffer: Pointer, length: number) => number
  /** Moves the calling thread, and nothing else of the process, into a namespace. */
  readonly setns: (fd: number, kind: number) => number
  /** `message` is a struct msghdr, as in `recvmsg`. */
  readonly sendmsg: (fd: number, message: Pointer, flags: number) => number
  readonly recvmsg: (fd: number, message: Pointer, flags: number) => number
  readonly ioctl: (fd: number, request: number, argument: Pointer) => number
  readonly if_nametoindex: (name: string) => number
  readonly if_indextoname: (index: number, name: Pointer) => Pointer
  /** The number of the last failure in this thread; to be read at once, whoever fails next writes over it. */
  readonly errno: () => number
  /** Memory at a fixed address. */
  readonly allocate: (sizeBytes: number) => NativeMemory
  /** The address of a buffer's first byte; holds as long as the buffer is referred to. */
  readonly addressOf: (buffer: Uint8Array) => Pointer
}

/**
 * What each function is in C. Lengths that are ssize_t there are read as int: no call here moves 2 GiB, and an int
 * never becomes a BigInt.
 */
const SIGNATURES = {
  socket: 'int socket(int, int, int)',
  bind: 'int bind(int, uintptr_t, uint32_t)',
  listen: 'int listen(int, int)',
  accept4: 'int accept4(int, uintptr_t, uintptr_t, int)',
  connect: 'int connect(int, uintptr_t, uint32_t)',
  close: 'int close(int)',
  shutdown: 'int shutdown(int, int)',
  setsockopt: 'int setsockopt(int, int, int, uintptr_t, uint32_t)',
  getsockopt: 'int getsockopt(int, int, int, uintptr_t, uintptr_t)',
  getsockname: 'int getsockname(int, uintptr_t, uintptr_t)',
  epoll_create1: 'int epoll_create1(int)',
  epoll_ctl: 'int epoll_ctl(int, int, int, uintptr_t)',
  epoll_wait: 'int epoll_wait(int, uintptr_t, int, int)',
  recv: 'int recv(int, uintptr_t, size_t, int)',
  send: 'int send(int, uintptr_t, size_t, int)',
  splice: 'int splice(int, uintptr_t, int, uintptr_t, size_t, uint32_t)',
  pipe2: 'int pipe2(uintptr_t, int)',
  fcntl: 'int fcntl(int, int, int)',
  eventfd: 'int eventfd(uint32_t, int)',
  read: 'int read(int, uintptr_t, size_t)',
  write: 'int write(int, uintptr_t, size_t)',
  setns: 'int setns(int, int)',
  sendmsg: 'int sendmsg(int, uintptr_t, int)',
  recvmsg: 'int recvmsg(int, uintptr_t, int)',
  // Variadic in C; an integer argument is passed in the same way on the machines below.
  ioctl: 'int ioctl(int, unsigned long, uintptr_t)',
  if_nametoindex: 'uint32_t if_nametoindex(const char *)',
  if_indextoname: 'uintptr_t if_indextoname(uint32_t, uintptr_t)',
} as const

/** Machines whose numbers are those of constants.ts and whose epoll_event the reactor knows. */
const ARCHITECTURES: readonly string[] = ['x64', 'arm64']

/** The functions, or why this machine has none. */
export type LoadedSyscalls =
  { readonly ok: true; readonly syscalls: Syscalls } | { readonly ok: false; readonly reason: string }

/** Binds the functions for this thread: another platform, or no library that koffi can load, is a reason. */
export async function loadSyscalls(
  machine: { readonly platform: string; readonly architecture: string } = {
    platform: process.platform,
    architecture: process.arch,
  },
): Promise<LoadedSyscalls> {
  const { platform, architecture } = machine
  if (platform !== 'linux') return { ok: false, reason: `not on ${platform}` }
  if (!ARCHITECTURES.includes(architecture)) return { ok: false, reason: `not on ${architecture}` }
  try {
    const { default: koffi } = await import('koffi')
    // The symbols of the running process: the C library that Node.js itself uses, glibc or musl.
    const library = koffi.load(null)
    const functions = Object.fromEntries(
      Object.entries(SIGNATURES).map(([name, signature]) => [name, library.func(signature)]),
    )
    const addressOf = (buffer: Uint8Array): number => Number(koffi.address(buffer))
    return {
      ok: true,
      syscalls: {
        // koffi gives functions of the signatures above; TypeScript cannot read C.
        ...(functions as unknown as Pick<Syscalls, keyof typeof SIGNATURES>),
        errno: () => koffi.errno(),
        allocate: (sizeBytes) => new NativeMemory(sizeBytes, addressOf),
        addressOf,
      },
    }
  } catch (reason) {
    return { ok: false, reason: `koffi cannot be loaded: ${errorMessage(reason)}` }
  }
}

const ERRNO_NAMES = new Map(Object.entries(os.constants.errno).map(([name, number]) => [number, name]))

/** `ECONNREFUSED` of 111. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `errno ${errno}`
}

/** The program's code for a failure of the kernel. */
export function errorCodeOfErrno(errno: number): ErrorCode {
  return errorCodeOf({ code: errnoName(errno) })
}

export const { EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EINTR, EINPROGRESS, ECONNABORTED, EPERM, EPROTO, EINVAL } =
  os.constants.errno

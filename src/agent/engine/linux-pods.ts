/**
 * What Linux does for captured pods, from the main thread: sockets in their network namespaces, and the socket of istio-cni.
 * A thread of its own does the work (pod-thread.ts); it is started with the first request, and again when it has died.
 */
import { fstatSync, readlinkSync } from 'node:fs'

import { errorMessage } from '../../core/errors.ts'
import { CLONE_NEWNET, NS_GET_NSTYPE, SHUT_RD } from '../../proxy/linux/constants.ts'
import { startNativeThread } from './native-thread.ts'

import type { Logger } from '../../core/logger.ts'
import type { DescriptorTable } from '../../proxy/linux/descriptor-table.ts'
import type { Syscalls } from '../../proxy/linux/syscalls.ts'
import type {
  DescriptorKind,
  OpenedNamespace,
  PodSocketOpener,
  WantedSocket,
  YieldingSocket,
} from '../../proxy/pods/pod-sockets.ts'
import type { ZdsChannel, ZdsChannelEvents, ZdsTransport } from '../../zds-client/zds-transport.ts'
import type { NativeThread } from './native-thread.ts'
import type { FromPodThread, PodThreadData, ToPodThread } from './pod-thread.ts'

export interface LinuxPodsDeps {
  readonly syscalls: Syscalls
  /** Of the main thread. */
  readonly descriptors: DescriptorTable
  readonly logger: Logger
}

export interface LinuxPodsOptions {
  /** The memory of the table. */
  readonly table: SharedArrayBuffer
  /** Whose the descriptors of the thread are. */
  readonly owner: number
  /** The module that the thread runs, see pod-thread-entry.ts. */
  readonly threadUrl: URL
}

type OpenResult = Awaited<ReturnType<PodSocketOpener['open']>>

/** In the place of one that could not be started. */
const NO_THREAD: NativeThread<ToPodThread> = { post: () => undefined, terminate: () => undefined }
const THREAD_DIED = 'the thread that goes into network namespaces died'
const ENDED = 'the thread that goes into network namespaces has ended'

export class LinuxPods implements PodSocketOpener, ZdsTransport {
  readonly #deps: LinuxPodsDeps
  readonly #options: LinuxPodsOptions
  readonly #requests = new Map<number, (result: OpenResult) => void>()
  readonly #yields = new Map<number, () => void>()
  readonly #channels = new Map<number, ZdsChannelEvents>()
  #thread: NativeThread<ToPodThread> | undefined
  #end: Promise<void> | undefined
  #ended: (() => void) | undefined
  #lastId = 0

  constructor(deps: LinuxPodsDeps, options: LinuxPodsOptions) {
    this.#deps = deps
    this.#options = options
  }

  identify(fd: number): DescriptorKind {
    if (this.#deps.syscalls.ioctl(fd, NS_GET_NSTYPE, 0) !== CLONE_NEWNET)
      return { isNamespace: false, what: describeDescriptor(fd) }
    const { dev, ino } = fstatSync(fd, { bigint: true })
    return { isNamespace: true, identity: `${dev}:${ino}` }
  }

  open(namespaceFd: number, wanted: readonly WantedSocket[]): Promise<OpenResult> {
    const request = ++this.#lastId
    return new Promise((resolve) => {
      this.#requests.set(request, resolve)
      this.#post({ kind: 'open', request, namespaceFd, wanted })
    })
  }

  yieldTo(namespaceFd: number, sockets: readonly YieldingSocket[]): Promise<void> {
    const request = ++this.#lastId
    return new Promise((resolve) => {
      this.#yields.set(request, resolve)
      this.#post({ kind: 'yield', request, namespaceFd, sockets })
    })
  }

  stopListening(fd: number): void {
    this.#deps.syscalls.shutdown(fd, SHUT_RD)
  }

  close(fd: number): void {
    this.#deps.descriptors.close(fd)
  }

  closeDescriptor(fd: number): void {
    this.close(fd)
  }

  connect(path: string, events: ZdsChannelEvents): ZdsChannel {
    const channel = ++this.#lastId
    this.#channels.set(channel, events)
    this.#post({ kind: 'connect', channel, path })
    return {
      send: (bytes) => {
        if (this.#channels.has(channel)) this.#post({ kind: 'send', channel, bytes })
      },
      close: () => {
        if (this.#channels.delete(channel)) this.#post({ kind: 'disconnect', channel })
      },
    }
  }

  /** Ends the thread. Resolves when it runs no more. Idempotent. */
  async end(): Promise<void> {
    this.#end ??= new Promise((resolve) => {
      if (this.#thread === undefined) {
        resolve()
        return
      }
      this.#ended = resolve
      this.#thread.post({ kind: 'stop' })
    })
    await this.#end
  }

  #post(message: ToPodThread): void {
    if (this.#end !== undefined) {
      setImmediate(() => {
        this.#tellNobodyAnswers(ENDED)
      })
      return
    }
    this.#thread ??= this.#startOrFail()
    this.#thread.post(message)
  }

  /** Whoever waits is told of a failure in a turn of its own, as when a thread dies; until then no other is started. */
  #startOrFail(): NativeThread<ToPodThread> {
    try {
      return this.#start()
    } catch (error) {
      setImmediate(() => {
        this.#exited(error)
      })
      return NO_THREAD
    }
  }

  #start(): NativeThread<ToPodThread> {
    const { table, owner, threadUrl } = this.#options
    return startNativeThread<ToPodThread, FromPodThread>(
      this.#deps,
      {
        url: threadUrl,
        workerData: (thread): PodThreadData => ({ ...thread, descriptors: table, owner }),
      },
      {
        received: (message) => {
          this.#received(message)
        },
        exited: (reason) => {
          this.#exited(reason)
        },
      },
    )
  }

  #received(message: FromPodThread): void {
    switch (message.kind) {
      case 'opened': {
        const { request, result } = message
        const resolve = this.#requests.get(request)
        this.#requests.delete(request)
        for (const fd of result.ok ? boundOf(result.value) : []) {
          this.#deps.descriptors.adopt(fd)
          if (resolve === undefined) this.close(fd)
        }
        resolve?.(result)
        break
      }
      case 'yielded':
        this.#yields.get(message.request)?.()
        this.#yields.delete(message.request)
        break
      case 'connected':
        this.#channels.get(message.channel)?.connected()
        break
      case 'received': {
        const { channel, packet } = message
        for (const fd of packet.descriptors) this.#deps.descriptors.adopt(fd)
        const events = this.#channels.get(channel)
        if (events === undefined) for (const fd of packet.descriptors) this.close(fd)
        else events.received(packet)
        break
      }
      case 'disconnected': {
        const events = this.#channels.get(message.channel)
        this.#channels.delete(message.channel)
        events?.closed(message.reason)
        break
      }
    }
  }

  #exited(reason: unknown): void {
    this.#thread = undefined
    this.#deps.descriptors.closeOwnedBy(this.#options.owner)
    if (this.#ended === undefined) {
      const detail = reason === undefined ? 'it ended by itself' : errorMessage(reason)
      this.#deps.logger.log('error', THREAD_DIED, { reason: detail })
    }
    this.#tellNobodyAnswers(this.#ended === undefined ? THREAD_DIED : ENDED)
    this.#ended?.()
  }

  #tellNobodyAnswers(problem: string): void {
    const requests = [...this.#requests.values()]
    this.#requests.clear()
    for (const resolve of requests) resolve({ ok: false, problem })
    const yields = [...this.#yields.values()]
    this.#yields.clear()
    for (const resolve of yields) resolve()
    const channels = [...this.#channels.values()]
    this.#channels.clear()
    for (const events of channels) events.closed(problem)
  }
}

function boundOf({ sockets }: OpenedNamespace): readonly number[] {
  return sockets.flatMap((socket) => (socket.kind === 'bound' ? [socket.fd] : []))
}

/** A path, or `socket:[4711]`. */
function describeDescriptor(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch (error) {
    return errorMessage(error)
  }
}

/**
 * The thread that goes into the network namespaces of pods for the main one, and receives the packets of istio-cni, which
 * come with descriptors. A thread that could not come back from a pod ends, and another takes its place.
 */
import { systemClock } from '../../core/clock.ts'
import { DescriptorTable } from '../../proxy/linux/descriptor-table.ts'
import { NamespaceVisitor } from '../../proxy/linux/namespace-visitor.ts'
import { openInNamespace, yieldInNamespace } from '../../proxy/linux/namespace-sockets.ts'
import { Reactor } from '../../proxy/linux/reactor.ts'
import { SeqpacketChannel } from '../../proxy/linux/seqpacket-channel.ts'
import { SocketOptions } from '../../proxy/linux/socket-options.ts'
import { loadSyscalls } from '../../proxy/linux/syscalls.ts'
import { runReactorLoop } from './reactor-loop.ts'

import type { NamespaceSockets } from '../../proxy/linux/namespace-sockets.ts'
import type { SeqpacketPacket } from '../../proxy/linux/seqpacket-channel.ts'
import type { WantedSocket, YieldingSocket } from '../../proxy/pods/pod-sockets.ts'
import type { NativeThreadData } from './native-thread.ts'

/** What the thread is started with. */
export interface PodThreadData extends NativeThreadData {
  /** Whose descriptor is whose, see DescriptorTable. */
  readonly descriptors: SharedArrayBuffer
  readonly owner: number
}

/** From the main thread. */
export type ToPodThread =
  /** The answer is `opened` with the same number. The namespace stays the main thread's. */
  | {
      readonly kind: 'open'
      readonly request: number
      readonly namespaceFd: number
      readonly wanted: readonly WantedSocket[]
    }
  /** The answer is `yielded` with the same number. */
  | {
      readonly kind: 'yield'
      readonly request: number
      readonly namespaceFd: number
      readonly sockets: readonly YieldingSocket[]
    }
  | { readonly kind: 'connect'; readonly channel: number; readonly path: string }
  | { readonly kind: 'send'; readonly channel: number; readonly bytes: Uint8Array }
  | { readonly kind: 'disconnect'; readonly channel: number }
  | { readonly kind: 'stop' }

/** To the main thread, which takes over every descriptor that is named. */
export type FromPodThread =
  | { readonly kind: 'opened'; readonly request: number; readonly result: NamespaceSockets }
  | { readonly kind: 'yielded'; readonly request: number }
  | { readonly kind: 'connected'; readonly channel: number }
  | { readonly kind: 'received'; readonly channel: number; readonly packet: SeqpacketPacket }
  | { readonly kind: 'disconnected'; readonly channel: number; readonly reason: string }

/** Runs until the thread is told to stop. */
export async function runPodThread(data: PodThreadData): Promise<void> {
  const loaded = await loadSyscalls()
  if (!loaded.ok) throw new Error(`pods cannot be served from this thread: ${loaded.reason}`)
  const { syscalls } = loaded
  const descriptors = new DescriptorTable({ syscalls }, { memory: data.descriptors, owner: data.owner })
  const reactor = new Reactor({ syscalls, descriptors, clock: systemClock })
  const visitor = new NamespaceVisitor({ syscalls, descriptors })
  const options = new SocketOptions({ syscalls })
  const channels = new Map<number, SeqpacketChannel>()
  let isStopped = false
  const post = (message: FromPodThread): void => {
    data.port.postMessage(message)
  }
  const connect = (channel: number, path: string): void => {
    const opened = new SeqpacketChannel(
      { syscalls, reactor, descriptors },
      {
        received: (packet) => {
          post({ kind: 'received', channel, packet })
        },
        closed: (reason) => {
          channels.delete(channel)
          post({ kind: 'disconnected', channel, reason })
        },
      },
    )
    const failure = opened.connect(path)
    if (failure === undefined) {
      channels.set(channel, opened)
      post({ kind: 'connected', channel })
    } else {
      post({ kind: 'disconnected', channel, reason: failure })
    }
  }
  const receive = (message: ToPodThread): void => {
    switch (message.kind) {
      case 'open': {
        const { request, namespaceFd, wanted } = message
        const result = openInNamespace({ syscalls, descriptors, visitor, options }, namespaceFd, wanted)
        post({ kind: 'opened', request, result })
        break
      }
      case 'yield':
        yieldInNamespace({ syscalls, descriptors, visitor, options }, message.namespaceFd, message.sockets)
        post({ kind: 'yielded', request: message.request })
        break
      case 'connect':
        connect(message.channel, message.path)
        break
      case 'send':
        channels.get(message.channel)?.send(message.bytes)
        break
      case 'disconnect':
        channels.get(message.channel)?.close()
        channels.delete(message.channel)
        break
      case 'stop':
        isStopped = true
        break
    }
  }
  runReactorLoop<ToPodThread>({ syscalls, reactor }, data, {
    receive,
    isStopped: () => isStopped,
    ended: () => {
      for (const channel of channels.values()) channel.close()
      visitor.close()
      reactor.close()
    },
  })
}

/**
 * The pods of one node as bare network namespaces: a link to nobody with an address of each family, and rules that capture
 * what the pod sends to an application beside it, so that a pod needs no neighbour to be served.
 */
import { FAMILIES } from '../../src/core/family.ts'
import { podMeshText } from '../../test/fixtures/pod-mesh.ts'
import { runCommand } from '../lab/command.ts'
import { ipBatch, removeStale } from '../lab/namespaces.ts'
import { inLanes } from './lanes.ts'
import { POD_APPLICATION } from './pod-application.ts'

import type { Family } from '../../src/core/family.ts'
import type { Pod } from '../../src/mesh/pod.ts'
import type { PodInNamespace } from '../../test/fixtures/zds-server-worker.ts'

/** The node that the agent takes itself for. */
export const BENCH_NODE = 'bench-node'

const NAMESPACE = 'bench'
/** Namespaces that are set up at the same time; most of that is the kernel's lock. */
const LANES = 4

/** In each pod: the application's addresses are the pod's own, so istio-cni's rules would let them pass. */
const CAPTURE = [
  'table inet twinstack_bench {',
  'chain output {',
  'type nat hook output priority -100;',
  ...FAMILIES.map(
    (family) =>
      `meta nfproto ${family} ${family === 'ipv4' ? 'ip' : 'ip6'} daddr ${POD_APPLICATION[family]} ` +
      'meta l4proto tcp meta mark & 0xfff != 0x539 redirect to :15001',
  ),
  '}',
  '}',
].join('\n')

export class BarePods {
  readonly count: number
  /** What the names of their namespaces begin with. */
  readonly prefix = `tsb-${process.pid}-pod-`

  #isClosed = false
  #making: Promise<void> | undefined

  constructor(count: number) {
    this.count = count
  }

  /** Makes them. The caller closes them, also when this rejects. What killed runs left is removed first. */
  async create(): Promise<void> {
    this.#making = this.#make()
    await this.#making
  }

  /** One of them, with a uid of its own where it comes again. */
  pod(index: number, uid = `uid-${index}`): PodInNamespace {
    const pod: Pod = { uid, name: `pod-${index}`, namespace: NAMESPACE, serviceAccount: 'default' }
    return { pod, netns: `/run/netns/${this.#nameOf(index)}` }
  }

  /** The first `count`, or those from `from` on. */
  slice(count: number, from = 0): readonly PodInNamespace[] {
    return Array.from({ length: count }, (_, index) => this.pod(from + index))
  }

  /** The mesh that knows all of them, as ztunnel's local file. */
  get meshText(): string {
    return podMeshText({
      pods: this.#indexes.map((index) => ({
        pod: this.pod(index).pod,
        addresses: addressesOf(index),
        node: { name: BENCH_NODE },
      })),
    })
  }

  /** Removes them, in the middle of making them too. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#making?.catch(() => undefined)
    // Some may never have been made, or be gone already.
    await ipBatch(
      ['-force'],
      this.#indexes.map((index) => `netns del ${this.#nameOf(index)}`),
    ).catch(() => undefined)
  }

  async #make(): Promise<void> {
    await removeStale()
    const names = this.#indexes.map((index) => this.#nameOf(index))
    await ipBatch(
      [],
      names.flatMap((name) => [
        `netns add ${name}`,
        `link add eth0 netns ${name} type veth peer name far netns ${name}`,
      ]),
    )
    await inLanes(LANES, this.count, async (index) => {
      if (this.#isClosed) throw new Error('stopped')
      await setUp(this.#nameOf(index), index)
    })
  }

  get #indexes(): readonly number[] {
    return Array.from({ length: this.count }, (_, index) => index)
  }

  #nameOf(index: number): string {
    return `${this.prefix}${index}`
  }
}

function addressesOf(index: number): Readonly<Record<Family, string>> {
  const host = index + 1
  return { ipv4: `10.248.${host >> 8}.${host & 0xff}`, ipv6: `fd00:10:248::${host.toString(16)}` }
}

async function setUp(name: string, index: number): Promise<void> {
  const own = addressesOf(index)
  const commands = [
    'link set lo up',
    'link set far up',
    'link set eth0 up',
    `addr add ${own.ipv4}/32 dev eth0`,
    `addr add ${own.ipv6}/128 dev eth0 nodad`,
    `addr add ${POD_APPLICATION.ipv4}/32 dev lo`,
    `addr add ${POD_APPLICATION.ipv6}/128 dev lo nodad`,
  ]
  const script = 'printf "%s\\n" "$0" | ip -batch - && printf "%s\\n" "$1" | nft -f -'
  const inside = ['netns', 'exec', name, 'sh', '-c', script, commands.join('\n'), CAPTURE]
  await runCommand('ip', inside)
}

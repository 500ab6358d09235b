/**
 * A mesh of the size that the goals speak of, as resources that a decoder has made: each pod has a name, a uid and addresses
 * of its own, and shares every other text and map with the pods that have the same.
 */
import { ipFromBytes } from '../../src/core/address.ts'
import { FAMILIES } from '../../src/core/family.ts'

import type { IpAddress } from '../../src/core/address.ts'
import type { Family } from '../../src/core/family.ts'
import type { MeshUpsert } from '../../src/mesh/store.ts'
import type { Service, Workload } from '../../src/mesh/workload.ts'

export interface ModelMeshOptions {
  readonly workloads: number
  readonly services: number
  readonly families: readonly Family[]
}

const NAMESPACES = 100
const NODES = 1_000
const ZONES = 3
/** Consonants and digits, as Kubernetes names pods. */
const NAME_LETTERS = 'bcdfghjklmnpqrstvwxz2456789'

export class ModelMesh {
  readonly #options: ModelMeshOptions
  readonly #nodes = Array.from({ length: NODES }, (_, n) => flat(`ip-10-0-${n >> 8}-${n & 255}.ec2.internal`))
  readonly #localities = Array.from({ length: ZONES }, (_, n) => ({
    region: 'eu-central-1',
    zone: `eu-central-1${'abc'.charAt(n)}`,
    subzone: '',
  }))
  readonly #ports = new Map([
    [80, 8080],
    [9090, 9090],
  ])
  readonly #services: readonly Service[]
  readonly #memberships: readonly Workload['services'][]

  constructor(options: ModelMeshOptions) {
    this.#options = options
    this.#services = Array.from({ length: options.services }, (_, n) => this.#service(n))
    this.#memberships = this.#services.map(
      ({ namespace, hostname }) => new Map([[flat(`${namespace}/${hostname}`), this.#ports]]),
    )
  }

  /** Upserts of workloads `from` to `to`, and of the services whose first workload is among them. */
  slice(from: number, to: number): readonly MeshUpsert[] {
    const upserts: MeshUpsert[] = []
    for (let n = from; n < Math.min(to, this.#options.workloads); n++) {
      const service = this.#services[n]
      if (service !== undefined) upserts.push({ kind: 'service', upsert: service })
      upserts.push({ kind: 'workload', upsert: this.workload(n) })
    }
    return upserts
  }

  workload(n: number): Workload {
    const { name: app, namespace } = pick(this.#services, n)
    const name = flat(`${app}-${letters(n % this.#services.length, 10)}-${letters(n, 5)}`)
    return {
      uid: flat(`Kubernetes//Pod/${namespace}/${name}`),
      name,
      namespace,
      addresses: this.#addresses(n, { ipv4: [10, 64], ipv6: [0xfd, 0x40] }),
      hostname: '',
      network: '',
      protocol: 'tcp',
      trustDomain: 'cluster.local',
      serviceAccount: app,
      node: pick(this.#nodes, n),
      clusterId: 'Kubernetes',
      canonicalName: app,
      canonicalRevision: 'v1',
      workloadName: app,
      workloadType: 'deployment',
      status: 'healthy',
      isHostNetwork: false,
      isNativeTunnel: false,
      locality: pick(this.#localities, n),
      capacity: 1,
      services: pick(this.#memberships, n),
      authorizationPolicies: NO_POLICIES,
    }
  }

  readonly serviceAddresses = (n: number): readonly IpAddress[] => {
    return pick(this.#services, n).vips.map(({ ip }) => ip)
  }

  /** The n-th address of a range in each family of the mesh. */
  #addresses(
    n: number,
    range: { readonly [Each in Family]: readonly [number, number] },
  ): readonly IpAddress[] {
    return this.#options.families.map((family) => {
      const [first, second] = range[family]
      const host = [n >> 16, (n >> 8) & 255, n & 255]
      return family === 'ipv4'
        ? ipFromBytes([first, second + (n >> 16), (n >> 8) & 255, n & 255])
        : ipFromBytes([first, 0, 0, second, 0, 0, 0, n & 7, 0, 0, 0, 0, 0, ...host])
    })
  }

  #service(n: number): Service {
    const namespace = `team-${n % NAMESPACES}`
    const name = flat(`app-${n}`)
    return {
      name,
      namespace: flat(namespace),
      hostname: flat(`${name}.${namespace}.svc.cluster.local`),
      vips: this.#addresses(n, { ipv4: [10, 96], ipv6: [0xfd, 0x96] }).map((ip) => ({ network: '', ip })),
      cidrVips: [],
      ports: this.#ports,
      families: 'automatic',
      loadBalancing: { routingPreferences: [], mode: 'standard', healthPolicy: 'only-healthy' },
      subjectAltNames: [],
      isCanonical: true,
      visibility: 'public',
    }
  }
}

/** Reads {@link ModelMeshOptions} from the command line of a child process. */
export function readModelMeshOptions(args: readonly string[]): ModelMeshOptions {
  const [workloads, services, families = ''] = args
  return {
    workloads: Number(workloads),
    services: Number(services),
    families: FAMILIES.filter((family) => families.split(',').includes(family)),
  }
}

const NO_POLICIES: readonly string[] = []

/** A text as a decoder cuts it out of bytes: in one piece. */
function flat(text: string): string {
  return Buffer.from(text).toString('latin1')
}

/** A name part of `length` letters that differs with `n`. */
function letters(n: number, length: number): string {
  let rest = Math.imul(n + 1, 0x9e3779b1) >>> 0
  let text = ''
  for (let index = 0; index < length; index++) {
    text += NAME_LETTERS.charAt(rest % NAME_LETTERS.length)
    rest = index % 5 === 4 ? n : Math.floor(rest / NAME_LETTERS.length)
  }
  return text
}

function pick<Item>(items: readonly Item[], n: number): Item {
  const item = items[n % items.length]
  if (item === undefined) throw new TypeError('there is nothing to pick from')
  return item
}

/**
 * Turns responses of the Envoy dialect into changes of the mesh, in the order that keeps connections served, and says
 * which assignments the clusters need. What cannot be decoded is rejected by name, the last good version of it stays,
 * and the rest applies.
 */
import { goesByService } from '../../mesh/filter-chain-match.ts'
import { TYPE_URLS } from '../discovery.ts'
import { EnvoyResources } from './envoy-resources.ts'
import { applyNameTable } from './name-table-update.ts'
import { decodeUpdate } from './resource-decoding.ts'

import type { Timer } from '../../core/clock.ts'
import type { Result } from '../../core/result.ts'
import type { Cluster, LoadAssignment } from '../../mesh/cluster.ts'
import type { Listener } from '../../mesh/listener.ts'
import type { MeshStore, MeshUpdate } from '../../mesh/store.ts'
import type { Rejection, TypeUpdate, UpdateSink } from '../discovery.ts'
import type { ResourceReader } from './resource-decoding.ts'
import type { SliceDeps } from '../slices.ts'
import type { NameTable } from '../resources/name-table.ts'
import type { EnvoyResource } from '../resources/wire-envoy.ts'

type Decode<Value> = (value: Uint8Array) => Result<EnvoyResource<Value>>

export interface EnvoyDecoders {
  readonly cluster: Decode<Cluster>
  readonly assignment: Decode<LoadAssignment>
  readonly listener: Decode<Listener>
  readonly nameTable: (value: Uint8Array) => Result<NameTable>
}

export interface EnvoySinkDeps extends SliceDeps {
  readonly store: MeshStore
  readonly decoders: EnvoyDecoders
  /** Told the names of a type that are needed from now on, when they have become others. */
  readonly namesWanted: (typeUrl: string, names: readonly string[]) => void
}

/** Names of resources that the control plane cannot replace: those of static_resources, as in Envoy. */
export interface StaticNames {
  readonly clusters: ReadonlySet<string>
  readonly listeners: ReadonlySet<string>
}

export interface EnvoySinkOptions {
  /** Absent: none. */
  readonly staticNames?: StaticNames
}

const NO_STATIC_NAMES: StaticNames = { clusters: new Set(), listeners: new Set() }

interface EnvoyReaders {
  readonly cluster: ResourceReader<EnvoyResource<Cluster>>
  readonly assignment: ResourceReader<EnvoyResource<LoadAssignment>>
  readonly listener: ResourceReader<EnvoyResource<Listener>>
}

/** What a response holds. */
interface ReadUpdate<Value> {
  /** Of all resources, those that were rejected too. */
  readonly names: readonly string[]
  readonly values: readonly Value[]
  readonly rejections: readonly Rejection[]
}

export class EnvoySink implements UpdateSink {
  readonly #deps: EnvoySinkDeps
  readonly #resources = new EnvoyResources()
  readonly #readers: EnvoyReaders
  /** By type and name. */
  readonly #ignored = new Map<string, Map<string, readonly string[]>>()
  #assignmentNames: ReadonlySet<string> = new Set()
  #hasNames = false
  #timer: Timer | undefined
  #isClosed = false

  constructor(deps: EnvoySinkDeps, { staticNames = NO_STATIC_NAMES }: EnvoySinkOptions = {}) {
    this.#deps = deps
    this.#readers = readersOf(deps.decoders, this.#resources, staticNames)
  }

  /**
   * False while a connection may miss something that the control plane has: endpoints of a new cluster, a new listener,
   * or the names by which a listener tells services apart.
   */
  get isComplete(): boolean {
    const { listener: listeners } = this.#deps.store.snapshot
    const needsNames = !this.#hasNames && [...listeners.values()].some(goesByService)
    return !needsNames && this.#resources.isComplete
  }

  /** What was read over in the resources of a type, by name; resources without such fields are left out. */
  ignoredFields(typeUrl: string): ReadonlyMap<string, readonly string[]> {
    return this.#ignoredFieldsOf(typeUrl)
  }

  async apply(update: TypeUpdate): Promise<readonly Rejection[]> {
    switch (update.typeUrl) {
      case TYPE_URLS.cluster:
        return await this.#applyClusters(update)
      case TYPE_URLS.assignment:
        return await this.#applyAssignments(update)
      case TYPE_URLS.listener:
        return await this.#applyListeners(update)
      case TYPE_URLS.nameTable:
        return await this.#applyNameTable(update)
      default:
        return [{ name: '', problems: [`nothing of type ${update.typeUrl} is kept here`] }]
    }
  }

  /** Waits for nothing any more; what is in force stays. Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  async #applyClusters(update: TypeUpdate): Promise<readonly Rejection[]> {
    const read = await this.#read(update, this.#readers.cluster)
    const removed = goneNames(update, read, this.#resources.clusterNames)
    this.#commit(this.#resources.updateClusters({ upserts: read.values, removed }, this.#nowMs()))
    this.#forgetIgnored(update.typeUrl, removed)
    return read.rejections
  }

  async #applyAssignments(update: TypeUpdate): Promise<readonly Rejection[]> {
    const { values, rejections } = await this.#read(update, this.#readers.assignment)
    const change = { upserts: values, removed: update.removed }
    this.#commit(this.#resources.updateAssignments(change, this.#nowMs()))
    return rejections
  }

  async #applyListeners(update: TypeUpdate): Promise<readonly Rejection[]> {
    const read = await this.#read(update, this.#readers.listener)
    const removed = goneNames(update, read, this.#resources.listenerNames)
    this.#commit(this.#resources.updateListeners({ upserts: read.values, removed }, this.#nowMs()))
    this.#forgetIgnored(update.typeUrl, removed)
    return read.rejections
  }

  async #applyNameTable(update: TypeUpdate): Promise<readonly Rejection[]> {
    const deps = { ...this.#deps, decode: this.#deps.decoders.nameTable }
    const { rejections, ignoredFields } = await applyNameTable(deps, update)
    if (ignoredFields !== undefined) {
      this.#hasNames = true
      this.#ignored.set(update.typeUrl, new Map(ignoredFields))
    }
    return rejections
  }

  /** Decodes a response and keeps what it ignored. */
  async #read<Value>(
    update: TypeUpdate,
    reader: ResourceReader<EnvoyResource<Value>>,
  ): Promise<ReadUpdate<Value>> {
    const ignored = this.#ignoredFieldsOf(update.typeUrl)
    const names: string[] = []
    const values: Value[] = []
    const rejections = await decodeUpdate(
      this.#deps,
      update,
      reader,
      ({ name, value: { value, ignoredFields } }) => {
        names.push(name)
        values.push(value)
        if (ignoredFields.length === 0) ignored.delete(name)
        else ignored.set(name, ignoredFields)
      },
    )
    return { names: [...names, ...rejections.map(({ name }) => name)], values, rejections }
  }

  #commit(changes: readonly MeshUpdate[]): void {
    this.#deps.store.apply(changes)
    this.#wait()
    const { assignmentNames } = this.#resources
    if (isSameSet(assignmentNames, this.#assignmentNames)) return
    this.#assignmentNames = assignmentNames
    const ignored = this.#ignoredFieldsOf(TYPE_URLS.assignment)
    this.#forgetIgnored(
      TYPE_URLS.assignment,
      [...ignored.keys()].filter((name) => !assignmentNames.has(name)),
    )
    this.#deps.namesWanted(TYPE_URLS.assignment, [...assignmentNames])
  }

  #wait(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const { nextDueMs } = this.#resources
    if (nextDueMs === undefined || this.#isClosed) return
    this.#timer = this.#deps.clock.setTimer(Math.max(0, nextDueMs - this.#nowMs()), () => {
      this.#commit(this.#resources.settle(this.#nowMs()))
    })
  }

  #ignoredFieldsOf(typeUrl: string): Map<string, readonly string[]> {
    let ignored = this.#ignored.get(typeUrl)
    if (ignored === undefined) {
      ignored = new Map()
      this.#ignored.set(typeUrl, ignored)
    }
    return ignored
  }

  #forgetIgnored(typeUrl: string, names: readonly string[]): void {
    const ignored = this.#ignoredFieldsOf(typeUrl)
    for (const name of names) ignored.delete(name)
  }

  #nowMs(): number {
    return this.#deps.clock.nowMs()
  }
}

function readersOf(
  decoders: EnvoyDecoders,
  resources: EnvoyResources,
  { clusters, listeners }: StaticNames,
): EnvoyReaders {
  const nameOf = ({ value }: EnvoyResource<{ readonly name: string }>): string => value.name
  // Comparing with what is held belongs to the slices of decoding: for a whole state it takes as long.
  return {
    cluster: {
      nameOf,
      decode: (bytes) =>
        map(unlessStatic(decoders.cluster(bytes), clusters), (cluster) => resources.knownCluster(cluster)),
    },
    assignment: { nameOf, decode: decoders.assignment },
    listener: {
      nameOf,
      decode: (bytes) =>
        map(unlessStatic(decoders.listener(bytes), listeners), (listener) =>
          resources.knownListener(listener),
        ),
    },
  }
}

function unlessStatic<Value extends { readonly name: string }>(
  result: Result<EnvoyResource<Value>>,
  staticNames: ReadonlySet<string>,
): Result<EnvoyResource<Value>> {
  if (!result.ok || !staticNames.has(result.value.value.name)) return result
  const message = 'static_resources has one of this name, which stays; rename one of the two'
  return { ok: false, problems: [{ path: [], severity: 'error', message }] }
}

function map<Value>(
  result: Result<EnvoyResource<Value>>,
  change: (value: Value) => Value,
): Result<EnvoyResource<Value>> {
  return result.ok ? { ok: true, value: { ...result.value, value: change(result.value.value) } } : result
}

/** What is gone: what a delta says, and of a whole state what is not in it. */
function goneNames(
  { isWholeState, removed }: TypeUpdate,
  { names }: ReadUpdate<unknown>,
  held: readonly string[],
): readonly string[] {
  if (!isWholeState) return removed
  const present = new Set(names)
  // A damaged resource without a name may be any of those that seem to be gone.
  return present.has('') ? [] : held.filter((name) => !present.has(name))
}

function isSameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((name) => b.has(name))
}

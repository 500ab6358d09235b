/**
 * Turns responses of the ambient dialect into changes of the mesh: one response is one batch. What cannot be decoded is
 * rejected by name, the last good version of it stays, and the rest applies.
 */
import { policyKey, serviceKey } from '../../mesh/workload.ts'
import { TYPE_URLS } from '../discovery.ts'
import { decodeUpdate } from './resource-decoding.ts'
import { inSlices } from '../slices.ts'

import type { Result } from '../../core/result.ts'
import type { MeshDraft, MeshStore, MeshUpdate, ResourceKind } from '../../mesh/store.ts'
import type { AuthorizationPolicy } from '../../mesh/workload.ts'
import type { Rejection, TypeUpdate, UpdateSink } from '../discovery.ts'
import type { SliceDeps } from '../slices.ts'
import type { AddressUpsert } from '../resources/wire-address.ts'

export interface AmbientDecoders {
  /** What is kept of it shares the text of `name`, which the stream keeps too. */
  readonly address: (value: Uint8Array, name: string) => Result<AddressUpsert>
  readonly authorization: (value: Uint8Array) => Result<AuthorizationPolicy>
}

/** What a response says about addresses, for whoever has asked for some of them by name or alias. */
export interface AddressAnswer {
  /** Resources that are there, whether they could be decoded or not. */
  readonly found: readonly { readonly name: string; readonly aliases: readonly string[] }[]
  /** Names that are gone, or that there is nothing of. */
  readonly missing: readonly string[]
}

export interface AmbientSinkDeps extends SliceDeps {
  readonly store: MeshStore
  readonly decoders: AmbientDecoders
  /** Called when a response about addresses is in force. */
  readonly answered?: (answer: AddressAnswer) => void
}

export class AmbientSink implements UpdateSink {
  readonly #deps: AmbientSinkDeps
  readonly #addressNames: NameLedger
  readonly #policyNames: NameLedger

  constructor(deps: AmbientSinkDeps) {
    this.#deps = deps
    this.#addressNames = new NameLedger(deps.store, ['workload', 'service'])
    this.#policyNames = new NameLedger(deps.store, ['policy'])
  }

  async apply(update: TypeUpdate): Promise<readonly Rejection[]> {
    switch (update.typeUrl) {
      case TYPE_URLS.address:
        return await this.#applyAddresses(update)
      case TYPE_URLS.authorization:
        return await this.#applyPolicies(update)
      default:
        return [{ name: '', problems: [`nothing of type ${update.typeUrl} is kept here`] }]
    }
  }

  async #applyAddresses(update: TypeUpdate): Promise<readonly Rejection[]> {
    const names = this.#addressNames
    const draft = await this.#draftOf(update, names)
    const reader = { decode: this.#deps.decoders.address }
    const rejections = await decodeUpdate(this.#deps, update, reader, ({ name, value }) => {
      draft.stage([...names.assign(name, { kind: value.kind, key: addressKey(value) }), value])
    })
    draft.commit()
    this.#deps.answered?.({ found: update.resources, missing: update.removed })
    return rejections
  }

  async #applyPolicies(update: TypeUpdate): Promise<readonly Rejection[]> {
    const names = this.#policyNames
    const draft = await this.#draftOf(update, names)
    const reader = { decode: this.#deps.decoders.authorization }
    const rejections = await decodeUpdate(this.#deps, update, reader, ({ name, value }) => {
      const removals = names.assign(name, { kind: 'policy', key: policyKey(value) })
      draft.stage([...removals, { kind: 'policy', upsert: value }])
    })
    draft.commit()
    return rejections
  }

  /** A change of the mesh that so far removes what the update does. */
  async #draftOf(update: TypeUpdate, names: NameLedger): Promise<MeshDraft> {
    const draft = this.#deps.store.draft()
    await inSlices(this.#deps, update.removed, (name) => {
      draft.stage(names.free(name))
    })
    return draft
  }
}

interface HeldResource {
  readonly kind: ResourceKind
  readonly key: string
}

/** What the names of a control plane stand for in the store, so that a removal by name knows what it removes. */
class NameLedger {
  readonly #store: MeshStore
  readonly #kinds: readonly ResourceKind[]
  /** Names that are not keys. Those of istiod are keys, so that nothing is kept for them. */
  readonly #renamed = new Map<string, HeldResource>()

  constructor(store: MeshStore, kinds: readonly ResourceKind[]) {
    this.#store = store
    this.#kinds = kinds
  }

  /** Makes a name stand for a resource, and says how to remove what it stood for when that was another one. */
  assign(name: string, next: HeldResource): readonly MeshUpdate[] {
    const held = this.#heldBy(name)
    const removals = held?.kind === next.kind && held.key === next.key ? [] : this.free(name)
    if (name !== next.key) this.#renamed.set(name, next)
    return removals
  }

  /** Says how to remove what a name stands for: nothing for one that there is nothing of. */
  free(name: string): readonly MeshUpdate[] {
    const held = this.#heldBy(name)
    this.#renamed.delete(name)
    return held === undefined ? [] : [{ kind: held.kind, remove: held.key }]
  }

  #heldBy(name: string): HeldResource | undefined {
    const renamed = this.#renamed.get(name)
    if (renamed !== undefined) return renamed
    const kind = this.#kinds.find((each) => this.#store.snapshot[each].has(name))
    return kind && { kind, key: name }
  }
}

function addressKey(address: AddressUpsert): string {
  return address.kind === 'workload' ? address.upsert.uid : serviceKey(address.upsert)
}

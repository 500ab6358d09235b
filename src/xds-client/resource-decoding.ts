/**
 * Decodes the resources of one update, in slices that leave the event loop its turns, and sorts out what cannot be
 * decoded. The stream has sorted out what the response contradicts itself about; what the resources mean is the sinks'.
 */
import { formatPath } from '../core/result.ts'

import type { Clock } from '../core/clock.ts'
import type { Problem, Result } from '../core/result.ts'
import type { EncodedResource, Rejection, TypeUpdate } from './discovery.ts'

/** How long decoding may hold the event loop before it yields. */
export const SLICE_MS = 8

export interface DecodingDeps {
  readonly clock: Clock
  /** Resolves in a later turn of the event loop, after those who wait for theirs. */
  readonly nextTurn: () => Promise<void>
}

/** How to read the resources of one type. */
export interface ResourceReader<Value> {
  readonly decode: (value: Uint8Array) => Result<Value>
  /** What a resource calls itself. */
  readonly nameOf: (value: Value) => string
  /** The same of one that cannot be decoded; empty when nothing says. */
  readonly peekName: (value: Uint8Array) => string
  /** True: what calls itself otherwise than the response does is not accepted. */
  readonly hasOwnName: boolean
}

/** A resource that can be used, and the name under which it came. */
export interface NamedValue<Value> {
  readonly name: string
  readonly value: Value
}

export interface DecodedUpdate<Value> {
  readonly resources: readonly NamedValue<Value>[]
  readonly rejections: readonly Rejection[]
}

/** Decodes an update. Nothing of it is applied, so that it can be applied as one step. */
export async function decodeUpdate<Value>(
  { clock, nextTurn }: DecodingDeps,
  update: TypeUpdate,
  reader: ResourceReader<Value>,
): Promise<DecodedUpdate<Value>> {
  const resources: NamedValue<Value>[] = []
  const rejections: Rejection[] = []
  let sliceEndMs = clock.nowMs() + SLICE_MS
  for (const resource of update.resources) {
    if (clock.nowMs() >= sliceEndMs) {
      await nextTurn()
      sliceEndMs = clock.nowMs() + SLICE_MS
    }
    const decoded = decodeResource(resource, reader)
    if ('problems' in decoded) rejections.push(decoded)
    else resources.push(decoded)
  }
  return { resources, rejections }
}

function decodeResource<Value>(
  { name, value }: EncodedResource,
  reader: ResourceReader<Value>,
): NamedValue<Value> | Rejection {
  const result = reader.decode(value)
  if (!result.ok) return { name: name || reader.peekName(value), problems: describeProblems(result.problems) }
  const ownName = reader.nameOf(result.value)
  if (reader.hasOwnName && name !== '' && name !== ownName)
    return { name, problems: [`calls itself '${ownName}'; both names must be the same`] }
  return { name: name || ownName, value: result.value }
}

function describeProblems(problems: readonly Problem[]): readonly string[] {
  return problems
    .filter(({ severity }) => severity === 'error')
    .map(({ path, message }) => (path.length === 0 ? message : `${formatPath(path)}: ${message}`))
}

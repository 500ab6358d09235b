/**
 * Goes through the resources of one update in slices that leave the event loop its turns, and sorts out what cannot be
 * decoded. The stream has sorted out what the response contradicts itself about; what the resources mean is the sinks'.
 */
import { formatPath } from '../core/result.ts'
import { resourceName } from './response-check.ts'

import type { Clock } from '../core/clock.ts'
import type { Problem, Result } from '../core/result.ts'
import type { EncodedResource, Rejection, TypeUpdate } from './discovery.ts'

/** How long the event loop is held before it gets its turn. */
export const SLICE_MS = 8

export interface SliceDeps {
  readonly clock: Clock
  /** Resolves in a later turn of the event loop, after those who wait for theirs. */
  readonly nextTurn: () => Promise<void>
}

/** How to read the resources of one type. */
export interface ResourceReader<Value> {
  readonly decode: (value: Uint8Array) => Result<Value>
  /** What a resource calls itself; absent: it has no name of its own, or one that says nothing. */
  readonly nameOf?: (value: Value) => string
}

/** A resource that can be used, and the name under which it came. */
export interface NamedValue<Value> {
  readonly name: string
  readonly value: Value
}

/** Does the work for each item, and yields when a slice is over. */
export async function inSlices<Item>(
  { clock, nextTurn }: SliceDeps,
  items: Iterable<Item>,
  work: (item: Item) => void,
): Promise<void> {
  let sliceEndMs = clock.nowMs() + SLICE_MS
  for (const item of items) {
    if (clock.nowMs() >= sliceEndMs) {
      await nextTurn()
      sliceEndMs = clock.nowMs() + SLICE_MS
    }
    work(item)
  }
}

/** Decodes an update in slices: `take` is called with what is good of it; the rest is returned. */
export async function decodeUpdate<Value>(
  deps: SliceDeps,
  update: TypeUpdate,
  reader: ResourceReader<Value>,
  take: (resource: NamedValue<Value>) => void,
): Promise<readonly Rejection[]> {
  const rejections: Rejection[] = []
  await inSlices(deps, update.resources, (resource) => {
    const decoded = decodeResource(resource, reader)
    if ('problems' in decoded) rejections.push(decoded)
    else take(decoded)
  })
  return rejections
}

function decodeResource<Value>(
  resource: EncodedResource,
  { decode, nameOf }: ResourceReader<Value>,
): NamedValue<Value> | Rejection {
  const name = resourceName(resource)
  const result = decode(resource.value)
  if (!result.ok) return { name, problems: describeProblems(result.problems) }
  const ownName = nameOf?.(result.value) ?? name
  if (name !== ownName) return { name, problems: [`calls itself '${ownName}'; both names must be the same`] }
  return { name, value: result.value }
}

function describeProblems(problems: readonly Problem[]): readonly string[] {
  return problems
    .filter(({ severity }) => severity === 'error')
    .map(({ path, message }) => (path.length === 0 ? message : `${formatPath(path)}: ${message}`))
}

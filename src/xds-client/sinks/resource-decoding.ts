/**
 * Goes through the resources of one update in slices that leave the event loop its turns, and sorts out what cannot be
 * decoded. The stream has sorted out what the response contradicts itself about; what the resources mean is the sinks'.
 */
import { formatPath } from '../../core/result.ts'
import { resourceName } from '../stream/response-check.ts'
import { inSlices } from '../slices.ts'

import type { Problem, Result } from '../../core/result.ts'
import type { EncodedResource, Rejection, TypeUpdate } from '../discovery.ts'
import type { SliceDeps } from '../slices.ts'

/** How to read the resources of one type. */
export interface ResourceReader<Value> {
  /** `name` is that under which it came. */
  readonly decode: (value: Uint8Array, name: string) => Result<Value>
  /** What a resource calls itself; absent: it has no name of its own, or one that says nothing. */
  readonly nameOf?: (value: Value) => string
}

/** A resource that can be used, and the name under which it came. */
export interface NamedValue<Value> {
  readonly name: string
  readonly value: Value
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
  const result = decode(resource.value, name)
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

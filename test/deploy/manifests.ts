/** Reads the files of deploy/daemonset as they are, without kubectl. */
import { readFileSync } from 'node:fs'
import path from 'node:path'

import { parseAllDocuments } from 'yaml'

import { arrayOf, recordOf, textOf } from '../fixtures/json.ts'

import type { Json } from '../fixtures/json.ts'

export const DEPLOY_FOLDER = 'deploy/daemonset'
export const BASE = `${DEPLOY_FOLDER}/base`
export const NODE_CAPTURE = `${DEPLOY_FOLDER}/overlays/node-capture`
export const DOCKERFILE = `${DEPLOY_FOLDER}/Dockerfile`

/** A capability that a container is given, and what its comment says needs it. */
export interface GivenCapability {
  readonly name: string
  readonly needs: readonly { readonly file: string; readonly name: string }[]
}

/** The text of a file below the folder of the repository. */
export function textAt(...parts: readonly string[]): string {
  return readFileSync(path.join(...parts), 'utf8')
}

/** The objects of a YAML file; a mistake in its syntax throws. */
export function objectsIn(...parts: readonly string[]): readonly Json[] {
  return parseAllDocuments(textAt(...parts)).map((document) => {
    const [error] = document.errors
    if (error !== undefined) throw new Error(`${parts.join('/')}: ${error.message}`)
    const value: unknown = document.toJS()
    if (typeof value !== 'object' || value === null) throw new Error(`${parts.join('/')} has no object`)
    return Object.fromEntries(Object.entries(value))
  })
}

/** The only object of a YAML file. */
export function objectIn(...parts: readonly string[]): Json {
  const [object, second] = objectsIn(...parts)
  if (object === undefined || second !== undefined) throw new Error(`${parts.join('/')} has not one object`)
  return object
}

/** A field in the depth of an object. */
export function fieldOf(object: Json, ...fields: readonly string[]): Json {
  return fields.reduce(recordOf, object)
}

/** The specification of the pods of a DaemonSet. */
export function podOf(daemonSet: Json): Json {
  return fieldOf(daemonSet, 'spec', 'template', 'spec')
}

/** The item of a list that has a name. */
export function named(items: readonly Json[], name: string): Json {
  const found = items.find((item) => item['name'] === name)
  if (found === undefined) throw new Error(`there is no ${name}`)
  return found
}

/** The container that is the agent. */
export function agentOf(daemonSet: Json): Json {
  return named(arrayOf(podOf(daemonSet), 'containers'), 'istio-proxy')
}

/** What Kubernetes makes of the variables of a container; `fields` are the values of the pod's own fields. */
export function environmentOf(
  container: Json,
  fields: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    arrayOf(container, 'env').map((variable) => {
      const field = textOf(fieldOf(variable, 'valueFrom', 'fieldRef'), 'fieldPath', '')
      const value = field === '' ? textOf(variable, 'value', '') : fields[field]
      if (value === undefined) throw new Error(`there is no field ${field} of a pod`)
      return [textOf(variable, 'name', ''), value]
    }),
  )
}

/** Where a container sees a volume. */
export function mountPathOf(container: Json, volume: string): string {
  const mount = arrayOf(container, 'volumeMounts').find(({ name }) => name === volume)
  return mount === undefined ? '' : textOf(mount, 'mountPath', '')
}

/**
 * Every capability that a file gives, with the references of the comment before it. A reference is a file and a name in it:
 * `src/proxy/linux/linux-connect.ts (SO_MARK)`.
 */
export function capabilitiesIn(...parts: readonly string[]): readonly GivenCapability[] {
  const lists = textAt(...parts).matchAll(/^( *)add:\n((?:\1 .*\n)+)/gm)
  return [...lists].flatMap(([, , list = '']) =>
    [...list.matchAll(/((?: *#.*\n)*) *- (\w+)\n/g)].map(([, comment = '', name = '']) => ({
      name,
      needs: [...comment.replaceAll(/\n *# */g, ' ').matchAll(/([\w./-]+\/[\w.-]+) \((\w+)\)/g)].map(
        ([, file = '', name = '']) => ({ file, name }),
      ),
    })),
  )
}

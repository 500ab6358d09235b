/**
 * The shapes of Envoy's messages, from the .proto files that ship under `proto/`: names, numbers and types, nothing about
 * meaning. They are Envoy's own fields, as far as a TCP proxy needs to know them or to name them.
 */
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'

import protobuf from 'protobufjs'

/** Messages by full name. Built once per process; it takes some ten milliseconds. */
export interface EnvoySchema {
  /** `undefined` for a message that is not known, which nothing depends on. */
  readonly messageType: (fullName: string) => protobuf.Type | undefined
}

/**
 * Loads the schema that ships with the package.
 *
 * @throws {Error} when a file is missing or cannot be parsed, which is a broken installation
 */
export function loadEnvoySchema(): EnvoySchema {
  const folder = protoFolder(import.meta.dirname)
  const root = new protobuf.Root()
  root.resolvePath = (_, target) => path.join(folder, target)
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  root.loadSync(files.filter((file) => file.endsWith('.proto')).sort(), { keepCase: true })
  root.resolveAll()
  return {
    messageType: (fullName) => {
      const found = root.lookup(`.${fullName}`)
      return found instanceof protobuf.Type ? found : undefined
    },
  }
}

/** Not at a fixed distance: this file is in src/ or in dist/src/. */
function protoFolder(from: string): string {
  const folder = path.join(from, 'proto')
  if (existsSync(path.join(folder, 'envoy'))) return folder
  const parent = path.dirname(from)
  if (parent === from)
    throw new Error('the folder proto/ of the package is missing; install the package again')
  return protoFolder(parent)
}

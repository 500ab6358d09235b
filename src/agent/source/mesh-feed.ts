/** Where the mesh comes from while the agent runs: a file that is followed, a text that stays, or a control plane. */
import type { MeshFileSource } from './mesh-file-source.ts'
import type { LoadedMesh } from './mesh-file.ts'
import type { SourceReadings } from '../metrics/metrics.ts'
import type { Discovery } from '../../proxy/route-source.ts'
import type { AdsStatus } from '../../xds-client/stream/ads-status.ts'
import type { SourceStatus } from './source-status.ts'

/** A stream, and what of its resources has no effect here. */
export interface StreamView {
  readonly status: AdsStatus
  /** By the name of the resource. */
  readonly ignoredFields: (typeUrl: string) => ReadonlyMap<string, readonly string[]>
}

/** Feeds the store until it is closed. */
export interface MeshFeed {
  /** Begins. What was loaded before the start is in force when it returns. */
  start(): void
  /** Resolves when the first whole state is in force: no connection is judged before. */
  readonly firstState: Promise<void>
  /** For metrics. */
  read(): SourceReadings
  /** The stream that the mesh comes over, for /config_dump; `undefined` for a file. */
  readonly stream: StreamView | undefined
  /** Asks for addresses when connections need them; `undefined` where the mesh is known as a whole. */
  readonly discovery: Discovery | undefined
  /** Stops feeding; what is in force stays. Idempotent. */
  close(): Promise<void>
}

/** The feed of a mesh that was loaded before the start: of a file, which is followed, or of a text that never changes. */
export function loadedFeed(
  mesh: LoadedMesh,
  deps: {
    readonly status: SourceStatus
    readonly file: MeshFileSource | undefined
    /** Puts a mesh in force that is no file. */
    readonly apply: () => void
  },
): MeshFeed {
  const { status, file, apply } = deps
  return {
    start: () => {
      if (file === undefined) apply()
      else file.start(mesh)
    },
    firstState: Promise.resolve(),
    read: () => status.read(),
    stream: undefined,
    discovery: undefined,
    close: () => {
      file?.close()
      return Promise.resolve()
    },
  }
}

/** What one run of mesh-child.ts came to, as it passes between the two processes. */

export interface MeshFigures {
  readonly applyMs: number
  /** The longest turn of the event loop in that. */
  readonly applyBlockedMs: number
  /** Likewise when all come again and are equal, as after a reconnect. */
  readonly repeatBlockedMs: number
  /** Likewise when all come again and are others. */
  readonly replaceBlockedMs: number
  /** Growth from the empty store on. */
  readonly residentBytes: number
  /** One endpoint; the 99th percentile of many. */
  readonly changeMs: number
  readonly serviceLookupUs: number
  readonly workloadLookupUs: number
}

/** Reads figures that were JSON. A figure that is not there is no number. */
export function readMeshFigures(value: unknown): MeshFigures {
  const given = new Map<string, unknown>(Object.entries(value ?? {}))
  const figure = (name: keyof MeshFigures): number => Number(given.get(name))
  return {
    applyMs: figure('applyMs'),
    applyBlockedMs: figure('applyBlockedMs'),
    repeatBlockedMs: figure('repeatBlockedMs'),
    replaceBlockedMs: figure('replaceBlockedMs'),
    residentBytes: figure('residentBytes'),
    changeMs: figure('changeMs'),
    serviceLookupUs: figure('serviceLookupUs'),
    workloadLookupUs: figure('workloadLookupUs'),
  }
}

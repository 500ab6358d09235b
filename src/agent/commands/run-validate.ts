/** `twinstack validate`: every problem of a file with its place, or one line that it is fine. */
import { systemClock } from '../../core/clock.ts'
import { autoCapabilities } from '../engine/engine-choice.ts'
import { loadMeshFile } from '../source/mesh-file.ts'
import { fileSystem } from '../source/mesh-file-source.ts'

import type { CommandContext, Flags } from './command.ts'
import type { LoadedMesh } from '../source/mesh-file.ts'

/** Resolves with 1 when the file would be refused. Warnings are printed and do not refuse it. */
export async function runValidate(context: CommandContext, flags: Flags): Promise<number> {
  const file = flags['config']
  if (typeof file !== 'string') {
    context.stderr('twinstack validate: which file? write `twinstack validate -c FILE`\n')
    return 1
  }
  const capabilities = await autoCapabilities({ clock: systemClock })
  const { mesh, errors, warnings } = await loadMeshFile({ ...fileSystem, capabilities }, file)
  for (const line of [...errors, ...warnings]) context.stderr(`${line}\n`)
  if (mesh === undefined) {
    context.stderr(`${file}: refused: ${errors.length} ${errors.length === 1 ? 'error' : 'errors'}\n`)
    return 1
  }
  context.stdout(`${file}: fine: ${describeMesh(mesh)}\n`)
  return 0
}

/** `envoy, 6 listeners, 6 clusters`. */
function describeMesh({ dialect, resources }: LoadedMesh): string {
  const counts = new Map<string, number>()
  for (const { kind } of resources) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  const parts = [...counts].map(([kind, count]) => `${count} ${pluralOf(kind, count)}`)
  return [dialect, ...parts].join(', ')
}

function pluralOf(kind: string, count: number): string {
  if (count === 1) return kind
  return kind.endsWith('y') ? `${kind.slice(0, -1)}ies` : `${kind}s`
}

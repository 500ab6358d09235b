/** The snapshot of an agent for which every pod was taken in. */
import type { ZdsConnectionState } from '../../test/fixtures/zds-connection.ts'
import type { ZdsServer } from '../../test/fixtures/zds-server.ts'

/** Resolves when the first connection has answered its whole snapshot; rejects when a pod was refused. */
export async function servedSnapshot(server: ZdsServer): Promise<ZdsConnectionState> {
  const connection = await server.opened()
  const refused = connection.exchanges.find(({ error }) => error !== '')
  if (refused !== undefined) throw new Error(`${refused.message}: ${refused.error}`)
  return connection
}

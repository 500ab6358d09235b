/**
 * Calls between the runner and the processes that it starts: one request, one reply, over node's IPC channel. Both ends
 * belong to this folder, so what arrives is trusted to have the type that was sent.
 */
import type { Serializable } from 'node:child_process'

/** What one call takes and gives. Both travel as JSON. */
export interface Method {
  readonly params: unknown
  readonly result: unknown
}

/** The functions behind the calls of a role. */
export type Handlers<Methods extends Record<keyof Methods, Method>> = {
  readonly [Name in keyof Methods]: (
    params: Methods[Name]['params'],
  ) => Methods[Name]['result'] | Promise<Methods[Name]['result']>
}

export interface Request {
  readonly id: number
  readonly method: string
  readonly params: unknown
}

export type Reply =
  | { readonly id: number; readonly isOk: true; readonly result: unknown }
  | { readonly id: number; readonly isOk: false; readonly error: string }

/**
 * Answers calls in a process that the runner has started, and ends the process when the runner is gone. Does not keep
 * the process alive by itself unless `isRole` says that answering is all it is for.
 */
export function serveRole<Methods extends Record<keyof Methods, Method>>(
  handlers: Handlers<Methods>,
  { isRole }: { readonly isRole: boolean },
): void {
  const byName = new Map(Object.entries<(params: never) => unknown>(handlers))
  process.on('message', (message: unknown) => {
    void answer(byName, decodeRequest(message)).then((reply) => process.send?.(encode(reply)))
  })
  process.once('disconnect', () => process.exit())
  if (!isRole) process.channel?.unref()
}

/** Reads what a role has answered. */
export function decodeReply(message: unknown): Reply {
  return message as Reply
}

/** A request or reply in the form that `send` takes. */
export function encode(message: Request | Reply): Serializable {
  return message
}

function decodeRequest(message: unknown): Request {
  return message as Request
}

async function answer(
  handlers: ReadonlyMap<string, (params: never) => unknown>,
  { id, method, params }: Request,
): Promise<Reply> {
  const handler = handlers.get(method)
  if (handler === undefined) return { id, isOk: false, error: `there is no call ${method}` }
  try {
    return { id, isOk: true, result: await handler(params as never) }
  } catch (error) {
    return { id, isOk: false, error: error instanceof Error ? error.message : String(error) }
  }
}

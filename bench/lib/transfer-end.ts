/** One end of a byte-exact transfer: sends a pattern and FIN, and compares what comes with the other pattern. */
import { Pattern } from './pattern.ts'

import type { Socket } from 'node:net'
import type { PatternName } from './pattern.ts'

/** What one end of a transfer saw. */
export interface TransferVerdict {
  readonly sentBytes: number
  readonly receivedBytes: number
  /** Absent when every byte was as expected, FIN came after the last one, and nothing came after it. */
  readonly problem?: string
}

export interface TransferPlan {
  readonly bytes: number
  readonly sends: PatternName
  readonly expects: PatternName
}

/** Runs one end on a connected socket that allows half-open. Resolves when both directions have ended. */
export function runTransferEnd(socket: Socket, plan: TransferPlan): Promise<TransferVerdict> {
  const sent = new Pattern(plan.sends)
  const expected = new Pattern(plan.expects)
  let sentBytes = 0
  let receivedBytes = 0
  let problem: string | undefined

  const fill = (): void => {
    while (sentBytes < plan.bytes) {
      const chunk = sent.slice(sentBytes, plan.bytes - sentBytes)
      sentBytes += chunk.length
      if (!socket.write(chunk)) return
    }
    if (!socket.writableEnded) socket.end()
  }
  return new Promise((resolve) => {
    socket.on('drain', fill)
    socket.on('data', (chunk) => {
      const difference = problem === undefined ? expected.firstDifference(receivedBytes, chunk) : undefined
      if (difference !== undefined) problem = `byte ${difference} is not what was sent`
      receivedBytes += chunk.length
    })
    socket.on('end', () => {
      if (receivedBytes !== plan.bytes) problem ??= `${receivedBytes} of ${plan.bytes} bytes came before FIN`
    })
    socket.on('error', (error) => {
      problem ??= `the connection failed after ${receivedBytes} bytes: ${error.message}`
    })
    socket.on('close', () => {
      if (receivedBytes !== plan.bytes) problem ??= `${receivedBytes} of ${plan.bytes} bytes came`
      resolve({ sentBytes, receivedBytes, ...(problem !== undefined && { problem }) })
    })
    fill()
  })
}

/** `twinstack rules`: prints what redirects connections to the agent. Changes nothing itself. */
import { spawnSync } from 'node:child_process'

import { readRulesRequest } from '../rules/read-rules-request.ts'
import { routesText, rulesText } from '../rules/rules-text.ts'
import { chooseBackend } from './rules-backend.ts'

import type { RulesRequest } from '../rules/rules-options.ts'
import type { BackendChoice } from '../rules/rules-text.ts'
import type { CommandContext, Flags } from './command.ts'
import type { ProgramEnd } from './rules-backend.ts'

const PROGRAM_TIMEOUT_MS = 10_000

/** Resolves with 1 when something is wrong with the flags, and says all of it. */
export function runRules(context: CommandContext, flags: Flags): Promise<number> {
  const request = readRulesRequest(flags, context.env)
  if (!request.ok) {
    for (const { message } of request.problems) context.stderr(`${message}\n`)
    context.stderr(`twinstack rules: nothing printed, problems: ${request.problems.length}\n`)
    return Promise.resolve(1)
  }
  const { value } = request
  context.stdout(value.output === 'routes' ? routesText(value) : rulesText(value, backendOf(value)))
  return Promise.resolve(0)
}

function backendOf(request: RulesRequest): BackendChoice {
  if (request.backend !== undefined) return { backend: request.backend, reason: 'asked for' }
  const isRoot = process.getuid?.() === 0
  return chooseBackend({ run, isRoot }, rulesText(request, { backend: 'nft', reason: 'to be checked' }))
}

function run([command, ...args]: readonly [string, ...string[]], input = ''): ProgramEnd | undefined {
  const { error, status, stderr } = spawnSync(command, args, {
    input,
    encoding: 'utf8',
    timeout: PROGRAM_TIMEOUT_MS,
  })
  return error === undefined ? { isSuccess: status === 0, stderr } : undefined
}

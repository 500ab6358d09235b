/** The command line: which command, its flags, its help. Prints problems all at once and decides the exit code. */
import { parseArgs } from 'node:util'

import { errorMessage } from '../core/errors.ts'
import { runAgent } from './commands/run-agent.ts'
import { runDemo } from './commands/run-demo.ts'
import { runRules } from './commands/run-rules.ts'
import { runValidate } from './commands/run-validate.ts'
import { RULES_FLAGS } from './rules/rules-flags.ts'
import { renderSettingsHelp, settingFlags } from './settings/settings-table.ts'
import { VERSION } from './version.ts'

import type { CommandContext, RunCommand } from './commands/command.ts'

interface Flag {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  /** What stands for its value in the help. */
  readonly value?: string
  /** Absent: the flag is a setting, which `twinstack help settings` explains. */
  readonly help?: string
}

interface Command {
  readonly usage: string
  readonly summary: string
  readonly flags: Readonly<Record<string, Flag>>
  readonly run: RunCommand
}

const COMMANDS: Readonly<Record<string, Command>> = {
  agent: {
    usage: 'agent [-c FILE]',
    summary:
      "the node's proxy, configured by an Envoy bootstrap (-c), ztunnel's local file (LOCAL_XDS_PATH), or a control plane (XDS_ADDRESS; in a pod istiod); INPOD_ENABLED=true captures the pods that istio-cni tells of",
    flags: settingFlags(),
    run: runAgent,
  },
  demo: {
    usage: 'demo [--once]',
    summary:
      'the embedded mesh, called over both families; --once ends after the table, 0 when it is as expected',
    flags: { once: { type: 'boolean' } },
    run: runDemo,
  },
  validate: {
    usage: 'validate -c FILE',
    summary: 'every problem of a file with file:line:column and exit code 1, or one line and 0',
    flags: { config: { type: 'string', short: 'c' } },
    run: runValidate,
  },
  rules: {
    usage: 'rules [--mode inpod|node]',
    summary:
      'what redirects connections to the agent, in both families, for nft or iptables; --remove undoes it',
    flags: RULES_FLAGS,
    run: runRules,
  },
  version: {
    usage: 'version',
    summary: 'the version of the program',
    flags: {},
    run: (context) => {
      context.stdout(`twinstack ${VERSION}\n`)
      return Promise.resolve(0)
    },
  },
  help: {
    usage: 'help [settings]',
    summary: 'this text, or every setting with its unit and default',
    flags: {},
    run: (context) => {
      context.stdout(renderHelp())
      return Promise.resolve(0)
    },
  },
}

/** Runs one command line, without the program's own name. Resolves with the exit code; never rejects. */
export async function runCli(args: readonly string[], context: CommandContext): Promise<number> {
  const [name = 'help', ...rest] = args.map((arg, index) => (index === 0 ? aliasOf(arg) : arg))
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) {
    context.stderr(`there is no command '${name}'; \`twinstack help\` lists them\n`)
    return 1
  }
  if (name === 'help' && rest[0] === 'settings') {
    context.stdout(renderSettingsHelp())
    return 0
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    context.stdout(`usage: twinstack ${command.usage}\n  ${command.summary}\n${renderFlags(command)}`)
    return 0
  }
  try {
    const { values } = parseArgs({ args: rest, options: command.flags, allowPositionals: name === 'help' })
    return await command.run(context, values)
  } catch (error) {
    context.stderr(`twinstack ${name}: ${errorMessage(error)}\nusage: twinstack ${command.usage}\n`)
    return 1
  }
}

function aliasOf(arg: string): string {
  if (arg === '--help' || arg === '-h') return 'help'
  return arg === '--version' || arg === '-v' ? 'version' : arg
}

function renderHelp(): string {
  const width = Math.max(...Object.values(COMMANDS).map(({ usage }) => usage.length))
  const lines = Object.values(COMMANDS).map(({ usage, summary }) => `  ${usage.padEnd(width)}  ${summary}`)
  return [
    'usage: twinstack COMMAND',
    '',
    ...lines,
    '',
    '`twinstack help settings` lists every setting.',
    '',
  ].join('\n')
}

function renderFlags({ flags }: Command): string {
  const rows = Object.entries(flags).map(([flag, { type, short, value = 'VALUE', help }]) => {
    const shortText = short === undefined ? '' : `-${short}, `
    return { left: `  ${shortText}--${flag}${type === 'string' ? ` ${value}` : ''}`, help }
  })
  if (rows.length === 0) return ''
  const isExplained = rows.every(({ help }) => help !== undefined)
  const width = Math.max(...rows.map(({ left }) => left.length))
  const lines = rows.map(({ left, help }) => (help === undefined ? left : `${left.padEnd(width)}  ${help}`))
  return `flags${isExplained ? '' : ' (`twinstack help settings` explains them)'}:\n${lines.join('\n')}\n`
}

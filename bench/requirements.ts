/** What this machine has to have for the bench, and the peers that it has. Nothing is ever installed. */
import { hasCommand, runCommand } from './lab/command.ts'

/** What the lab needs, and Debian's package for it. */
const COMMANDS = [
  { name: 'ip', from: 'iproute2' },
  { name: 'nft', from: 'nftables' },
  { name: 'sysctl', from: 'procps' },
  { name: 'gcc', from: 'gcc libc6-dev' },
] as const

/** Why the lab cannot be built here; `undefined` when it can. */
export async function missingForLab(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'the bench needs Linux: its lab is made of network namespaces'
  if (process.getuid?.() !== 0) return 'the bench needs root: its lab is made of network namespaces'
  const found = await Promise.all(COMMANDS.map(({ name }) => hasCommand(name)))
  const missing = COMMANDS.filter((_, index) => found[index] !== true)
  if (missing.length > 0) {
    return `the bench needs ${missing.map(({ name, from }) => `${name} (apt install ${from})`).join(', ')}`
  }
  return await namespaceProblem()
}

/** A container may have root and no right to make namespaces. */
async function namespaceProblem(): Promise<string | undefined> {
  const name = `tsb-${process.pid}-probe`
  try {
    await runCommand('ip', ['netns', 'add', name])
    await runCommand('ip', ['netns', 'exec', name, 'nft', 'list', 'tables'])
    return undefined
  } catch (reason) {
    return `the bench needs network namespaces with nftables: ${reason instanceof Error ? reason.message : String(reason)}`
  } finally {
    await runCommand('ip', ['netns', 'del', name]).catch(() => undefined)
  }
}

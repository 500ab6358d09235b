/** Chooses between nft and iptables by what this machine has. */
import type { BackendChoice } from '../rules/rules-text.ts'

/** How a program ended; absent: there is no such program. */
export interface ProgramEnd {
  readonly isSuccess: boolean
  readonly stderr: string
}

export interface BackendChoiceDeps {
  /** Runs a program to its end. */
  readonly run: (command: readonly [string, ...string[]], input?: string) => ProgramEnd | undefined
  /** True when the kernel can be asked what it takes. */
  readonly isRoot: boolean
}

/** nft when it takes the rules (`nftText`, which is checked and not applied), else iptables where that is, else nft. */
export function chooseBackend({ run, isRoot }: BackendChoiceDeps, nftText: string): BackendChoice {
  const check = isRoot ? run(['nft', '-c', '-f', '-'], nftText) : run(['nft', '--version'])
  if (check?.isSuccess === true) {
    const reason = isRoot
      ? 'it takes these rules here'
      : 'it is here; the kernel was not asked, which needs root'
    return { backend: 'nft', reason: `preferred, and ${reason}` }
  }
  const why =
    check === undefined ? 'there is no nft here' : `nft refuses these rules here (${firstLine(check)})`
  if (run(['iptables', '--version'])?.isSuccess === true) return { backend: 'iptables', reason: why }
  return { backend: 'nft', reason: `preferred, although ${why}, and no iptables` }
}

/** A comment has one line. */
function firstLine({ stderr }: ProgramEnd): string {
  return stderr.trim().split('\n')[0] ?? ''
}

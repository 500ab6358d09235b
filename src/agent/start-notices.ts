/** What the log says at a start of settings that hold and still surprise: what is permitted, left out or not served. */
import type { LogLevel } from '../core/logger.ts'
import type { Settings } from './settings/settings.ts'
import type { Dialect } from './source/mesh-file.ts'

export interface StartNotice {
  readonly level: LogLevel
  readonly text: string
}

/** @param ignoredFields of the mesh's file: accepted, and without effect */
export function startNotices(
  {
    allowPlaintext,
    podCapture,
    preservesSource,
    node,
  }: Pick<Settings, 'allowPlaintext' | 'podCapture' | 'preservesSource' | 'node'>,
  dialect: Dialect,
  ignoredFields: readonly string[],
): readonly StartNotice[] {
  const notices: StartNotice[] = []
  if (ignoredFields.length > 0) {
    notices.push({
      level: 'info',
      text: `fields without effect on a TCP proxy: ${ignoredFields.join(', ')}`,
    })
  }
  const warn = (text: string): void => {
    notices.push({ level: 'warn', text })
  }
  if (allowPlaintext.length > 0) {
    const names = allowPlaintext.includes('*') ? 'every destination' : allowPlaintext.join(', ')
    warn(`plain text is permitted to ${names} although the mesh asks for mTLS (TWINSTACK_ALLOW_PLAINTEXT)`)
  }
  if (podCapture !== undefined) {
    // istio-cni captures DNS by default, and nothing here would answer.
    warn(
      'DNS is not served here: captured pods resolve names only where istio-cni leaves DNS alone (ambient.dnsCapture=false)',
    )
  } else if (dialect === 'ambient') {
    if (node.nodeName === '') {
      warn(
        "policies are not asked about connections between two pods of this node: set NODE_NAME to the node's name, so that its pods are known",
      )
    }
    if (preservesSource !== true) {
      warn(
        "policies of pods on other nodes are asked about this node's address instead of the client's: set ENABLE_ORIG_SRC=true where the routes of `twinstack rules --mode node --routes` are in force",
      )
    }
  }
  return notices
}

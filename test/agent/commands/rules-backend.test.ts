/** The choice between nft and iptables by what runs on a machine. */
import t from 'tap'

import { chooseBackend } from '../../../src/agent/commands/rules-backend.ts'

import type { ProgramEnd } from '../../../src/agent/commands/rules-backend.ts'

const FINE: ProgramEnd = { isSuccess: true, stderr: '' }
const OLD_KERNEL: ProgramEnd = {
  isSuccess: false,
  stderr: 'Error: Could not process rule: No such file\nadd table',
}

/** What each program does, by the name of its first words; what is not named is not there. */
type Machine = Readonly<Record<string, ProgramEnd>>

const MACHINES: readonly (readonly [name: string, machine: Machine, isRoot: boolean, choice: object])[] = [
  [
    'nft takes the rules',
    { 'nft -c -f -': FINE, 'iptables --version': FINE },
    true,
    { backend: 'nft', reason: 'preferred, and it takes these rules here' },
  ],
  [
    'nft is there and the kernel may not be asked',
    { 'nft --version': FINE, 'iptables --version': FINE },
    false,
    { backend: 'nft', reason: 'preferred, and it is here; the kernel was not asked, which needs root' },
  ],
  [
    'nft does not take the rules',
    { 'nft -c -f -': OLD_KERNEL, 'iptables --version': FINE },
    true,
    {
      backend: 'iptables',
      reason: 'nft refuses these rules here (Error: Could not process rule: No such file)',
    },
  ],
  [
    'there is no nft',
    { 'iptables --version': FINE },
    true,
    { backend: 'iptables', reason: 'there is no nft here' },
  ],
  [
    'there is neither',
    {},
    false,
    { backend: 'nft', reason: 'preferred, although there is no nft here, and no iptables' },
  ],
]

for (const [name, machine, isRoot, choice] of MACHINES) {
  t.test(`chooses where ${name}`, (t) => {
    const inputs: (string | undefined)[] = []
    const run = (command: readonly [string, ...string[]], input?: string): ProgramEnd | undefined => {
      inputs.push(input)
      return machine[command.join(' ')]
    }
    t.strictSame(chooseBackend({ run, isRoot }, 'the rules'), choice)
    t.equal(inputs[0], isRoot ? 'the rules' : undefined)
    t.end()
  })
}

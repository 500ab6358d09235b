/** The demo on machines that lack a family. */
import t from 'tap'

import { otherFamily } from '../../src/core/family.ts'
import { createNamespace, requireNamespaces } from '../fixtures/namespaces.ts'
import { runProgram } from '../fixtures/program.ts'

import type { Family } from '../../src/core/family.ts'
import type { Namespace } from '../fixtures/namespaces.ts'

const WITHOUT: Readonly<Record<Family, (host: Namespace) => void>> = {
  ipv6: (host) => {
    host.sysctl('net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.lo.disable_ipv6=1')
  },
  ipv4: (host) => {
    host.run('ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo')
  },
}

if (requireNamespaces(t)) {
  for (const missing of ['ipv4', 'ipv6'] as const) {
    t.test(`rule 2: without ${missing} the demo makes the calls of the other family`, async (t) => {
      const host = createNamespace(t, `no-${missing}`)
      WITHOUT[missing](host)
      const { code, stdout, stderr } = await runProgram(t, ['demo', '--once'], { prefix: host.prefix })
      t.equal(code, 0)
      t.equal(stderr, '')
      const rows = stdout.split('\n').filter((line) => line.includes(' tcp-echo.'))
      t.equal(rows.length, 10)
      const left = otherFamily(missing)
      for (const row of rows.filter((line) => line.startsWith(missing)))
        t.match(row, new RegExp(`^${missing} +\\S+ +- +- +this machine has no ${missing}$`))
      const answered = rows.filter((line) => line.startsWith(left))
      t.equal(answered.length, 5)
      // What listens on the missing family alone is not there for anybody.
      for (const row of answered) {
        const needsMissing = row.includes(`tcp-echo.${missing}`) || row.includes(`binds-${missing}`)
        t.match(row, needsMissing ? `the service needs ${missing}` : /hello \S+ +ipv[46] +native$/)
      }
      t.match(stdout, `this machine has no ${missing}: its lines are left out`)
    })
  }
}

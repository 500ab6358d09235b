import t from 'tap'

import { readinessRoutes } from '../../../src/agent/admin/endpoints.ts'
import { Readiness, describePods, podsCheck } from '../../../src/agent/admin/readiness.ts'
import { listenersOf, podStatus, zdsStatus } from '../../fixtures/pod-statuses.ts'

import type { PodStatus } from '../../../src/proxy/pods/pod-entry.ts'

const BAD = podStatus('bad', { state: 'pending', problem: 'setns EPERM' })

/** The body of /readyz. */
async function readyz(readiness: Readiness, pods: readonly PodStatus[] | undefined) {
  const route = readinessRoutes({ pods: () => pods, readiness, listeners: () => [] }).find(
    ({ path }) => path === '/readyz',
  )
  return route?.answer({ path: '/readyz', query: new URLSearchParams() })
}

t.test('is not ready while istio-cni is not connected, and says where and why', async (t) => {
  const check = podsCheck(() => zdsStatus({ isConnected: false, hasSnapshot: false }))
  const name = 'workload proxy manager'
  t.strictSame(check(), [{ name, detail: 'istio-cni is not connected at /run/zds.sock: not tried yet' }])
  const lost = { isConnected: false, hasSnapshot: true, lastError: { text: 'ENOENT', atMs: 1 } }
  t.strictSame(podsCheck(() => zdsStatus(lost))(), [
    { name, detail: 'istio-cni is not connected at /run/zds.sock: ENOENT' },
  ])
})

t.test('is not ready before istio-cni has named every pod', async (t) => {
  let zds = zdsStatus({ hasSnapshot: false })
  const check = podsCheck(() => zds)
  t.match(check(), [{ detail: 'istio-cni at /run/zds.sock has not named all pods of the node yet' }])
  zds = zdsStatus()
  t.strictSame(check(), [])
})

t.test('is ready without istio-cni where no pods are captured', async (t) => {
  t.strictSame(podsCheck(() => undefined)(), [])
})

t.test('rule 14: a pod that cannot be served is told of, and readiness does not depend on it', async (t) => {
  const readiness = new Readiness([podsCheck(() => zdsStatus())])
  t.strictSame(await readyz(readiness, [podStatus('good'), BAD]), {
    status: 200,
    body: 'ready\nlisteners\npods\n  1 up, 1 pending\n  shop/bad: setns EPERM\n',
  })
  t.strictSame(await readyz(readiness, undefined), { status: 200, body: 'ready\nlisteners\n' })
})

t.test('pods are counted, and each one that is not served has a line', async (t) => {
  t.strictSame(describePods([]), ['0 up, 0 pending'])
  t.strictSame(describePods([podStatus('a'), BAD, podStatus('b')]), [
    '2 up, 1 pending',
    'shop/bad: setns EPERM',
  ])
})

t.test(
  'rule 2: a family that pods are without has one line, and readiness does not depend on it',
  async (t) => {
    const readiness = new Readiness([podsCheck(() => zdsStatus())])
    const pods = [
      podStatus('both'),
      ...Array.from({ length: 500 }, (_, index) =>
        podStatus(`only-${index}`, { listeners: listenersOf('bound', 'absent') }),
      ),
      podStatus('taken', {
        state: 'pending',
        problem: 'EADDRINUSE',
        listeners: listenersOf('failed', 'absent'),
      }),
    ]
    t.strictSame(await readyz(readiness, pods), {
      status: 200,
      body: [
        'ready',
        'listeners',
        'pods',
        '  501 up, 1 pending',
        '  ipv4 failed in 1 pod',
        '  ipv6 absent in 501 pods',
        '  shop/taken: EADDRINUSE\n',
      ].join('\n'),
    })
  },
)

import t from 'tap'

import { adminRoutes, metricsRoutes, readinessRoutes } from '../../../src/agent/admin/endpoints.ts'
import { AgentLogger } from '../../../src/agent/logging.ts'
import { connectionLimitCheck, Readiness, requiredFamiliesCheck } from '../../../src/agent/admin/readiness.ts'
import { parseSocketAddress } from '../../../src/core/address.ts'

import type { AdminDeps } from '../../../src/agent/admin/endpoints.ts'
import type { HttpResponse, HttpRoute } from '../../../src/agent/admin/http-server.ts'
import type { ListenerAddressStatus } from '../../../src/proxy/listener-set.ts'

const WEB4: ListenerAddressStatus = {
  listener: 'web',
  family: 'ipv4',
  address: parseSocketAddress('0.0.0.0:80'),
  state: 'bound',
  reason: '',
}
const WEB6: ListenerAddressStatus = {
  listener: 'web',
  family: 'ipv6',
  address: parseSocketAddress('[::]:80'),
  state: 'absent',
  reason: 'cannot listen on [::]:80: EAFNOSUPPORT',
}

async function ask(routes: readonly HttpRoute[], method: string, url: string): Promise<HttpResponse> {
  const { pathname, searchParams } = new URL(url, 'http://localhost')
  const route = routes.find((each) => each.path === pathname && each.method === method)
  if (route === undefined) throw new Error(`no route ${method} ${url}`)
  return route.answer({ path: pathname, query: searchParams })
}

function admin(): { readonly routes: readonly HttpRoute[]; readonly called: string[] } {
  const called: string[] = []
  const logger = new AgentLogger(
    { destination: { write: () => undefined }, wallTimeMs: () => 0 },
    { level: 'info', format: 'plain' },
  )
  const deps: AdminDeps = {
    configDump: async () => ({ workloads: [] }),
    clusters: async () => ({ cluster_statuses: [] }),
    shutdown: () => called.push('shutdown'),
    drainListeners: async () => void called.push('drain'),
    logger,
  }
  return { routes: adminRoutes(deps), called }
}

t.test('answers the config dump and clusters as JSON', async (t) => {
  const { routes } = admin()
  for (const [url, key] of [
    ['/config_dump?include_eds=true', 'workloads'],
    ['/clusters?format=json', 'cluster_statuses'],
  ] as const) {
    const { body, contentType } = await ask(routes, 'GET', url)
    t.match(contentType, /^application\/json/)
    t.strictSame(JSON.parse(body), { [key]: [] })
  }
})

t.test('shuts down and drains only when asked by POST', async (t) => {
  const { routes, called } = admin()
  t.match(await ask(routes, 'POST', '/quitquitquit'), { body: 'shutdown now\n' })
  t.match(await ask(routes, 'POST', '/drain_listeners'), { body: 'OK\n' })
  t.strictSame(called, ['shutdown', 'drain'])
  await t.rejects(ask(routes, 'GET', '/quitquitquit'))
})

t.test('tells, changes and resets the log level', async (t) => {
  const { routes } = admin()
  const level = async (query: string): Promise<string> => (await ask(routes, 'POST', `/logging${query}`)).body
  t.equal(await level(''), 'current log level is info\n')
  t.equal(await level('?level=debug'), 'current log level is debug\n')
  t.equal(await level('?reset'), 'current log level is info\n')
  t.match(await ask(routes, 'POST', '/logging?level=access:debug'), {
    status: 400,
    body: /no levels per scope/,
  })
  t.equal(await level(''), 'current log level is info\n')
})

t.test('lists its endpoints on / and /help', async (t) => {
  const { routes } = admin()
  for (const path of ['/', '/help']) {
    const { body } = await ask(routes, 'GET', path)
    for (const name of ['/config_dump', '/clusters', '/logging', '/quitquitquit', '/drain_listeners'])
      t.ok(body.includes(name))
  }
})

t.test('serves metrics under both paths that scrapers use', async (t) => {
  const routes = metricsRoutes(async () => ({ contentType: 'text/plain; version=0.0.4', text: 'a 1\n' }))
  for (const path of ['/metrics', '/stats/prometheus'])
    t.strictSame(await ask(routes, 'GET', path), { contentType: 'text/plain; version=0.0.4', body: 'a 1\n' })
})

t.test("is ready when every task has ended, in ztunnel's words until then", async (t) => {
  const readiness = new Readiness()
  const routes = readinessRoutes({ pods: () => undefined, readiness, listeners: () => [] })
  const ends = ['state manager', 'proxy'].map((task) => readiness.begin(task))
  t.strictSame(await ask(routes, 'GET', '/healthz/ready'), {
    status: 500,
    body: 'not ready, pending: proxy, state manager\n',
  })
  for (const end of ends) end()
  t.ok(readiness.isReady)
  t.strictSame(await ask(routes, 'GET', '/healthz/ready'), { body: 'ready\n' })
})

t.test('rule 2: lists listeners per family, and stays ready without a family', async (t) => {
  const routes = readinessRoutes({
    pods: () => undefined,
    readiness: new Readiness(),
    listeners: () => [WEB4, WEB6],
  })
  t.strictSame(await ask(routes, 'GET', '/readyz'), {
    status: 200,
    body: 'ready\nlisteners\n  web ipv4 0.0.0.0:80 bound\n  web ipv6 [::]:80 absent: cannot listen on [::]:80: EAFNOSUPPORT\n',
  })
})

t.test('is not ready without a family that the operator requires', async (t) => {
  let listeners: readonly ListenerAddressStatus[] = [WEB4, WEB6]
  const readiness = new Readiness([requiredFamiliesCheck(['ipv4', 'ipv6'], () => listeners)])
  const routes = readinessRoutes({ pods: () => undefined, readiness, listeners: () => listeners })
  t.match(await ask(routes, 'GET', '/healthz/ready'), {
    status: 500,
    body: 'not ready, pending: family ipv6\n',
  })
  t.match(
    (await ask(routes, 'GET', '/readyz')).body,
    /^not ready\n {2}family ipv6: web ipv6 \[::\]:80 absent/,
  )
  listeners = [WEB4]
  t.match(readiness.reasons, [{ name: 'family ipv6', detail: 'no listener has an ipv6 address' }])
  listeners = [WEB4, { ...WEB6, state: 'bound', reason: '' }]
  t.ok(readiness.isReady)
})

t.test('rule 14: is not ready at the limit of descriptors, and recovers by itself', async (t) => {
  let isExhausted = true
  const readiness = new Readiness([connectionLimitCheck(() => ({ open: 9, limit: 10, isExhausted }))])
  t.match(readiness.reasons, [{ name: 'connection limit', detail: /^9 of 10 descriptors/ }])
  isExhausted = false
  t.ok(readiness.isReady)
})

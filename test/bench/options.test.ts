/** The command line of the bench. */
import t from 'tap'

import { MEASURE_NAMES, PEER_NAMES, USAGE, parseBenchOptions } from '../../bench/options.ts'

t.test('everything is measured against every peer unless the operator says otherwise', async (t) => {
  t.match(parseBenchOptions([]), { only: MEASURE_NAMES, peers: PEER_NAMES, engines: ['auto'], rounds: 3 })
  t.match(parseBenchOptions(['--peers', 'none']), { peers: [] })
  t.match(parseBenchOptions(['--only', 'requests,bulk', '--engine', 'linux,node']), {
    only: ['bulk', 'requests'],
    engines: ['linux', 'node'],
  })
  t.match(parseBenchOptions(['--baseline', '/other']), { baselineFolder: '/other' })
  t.equal(parseBenchOptions(['--help']), 'help')
})

t.test('what is unknown or no number is refused by name', async (t) => {
  t.throws(() => parseBenchOptions(['--only', 'bulk,speed']), { message: /--only speed: write some of bulk/ })
  t.throws(() => parseBenchOptions(['--peers', 'squid']), { message: /--peers squid/ })
  t.throws(() => parseBenchOptions(['--seconds', '0']), { message: /--seconds 0/ })
  t.throws(() => parseBenchOptions(['--rounds', '1.5']), { message: /--rounds 1.5/ })
  t.throws(() => parseBenchOptions(['xdz']), { message: /there is no bench xdz/ })
})

t.test('the first word says which bench, the proxies where there is none', async (t) => {
  t.match(parseBenchOptions([]), { bench: 'proxies' })
  t.match(parseBenchOptions(['xds', '--rounds', '1', '--check']), { bench: 'xds', rounds: 1, isCheck: true })
})

t.test('the usage names every measure and peer', async (t) => {
  for (const name of [...MEASURE_NAMES, ...PEER_NAMES]) t.match(USAGE, name)
})

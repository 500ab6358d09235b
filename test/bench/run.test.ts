/** The bench as it is run, for one cheap measure: that the lab, the proxy and the proof of the way work together. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

import t from 'tap'

import { Lab } from '../../bench/lab/lab.ts'
import { measureWindow, requireWay } from '../../bench/lab/window.ts'
import { CONTROL } from '../../bench/report/figures.ts'
import { missingForLab } from '../../bench/requirements.ts'
import { FAMILIES } from '../../src/core/family.ts'

import type { Report } from '../../bench/report/report.ts'

const BENCH_PATH = path.join(import.meta.dirname, '../../bench/run.js')
const run = promisify(execFile)

const missing = await missingForLab()
if (missing !== undefined) {
  if (process.env['TWINSTACK_TEST_NO_SKIP'] === '1') t.fail(missing)
  else t.plan(0, missing)
} else {
  t.test('one command measures without and with the proxy in both families, and cleans up', async (t) => {
    const folder = t.testdir()
    const options = ['--rounds', '1', '--seconds', '0.5', '--peers', 'none', '--only', 'requests,transfer']
    const place = ['--transfer-mib', '2', '--out', folder, '--name', 'smoke']
    const child = run(process.execPath, [BENCH_PATH, ...options, ...place])
    const { stdout } = await child
    const report = JSON.parse(await readFile(path.join(folder, 'smoke.json'), 'utf8')) as Report
    t.strictSame(
      report.rows.map(({ id, family }) => `${id} ${family}`),
      [
        ...FAMILIES.flatMap((family) => [`requests ${family}`, `requests-cpu ${family}`]),
        ...FAMILIES.map((family) => `transfer ${family}`),
      ],
    )
    for (const { id, family, figures } of report.rows) {
      const isOfProxy = id === 'requests-cpu'
      t.strictSame(
        Object.keys(figures),
        isOfProxy ? ['twinstack'] : [CONTROL, 'twinstack'],
        `${id} ${family}`,
      )
      // Processor time comes in steps of 10 ms: so short a window can have none.
      for (const { median } of Object.values(figures))
        t.ok(isOfProxy ? median >= 0 : median > 0, `${id} ${family}: ${median}`)
    }
    t.match(report.verdicts, [{ state: 'not measured' }, { state: 'not measured' }], 'without a peer')
    t.equal(stdout.trim(), (await readFile(path.join(folder, 'smoke.md'), 'utf8')).trim())
    t.match(await readFile(path.join(folder, 'smoke.svg'), 'utf8'), '<svg')
    const { stdout: left } = await run('ip', ['netns', 'list'])
    t.notMatch(left, `tsb-${child.child.pid ?? 0}-`)
  })

  t.test('a window counts only when the bytes took the way that was asked for', async (t) => {
    const lab = await Lab.start()
    t.teardown(() => lab.close())
    const plan = { load: 'requests', service: 'echo', family: 'ipv6', count: 2, seconds: 0.5 } as const
    const result = await measureWindow(lab, { ...plan, proxy: undefined })
    t.ok(result.completed > 0)
    const least = { uploadBytes: 1, downloadBytes: 1 }
    await requireWay(lab, { proxy: undefined, family: 'ipv6' }, least)
    const nobody = {
      name: 'nobody',
      capturePorts: { echo: 1, sink: 1, source: 1, transfer: 1 },
      cpuSeconds: () => Promise.resolve(0),
    }
    await t.rejects(requireWay(lab, { proxy: nobody, family: 'ipv6' }, least), {
      message: /^nobody over ipv6/,
    })
    await t.rejects(requireWay(lab, { proxy: undefined, family: 'ipv4' }, least), { message: /^no proxy/ })
    await t.rejects(measureWindow(lab, { ...plan, proxy: nobody }), { message: /Connection refused/ })
  })
}

/** The text of a NACK. */
import t from 'tap'

import { TYPE_URLS } from '../../../src/xds-client/discovery.ts'
import {
  MAX_NACK_LENGTH,
  formatRejections,
  resourceName,
} from '../../../src/xds-client/stream/response-check.ts'
import { namedBody } from '../../fixtures/discovery-codec.ts'

t.test('names each resource with its problems', (t) => {
  t.equal(
    formatRejections([
      { name: 'a', problems: ['x', 'y'] },
      { name: '', problems: ['z'] },
    ]),
    'a: x, y; a resource without a name: z',
  )
  t.end()
})

t.test('is bounded, and says how many it leaves out', (t) => {
  const many = Array.from({ length: 1_000 }, (_, index) => ({
    name: `resource-${index}`,
    problems: ['wrong'],
  }))
  const text = formatRejections(many)
  t.ok(text.length < MAX_NACK_LENGTH + 30)
  const named = text.split('; ').length - 1
  t.match(text, new RegExp(`; and ${1_000 - named} more$`))
  const long = formatRejections([{ name: 'a', problems: ['x'.repeat(10_000)] }, ...many])
  t.ok(long.length < MAX_NACK_LENGTH + 30)
  t.match(long, /x… and 1000 more$/)
  t.end()
})

t.test('finds the name in a resource that only names itself', (t) => {
  const resource = { name: '', version: '', aliases: [], typeUrl: TYPE_URLS.cluster, value: namedBody('c') }
  t.equal(resourceName(resource), 'c')
  t.equal(resourceName({ ...resource, name: 'wrapped' }), 'wrapped')
  t.equal(resourceName({ ...resource, typeUrl: TYPE_URLS.nameTable }), '')
  t.equal(resourceName({ ...resource, value: Buffer.from([10, 200]) }), '', 'its decoder will complain')
  t.end()
})

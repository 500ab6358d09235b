import t from 'tap'

import { InternPool, TextPool } from '../../../src/xds-client/reading/intern-pool.ts'

t.test('gives back the first value of a key', (t) => {
  const pool = new InternPool<object>()
  const first = {}
  t.equal(pool.keep('a', first), first)
  t.equal(pool.get('a'), first)
  t.equal(pool.get('b'), undefined)
  t.end()
})

t.test('does not grow past its bound', (t) => {
  const pool = new InternPool<number>(2)
  pool.keep('a', 1)
  pool.keep('b', 2)
  pool.keep('c', 3)
  t.strictSame(
    ['a', 'b', 'c'].map((key) => pool.get(key)),
    [undefined, undefined, 3],
  )
  t.end()
})

t.test('shares texts', (t) => {
  const pool = new TextPool(1)
  t.strictSame(
    ['a', 'b', '', 'a'].map((text) => pool.share(text)),
    ['a', 'b', '', 'a'],
  )
  t.end()
})

/** How bytes of a stream become messages. */
import { StreamDecoder } from '@grpc/grpc-js/build/src/stream-decoder.js'
import fc from 'fast-check'
import t from 'tap'

import { MessageAssembly, assembleInPlace } from '../../../src/xds-client/stream/message-assembly.ts'

/** A message as gRPC frames it, not compressed. */
function framed(body: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

t.test('puts messages together wherever their bytes are cut', (t) => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 })
  const cuts = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 })
  fc.assert(
    fc.property(bodies, cuts, (bodies, cuts) => {
      const messages = bodies.map(framed)
      const stream = Buffer.concat(messages)
      const assembly = new MessageAssembly()
      const found: Buffer[] = []
      for (let at = 0, piece = 0; at < stream.length; piece++) {
        const length = cuts[piece % cuts.length] ?? 1
        found.push(...assembly.write(stream.subarray(at, at + length)))
        at += length
      }
      return found.length === messages.length && Buffer.concat(found).equals(stream)
    }),
  )
  t.end()
})

t.test('gives each message memory of its own, which goes with it', (t) => {
  const [message] = new MessageAssembly().write(framed(Buffer.from('small')))
  t.equal(message?.buffer.byteLength, message?.length)
  t.end()
})

t.test('is how streams of grpc-js read, which then hold no piece of a message that is done with', (t) => {
  assembleInPlace()
  const [one, other] = [new StreamDecoder(-1), new StreamDecoder(-1)]
  const message = framed(Buffer.from('hello'))
  t.strictSame(one.write(message.subarray(0, 7)), [])
  t.strictSame(other.write(message), [message], 'streams do not mix')
  t.strictSame(one.write(message.subarray(7)), [message])
  t.strictSame(Reflect.get(one, 'readPartialMessage'), [])
  t.end()
})

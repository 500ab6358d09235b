/** RST on purpose, around a gap in node:net. */
import type { Socket } from 'node:net'

/**
 * Ends a socket with RST and drops what it has not sent. Idempotent. While a FIN is on its way libuv refuses to reset
 * (EINVAL), and node:net then neither closes the descriptor nor says so; the reset has to wait for that one turn of
 * the event loop. https://docs.libuv.org/en/v1.x/tcp.html#c.uv_tcp_close_reset
 */
export function resetSocket(socket: Socket): void {
  if (socket.destroyed) return
  const isFinUnderWay = socket.writableEnded && socket.writableLength === 0 && !socket.writableFinished
  if (!isFinUnderWay) socket.resetAndDestroy()
  else socket.once('finish', () => socket.resetAndDestroy())
}

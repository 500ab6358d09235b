/**
 * Istio's tcp-echo sample as a small server: answers each line with `prefix line`.
 *
 * https://github.com/istio/istio/tree/master/samples/tcp-echo
 */
import net from 'node:net'

export interface TcpEcho {
  close(): Promise<void>
}

/** Listens on one address, IPv6 always V6ONLY. Rejects with the error of the bind. */
export function startTcpEcho(
  address: { readonly host: string; readonly port: number },
  prefix: string,
): Promise<TcpEcho> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.setEncoding('utf8')
    let line = ''
    socket.on('data', (text: string) => {
      const lines = (line + text).split('\n')
      line = lines.pop() ?? ''
      for (const complete of lines) socket.write(`${prefix} ${complete}\n`)
    })
    socket.on('end', () => socket.end())
    // The client resets when it has what it wanted; there is nobody to tell.
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ ...address, ipv6Only: true }, () => {
      resolve({
        close: () =>
          new Promise((closed) => {
            server.close(() => {
              closed()
            })
            for (const socket of sockets) socket.destroy()
          }),
      })
    })
  })
}

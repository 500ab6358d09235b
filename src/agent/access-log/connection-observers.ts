/** Several observers of connections as one. */
import type {
  ClosedConnectionRecord,
  ConnectionObserver,
  ConnectionRecord,
} from '../../proxy/connection-record.ts'

/** Tells each of `observers`, in their order. */
export function combineObservers(...observers: readonly ConnectionObserver[]): ConnectionObserver {
  return {
    connected: (record: ConnectionRecord) => {
      for (const observer of observers) observer.connected(record)
    },
    closed: (record: ClosedConnectionRecord) => {
      for (const observer of observers) observer.closed(record)
    },
  }
}

/** What a worker thread runs; see worker-thread.ts. */
import { workerData } from 'node:worker_threads'

import { runWorkerThread } from './worker-thread.ts'

import type { WorkerThreadData } from './worker-thread.ts'

await runWorkerThread(workerData as WorkerThreadData)

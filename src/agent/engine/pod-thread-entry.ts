/** What the thread for pods runs; see pod-thread.ts. */
import { workerData } from 'node:worker_threads'

import { runPodThread } from './pod-thread.ts'

import type { PodThreadData } from './pod-thread.ts'

await runPodThread(workerData as PodThreadData)

/** A pod of this node whose connections are captured inside its own network namespace, as istio-cni names it. */
import type { IpAddress } from '../core/address.ts'

/** Who a pod is. Its workload in the mesh is found by this, never by an address that a connection shows. */
export interface Pod {
  /** The UID that Kubernetes gave it; not the uid of its workload. */
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
}

/** A pod whose connections are captured here. */
export interface CapturedPod extends Pod {
  /** The addresses that its network namespace had when it was looked at last, without loopback's. */
  readonly addresses: readonly IpAddress[]
}

/** How it went to take a pod in; `problem` is a short sentence for the operator of istio-cni. */
export type PodOutcome = { readonly ok: true } | { readonly ok: false; readonly problem: string }

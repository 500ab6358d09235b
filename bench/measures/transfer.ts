/** A large transfer both ways at once over one connection, byte-exact or an error. */
import { FAMILIES } from '../../src/core/family.ts'
import { redirect } from '../lab/redirection.ts'
import { requireWay } from '../lab/window.ts'
import { CONTROL } from '../report/figures.ts'

import type { Measure } from './measure.ts'

const BITS_PER_BYTE = 8
const BYTES_PER_MIB = 1_024 * 1_024

/** Row `transfer`, both directions together. Once per contender: it is a check before it is a measure. */
export const measureTransfer: Measure = async ({ lab, figures, proxies, transferBytes }) => {
  for (const family of FAMILIES) {
    for (const proxy of [undefined, ...proxies]) {
      await redirect(lab.namespaces, proxy?.capturePorts)
      const name = proxy?.name ?? CONTROL
      const seconds = await lab.transfer(family, transferBytes).catch((reason: unknown) => {
        throw new Error(
          `${name}, transfer over ${family}: ${reason instanceof Error ? reason.message : String(reason)}`,
          { cause: reason },
        )
      })
      await requireWay(lab, { proxy, family }, { uploadBytes: transferBytes, downloadBytes: transferBytes })
      figures.add(
        {
          id: 'transfer',
          title: `${transferBytes / BYTES_PER_MIB} MiB each way at once, every byte compared`,
          family,
          unit: 'Gbit/s',
          isHigherBetter: true,
        },
        name,
        (2 * transferBytes * BITS_PER_BYTE) / seconds / 1e9,
      )
    }
  }
}

/**
 * Metrics of prom-client whose series are read from elsewhere when somebody scrapes, instead of being counted here:
 * the data path keeps plain numbers, and a series that is gone there is gone here.
 */
import { Counter, Gauge, Histogram } from 'prom-client'

import type { Registry } from 'prom-client'
import type { MetricFamily } from './metrics-schema.ts'

/** One line of a family. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  /** The name of the line where it differs from that of the family: `…_bucket`, `…_sum`, `…_count`. */
  readonly metricName?: string
}

/** Gives the series of a family; called at each scrape. */
export type SampleReader = () => Iterable<Sample>

/** Adds a family to a registry. HELP and TYPE are there even while `read` gives nothing. */
export function registerScraped(registry: Registry, family: MetricFamily, read: SampleReader): void {
  const configuration = {
    name: family.name,
    help: family.help,
    labelNames: family.labels.filter((label) => label !== 'le'),
    registers: [registry],
  }
  switch (family.type) {
    case 'counter':
      new ScrapedCounter(configuration, read)
      break
    case 'gauge':
      new ScrapedGauge(configuration, read)
      break
    case 'histogram':
      new ScrapedHistogram(configuration, read)
      break
  }
}

interface Configuration {
  readonly name: string
  readonly help: string
  readonly labelNames: readonly string[]
  readonly registers: Registry[]
}

class ScrapedCounter extends Counter {
  readonly #read: SampleReader

  constructor(configuration: Configuration, read: SampleReader) {
    super(configuration)
    this.#read = read
  }

  override async get(): ReturnType<Counter['get']> {
    return { ...(await super.get()), values: [...this.#read()] }
  }
}

class ScrapedGauge extends Gauge {
  readonly #read: SampleReader

  constructor(configuration: Configuration, read: SampleReader) {
    super(configuration)
    this.#read = read
  }

  override async get(): ReturnType<Gauge['get']> {
    return { ...(await super.get()), values: [...this.#read()] }
  }
}

class ScrapedHistogram extends Histogram {
  readonly #name: string
  readonly #help: string
  readonly #read: SampleReader

  constructor(configuration: Configuration, read: SampleReader) {
    super(configuration)
    this.#name = configuration.name
    this.#help = configuration.help
    this.#read = read
  }

  /** What prom-client asks a histogram for, under `get` too. Its types do not name it. */
  getForPromString(): unknown {
    const values = Array.from(this.#read(), (sample) => ({ ...sample, sharedLabels: {} }))
    return Promise.resolve({ name: this.#name, help: this.#help, type: 'histogram', values })
  }
}

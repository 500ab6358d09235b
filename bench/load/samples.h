// Latencies of a run, and their percentiles.
#ifndef TWINSTACK_BENCH_SAMPLES_H
#define TWINSTACK_BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct samples {
  uint64_t *values_ns;
  size_t count;
  size_t capacity;
};

void samples_add(struct samples *samples, uint64_t value_ns);

// Forgets all of them.
void samples_clear(struct samples *samples);

// Orders them, so that percentiles can be read.
void samples_sort(struct samples *samples);

// The value that `share` (0 to 1) of the sorted values do not exceed, in microseconds; 0 of none.
double samples_percentile_us(const struct samples *samples, double share);

#endif

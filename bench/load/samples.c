#include "samples.h"

#include <stdlib.h>

#include "common.h"

#define FIRST_CAPACITY 65536

void samples_add(struct samples *samples, uint64_t value_ns) {
  if (samples->count == samples->capacity) {
    samples->capacity = samples->capacity == 0 ? FIRST_CAPACITY : 2 * samples->capacity;
    samples->values_ns = realloc(samples->values_ns, samples->capacity * sizeof *samples->values_ns);
    if (samples->values_ns == NULL) fail("samples");
  }
  samples->values_ns[samples->count++] = value_ns;
}

void samples_clear(struct samples *samples) { samples->count = 0; }

static int compare(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left;
  uint64_t b = *(const uint64_t *)right;
  return (a > b) - (a < b);
}

void samples_sort(struct samples *samples) {
  if (samples->count > 0) qsort(samples->values_ns, samples->count, sizeof *samples->values_ns, compare);
}

double samples_percentile_us(const struct samples *samples, double share) {
  if (samples->count == 0) return 0;
  size_t index = (size_t)((double)samples->count * share);
  if (index >= samples->count) index = samples->count - 1;
  return (double)samples->values_ns[index] / 1000;
}

// Loads of one connection at a time, without an event loop.
#ifndef TWINSTACK_BENCH_SINGLE_H
#define TWINSTACK_BENCH_SINGLE_H

#include <stdint.h>

#include "common.h"

// Times `count` connections one after the other, from connect to the answer, and prints {"latenciesUs":[...]}.
void run_times(const struct address *target, long count);

// Moves `bytes` each way over one connection, compares every one, and prints {"seconds":...}. A difference ends the
// process with its place.
void run_transfer(const struct address *target, uint64_t bytes);

#endif

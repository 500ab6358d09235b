// One end of a byte-exact transfer: sends one pattern and compares what comes with another one.
#ifndef TWINSTACK_BENCH_TRANSFER_H
#define TWINSTACK_BENCH_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

// The two directions carry different bytes, so that an echo does not pass for an answer.
enum pattern { PATTERN_REQUEST, PATTERN_RESPONSE };

struct transfer {
  enum pattern sends;
  enum pattern expects;
  // Each way.
  uint64_t total_bytes;
  uint64_t sent_bytes;
  uint64_t received_bytes;
};

enum transfer_state {
  // Nothing can be sent or received now.
  TRANSFER_WAITS,
  // The direction has ended: all is sent, or all was received and FIN came after it.
  TRANSFER_ENDED,
  // The connection failed; errno says why.
  TRANSFER_FAILED,
  // A byte was not as expected, or one too many.
  TRANSFER_DIFFERS,
  // FIN came before the last byte.
  TRANSFER_SHORT,
};

// Makes the bytes of both patterns: a moment, and 32 MiB.
void transfer_init(void);

enum transfer_state transfer_send(struct transfer *transfer, int fd);

enum transfer_state transfer_receive(struct transfer *transfer, int fd);

// Whether the transfer has gone wrong.
bool transfer_is_broken(enum transfer_state state);

#endif

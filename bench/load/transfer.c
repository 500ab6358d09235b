#define _GNU_SOURCE
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common.h"

// The smallest prime above 16 MiB: longer than what all buffers on the way hold together, so that a byte that is lost,
// doubled or swapped shows as a difference.
#define PERIOD_BYTES 16777259

static uint8_t *patterns[2];

// xorshift64* (https://doi.org/10.1145/2845077): the same bytes on every machine.
static uint8_t *make_pattern(uint64_t seed) {
  uint8_t *bytes = malloc(PERIOD_BYTES);
  if (bytes == NULL) fail("pattern");
  uint64_t state = seed;
  for (size_t index = 0; index < PERIOD_BYTES; index++) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    bytes[index] = (uint8_t)((state * 0x2545f4914f6cdd1du) >> 56);
  }
  return bytes;
}

void transfer_init(void) {
  patterns[PATTERN_REQUEST] = make_pattern(1);
  patterns[PATTERN_RESPONSE] = make_pattern(2);
}

// The bytes from `offset` on; `*bytes` says how many there are, at most as many as it said before.
static const uint8_t *slice(enum pattern pattern, uint64_t offset, size_t *bytes) {
  size_t start = offset % PERIOD_BYTES;
  if (*bytes > PERIOD_BYTES - start) *bytes = PERIOD_BYTES - start;
  return patterns[pattern] + start;
}

static bool matches(enum pattern pattern, uint64_t offset, const uint8_t *received, size_t bytes) {
  while (bytes > 0) {
    size_t part = bytes;
    const uint8_t *expected = slice(pattern, offset, &part);
    if (memcmp(expected, received, part) != 0) return false;
    offset += part;
    received += part;
    bytes -= part;
  }
  return true;
}

enum transfer_state transfer_send(struct transfer *transfer, int fd) {
  while (transfer->sent_bytes < transfer->total_bytes) {
    uint64_t left = transfer->total_bytes - transfer->sent_bytes;
    size_t bytes = left < CHUNK_BYTES ? left : CHUNK_BYTES;
    const uint8_t *next = slice(transfer->sends, transfer->sent_bytes, &bytes);
    ssize_t sent = send(fd, next, bytes, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? TRANSFER_WAITS : TRANSFER_FAILED;
    transfer->sent_bytes += (uint64_t)sent;
  }
  return TRANSFER_ENDED;
}

enum transfer_state transfer_receive(struct transfer *transfer, int fd) {
  static uint8_t chunk[CHUNK_BYTES];
  ssize_t received = recv(fd, chunk, sizeof chunk, 0);
  if (received < 0) return errno == EAGAIN ? TRANSFER_WAITS : TRANSFER_FAILED;
  uint64_t offset = transfer->received_bytes;
  transfer->received_bytes += (uint64_t)received;
  if (received == 0) return offset == transfer->total_bytes ? TRANSFER_ENDED : TRANSFER_SHORT;
  bool is_expected = transfer->received_bytes <= transfer->total_bytes &&
                     matches(transfer->expects, offset, chunk, (size_t)received);
  return is_expected ? TRANSFER_WAITS : TRANSFER_DIFFERS;
}

bool transfer_is_broken(enum transfer_state state) {
  return state != TRANSFER_WAITS && state != TRANSFER_ENDED;
}

#define _GNU_SOURCE
#include "single.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "transfer.h"

// What a connection that hangs costs at the most.
#define LIMIT_SECONDS 20

static int connect_blocking(const struct address *target) {
  int fd = socket(target->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval limit = {.tv_sec = LIMIT_SECONDS};
  if (fd < 0) fail("socket");
  set_no_delay(fd);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, (const struct sockaddr *)&target->storage, target->length) != 0) fail("connect");
  return fd;
}

static double time_one(const struct address *target) {
  char answer = 0;
  uint64_t started_ns = now_ns();
  int fd = connect_blocking(target);
  if (send(fd, "?", 1, MSG_NOSIGNAL) != 1) fail("send");
  errno = 0;
  if (recv(fd, &answer, 1, 0) != 1) fail("no answer");
  uint64_t took_ns = now_ns() - started_ns;
  reset_on_close(fd);
  close(fd);
  return (double)took_ns / 1000;
}

void run_times(const struct address *target, long count) {
  double *latencies_us = calloc((size_t)count, sizeof *latencies_us);
  if (latencies_us == NULL) fail("latencies");
  for (long index = 0; index < count; index++) latencies_us[index] = time_one(target);
  printf("{\"latenciesUs\":[");
  for (long index = 0; index < count; index++) printf(index == 0 ? "%.1f" : ",%.1f", latencies_us[index]);
  printf("]}\n");
  free(latencies_us);
}

static void require_sound(enum transfer_state state, const char *what, uint64_t offset) {
  if (!transfer_is_broken(state)) return;
  const char *problem = state == TRANSFER_DIFFERS ? "a byte is not what was sent"
                        : state == TRANSFER_SHORT ? "FIN"
                                                  : strerror(errno);
  fprintf(stderr, "%s byte %" PRIu64 ": %s\n", what, offset, problem);
  exit(1);
}

void run_transfer(const struct address *target, uint64_t bytes) {
  struct transfer transfer = {.sends = PATTERN_REQUEST, .expects = PATTERN_RESPONSE, .total_bytes = bytes};
  transfer_init();
  int fd = connect_blocking(target);
  uint64_t started_ns = now_ns();
  if (send(fd, &bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes) fail("send");
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
  struct pollfd watched = {.fd = fd, .events = POLLIN | POLLOUT};
  for (bool has_received_all = false; !has_received_all || watched.events != POLLIN;) {
    errno = 0;
    if (poll(&watched, 1, LIMIT_SECONDS * 1000) <= 0) fail("the transfer stands still");
    if ((watched.revents & ~POLLOUT) != 0 && !has_received_all) {
      uint64_t offset = transfer.received_bytes;
      enum transfer_state state = transfer_receive(&transfer, fd);
      require_sound(state, "after received", offset);
      has_received_all = state == TRANSFER_ENDED;
    }
    if ((watched.events & POLLOUT) != 0) {
      enum transfer_state state = transfer_send(&transfer, fd);
      require_sound(state, "after sent", transfer.sent_bytes);
      if (state == TRANSFER_ENDED) {
        watched.events = POLLIN;
        shutdown(fd, SHUT_WR);
      }
    }
  }
  printf("{\"seconds\":%.6f}\n", (double)(now_ns() - started_ns) / 1e9);
}

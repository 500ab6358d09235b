#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void fail(const char *what) {
  if (errno != 0)
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
  else
    fprintf(stderr, "%s\n", what);
  exit(1);
}

struct address parse_address(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
  struct addrinfo *found;
  struct address address = {0};
  int problem = getaddrinfo(host, port, &hints, &found);
  if (problem != 0) {
    fprintf(stderr, "%s port %s: %s\n", host, port, gai_strerror(problem));
    exit(1);
  }
  memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

long parse_number(const char *name, const char *text, long min) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < min) {
    fprintf(stderr, "%s: %s is no number from %ld on\n", name, text, min);
    exit(1);
  }
  return value;
}

void set_no_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void reset_on_close(int fd) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

bool read_command(char *line, size_t size) {
  // Each command is sent after the answer to the one before it, so one read has one whole line.
  ssize_t length = read(STDIN_FILENO, line, size - 1);
  if (length <= 0) return false;
  line[length] = '\0';
  line[strcspn(line, "\n")] = '\0';
  return true;
}

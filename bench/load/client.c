// The clients: `client LOAD HOST PORT COUNT [NUMBER]`, one thread, epoll.
//
//   send         COUNT connections send as much as the other side takes
//   receive      COUNT connections take as much as the other side gives
//   requests     COUNT connections stay, each with one request after the other
//   connections  COUNT at a time: connect, request, answer, RST
//   rate         the same, NUMBER a second whether or not the earlier ones are done; at most COUNT at a time
//   hold         COUNT connections are answered once and then left alone
//   slow         COUNT connections with small windows that take NUMBER bytes a second each
//   times        COUNT connections one after the other, each timed
//   transfer     NUMBER bytes each way over COUNT = 1 connection, every one compared
//
// `times` and `transfer` print their result and end. The others print {} when the load is up, answer the line `mark`
// with what has been counted, and forget latencies; `ask` (hold) the same after every connection has answered again;
// `stop` with the last count, and end. Connections end with RST, so that no port stays in TIME_WAIT.
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common.h"
#include "samples.h"
#include "single.h"

#define MAX_EVENTS 256
#define REQUEST_BYTES 64
// Connects of connections that stay, under way at a time: fewer than any backlog.
#define OPENING_AT_ONCE 64
#define SLOW_TICKS_PER_SECOND 10
#define SLOW_WINDOW_BYTES 4096
#define SECOND_NS 1000000000

enum load { SEND, RECEIVE, REQUESTS, CONNECTIONS, RATE, HOLD, SLOW, TIMES, TRANSFER, LOAD_COUNT };

static const char *const LOAD_NAMES[LOAD_COUNT] = {"send", "receive", "requests", "connections", "rate",
                                                   "hold", "slow",    "times",    "transfer"};

struct connection {
  int fd;
  bool is_open;
  // As it shall stay; of the loads whose connections do.
  bool is_settled;
  // Of the answer that is awaited; 0 when none is.
  size_t missing_bytes;
  uint64_t started_ns;
};

static enum load load;
static struct address target;
static struct connection *connections;
static long connection_count;
static long number;

static int epoll_fd;
static uint8_t chunk[CHUNK_BYTES];
// Addresses that say what an event of epoll is about.
static char commands_source;
static char timer_source;
static int timer_fd = -1;

static bool is_ready;
// How many have been started, and how many of those that stay are settled.
static long started_count;
static long settled_count;
// `hold`: answers that an `ask` still waits for.
static long awaited_count;
// `rate`: when the first connection was due, and free places in `connections`.
static uint64_t first_due_ns;
static struct connection **free_connections;
static long free_count;

static struct samples latencies;
static struct {
  uint64_t completed;
  uint64_t sent_bytes;
  uint64_t received_bytes;
  uint64_t errors;
  // errno; 0 for FIN.
  int first_error;
} counts;

static void print_counts(void) {
  const char *first_error = counts.first_error == 0 ? "FIN from the other side" : strerror(counts.first_error);
  samples_sort(&latencies);
  printf("{\"atNs\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"sentBytes\":%" PRIu64 ",\"receivedBytes\":%" PRIu64,
         now_ns(), counts.completed, counts.sent_bytes, counts.received_bytes);
  printf(",\"errors\":%" PRIu64 ",\"firstError\":\"%s\"", counts.errors, counts.errors == 0 ? "" : first_error);
  printf(",\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f}\n", samples_percentile_us(&latencies, 0.5),
         samples_percentile_us(&latencies, 0.99), samples_percentile_us(&latencies, 0.999));
}

static void become_ready(void) {
  if (is_ready) return;
  is_ready = true;
  printf("{}\n");
}

static void watch(int fd, int operation, uint32_t events, void *source) {
  struct epoll_event event = {.events = events, .data.ptr = source};
  if (epoll_ctl(epoll_fd, operation, fd, &event) != 0) fail("epoll_ctl");
}

static void open_connection(struct connection *connection, uint64_t started_ns) {
  int fd = socket(target.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int window = SLOW_WINDOW_BYTES;
  if (fd < 0) fail("socket");
  set_no_delay(fd);
  reset_on_close(fd);
  if (load == SLOW) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
  *connection = (struct connection){.fd = fd, .started_ns = started_ns};
  if (connect(fd, (struct sockaddr *)&target.storage, target.length) != 0 && errno != EINPROGRESS)
    fail("connect");
  watch(fd, EPOLL_CTL_ADD, EPOLLOUT, connection);
}

static void open_more(void) {
  while (started_count < connection_count && started_count - settled_count < OPENING_AT_ONCE)
    open_connection(&connections[started_count++], now_ns());
}

static void settle(struct connection *connection) {
  connection->is_settled = true;
  settled_count++;
  open_more();
  if (settled_count == connection_count) become_ready();
}

static void open_due(void) {
  uint64_t now = now_ns();
  while (free_count > 0) {
    uint64_t due_ns = first_due_ns + (uint64_t)started_count * SECOND_NS / (uint64_t)number;
    if (due_ns > now) return;
    started_count++;
    // A connection that starts late has waited all the same.
    open_connection(free_connections[--free_count], due_ns);
  }
}

// The connection is closed; whatever comes next in its place is opened.
static void replace(struct connection *connection) {
  close(connection->fd);
  connection->fd = -1;
  if (load == CONNECTIONS) open_connection(connection, now_ns());
  if (load == RATE) {
    free_connections[free_count++] = connection;
    open_due();
  }
}

static void count_failure(struct connection *connection, int error) {
  if (counts.errors++ == 0) counts.first_error = error;
  bool was_asked = load == HOLD && connection->is_settled && connection->missing_bytes > 0;
  replace(connection);
  if (was_asked && --awaited_count == 0) print_counts();
  // One that has failed is waited for no longer.
  if (load != CONNECTIONS && load != RATE && !connection->is_settled) settle(connection);
}

static void send_request(struct connection *connection) {
  connection->missing_bytes = REQUEST_BYTES;
  ssize_t sent = send(connection->fd, chunk, REQUEST_BYTES, MSG_NOSIGNAL);
  if (sent == REQUEST_BYTES)
    counts.sent_bytes += REQUEST_BYTES;
  else
    count_failure(connection, errno);
}

static void send_chunk(struct connection *connection) {
  ssize_t sent = send(connection->fd, chunk, sizeof chunk, MSG_NOSIGNAL);
  if (sent >= 0)
    counts.sent_bytes += (uint64_t)sent;
  else if (errno != EAGAIN)
    count_failure(connection, errno);
}

static void take_answer(struct connection *connection) {
  uint64_t now = now_ns();
  counts.completed++;
  samples_add(&latencies, now - connection->started_ns);
  switch (load) {
    case REQUESTS:
      connection->started_ns = now;
      send_request(connection);
      break;
    case HOLD:
      if (!connection->is_settled)
        settle(connection);
      else if (--awaited_count == 0)
        print_counts();
      break;
    default:
      replace(connection);
  }
}

static void receive(struct connection *connection) {
  // MSG_TRUNC takes the bytes without copying them (tcp(7)): the end of the way must not be its narrowest place.
  int flags = load == RECEIVE ? MSG_TRUNC : 0;
  size_t max_bytes = load == RECEIVE ? 16 * CHUNK_BYTES : CHUNK_BYTES;
  ssize_t received = recv(connection->fd, load == RECEIVE ? NULL : chunk, max_bytes, flags);
  if (received < 0 && errno == EAGAIN) return;
  if (received <= 0) {
    count_failure(connection, received == 0 ? 0 : errno);
    return;
  }
  counts.received_bytes += (uint64_t)received;
  if (connection->missing_bytes == 0) return;
  bool is_whole = (size_t)received >= connection->missing_bytes;
  connection->missing_bytes = is_whole ? 0 : connection->missing_bytes - (size_t)received;
  if (is_whole) take_answer(connection);
}

static void finish_opening(struct connection *connection) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) {
    count_failure(connection, error);
    return;
  }
  connection->is_open = true;
  uint32_t events = load == SEND ? EPOLLIN | EPOLLOUT : load == SLOW ? 0 : EPOLLIN;
  watch(connection->fd, EPOLL_CTL_MOD, events, connection);
  switch (load) {
    case SEND:
    case RECEIVE:
    case SLOW:
      settle(connection);
      break;
    case REQUESTS:
      settle(connection);
      connection->started_ns = now_ns();
      send_request(connection);
      break;
    default:
      send_request(connection);
  }
}

static void serve(struct connection *connection, uint32_t events) {
  if (!connection->is_open)
    finish_opening(connection);
  else if ((events & ~(uint32_t)EPOLLOUT) != 0 && load != SLOW)
    receive(connection);
  else if (load == SEND)
    send_chunk(connection);
  else
    count_failure(connection, 0);
}

static void take_slowly(void) {
  for (long index = 0; index < started_count; index++) {
    struct connection *connection = &connections[index];
    if (!connection->is_open || connection->fd < 0) continue;
    ssize_t received = recv(connection->fd, chunk, (size_t)(number / SLOW_TICKS_PER_SECOND), 0);
    if (received > 0)
      counts.received_bytes += (uint64_t)received;
    else if (received == 0 || errno != EAGAIN)
      count_failure(connection, received == 0 ? 0 : errno);
  }
}

static void answer_timer(void) {
  uint64_t expirations;
  if (read(timer_fd, &expirations, sizeof expirations) < 0) return;
  if (load == RATE)
    open_due();
  else
    take_slowly();
}

static void start_timer(long per_second) {
  long interval_ns = SECOND_NS / per_second;
  struct timespec interval = {.tv_sec = interval_ns / SECOND_NS, .tv_nsec = interval_ns % SECOND_NS};
  struct itimerspec setting = {.it_interval = interval, .it_value = interval};
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer_fd < 0 || timerfd_settime(timer_fd, 0, &setting, NULL) != 0) fail("timerfd");
  watch(timer_fd, EPOLL_CTL_ADD, EPOLLIN, &timer_source);
}

static void ask_all(void) {
  awaited_count = 0;
  for (long index = 0; index < connection_count; index++)
    if (connections[index].fd >= 0) awaited_count++;
  if (awaited_count == 0) print_counts();
  for (long index = 0; index < connection_count; index++) {
    if (connections[index].fd < 0) continue;
    connections[index].started_ns = now_ns();
    send_request(&connections[index]);
  }
}

static void answer_command(void) {
  char line[64];
  if (!read_command(line, sizeof line)) exit(0);
  if (strcmp(line, "ask") == 0) {
    ask_all();
    return;
  }
  print_counts();
  if (strcmp(line, "stop") == 0) exit(0);
  samples_clear(&latencies);
}

static void start(void) {
  switch (load) {
    case RATE:
      free_connections = calloc((size_t)connection_count, sizeof *free_connections);
      if (free_connections == NULL) fail("connections");
      for (long index = 0; index < connection_count; index++)
        free_connections[free_count++] = &connections[index];
      first_due_ns = now_ns();
      start_timer(number);
      become_ready();
      break;
    case CONNECTIONS:
      for (long index = 0; index < connection_count; index++) open_connection(&connections[index], now_ns());
      become_ready();
      break;
    case SLOW:
      start_timer(SLOW_TICKS_PER_SECOND);
      open_more();
      break;
    default:
      open_more();
  }
}

static enum load parse_load(const char *name) {
  for (int candidate = 0; candidate < LOAD_COUNT; candidate++)
    if (strcmp(name, LOAD_NAMES[candidate]) == 0) return (enum load)candidate;
  errno = 0;
  fail("there is no such load");
}

static void serve_forever(void) {
  for (;;) {
    struct epoll_event events[MAX_EVENTS];
    int count = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
    for (int index = 0; index < count; index++) {
      void *source = events[index].data.ptr;
      if (source == &commands_source)
        answer_command();
      else if (source == &timer_source)
        answer_timer();
      else
        serve(source, events[index].events);
    }
  }
}

int main(int argument_count, char **arguments) {
  if (argument_count < 5) {
    fprintf(stderr, "usage: client LOAD HOST PORT COUNT [NUMBER]\n");
    return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  load = parse_load(arguments[1]);
  target = parse_address(arguments[2], arguments[3]);
  connection_count = parse_number("COUNT", arguments[4], 1);
  bool needs_number = load == RATE || load == SLOW || load == TRANSFER;
  if (needs_number) number = parse_number("NUMBER", argument_count > 5 ? arguments[5] : "", 1);
  if (load == TIMES || load == TRANSFER) {
    if (load == TIMES)
      run_times(&target, connection_count);
    else
      run_transfer(&target, (uint64_t)number);
    return 0;
  }
  connections = calloc((size_t)connection_count, sizeof *connections);
  if (connections == NULL) fail("connections");
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  watch(STDIN_FILENO, EPOLL_CTL_ADD, EPOLLIN, &commands_source);
  start();
  serve_forever();
}

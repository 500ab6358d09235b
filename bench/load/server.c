// The applications behind the proxy: `server SERVICE HOST PORT [SERVICE HOST PORT ...]`, one thread, epoll.
//
//   echo      sends back what comes
//   sink      reads and counts
//   source    sends without end
//   transfer  one end of a byte-exact transfer, after 8 bytes with its length (host order); a difference is
//             answered with RST, FIN comes only after every byte has been compared
//
// Prints {} when it listens, answers each line on stdin with what it has counted, and ends with stdin.
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common.h"
#include "transfer.h"

#define MAX_EVENTS 256
#define BACKLOG 4096

struct endpoint;

// Returns false when the connection is to be closed.
typedef bool serve_function(struct endpoint *connection, uint32_t events);

struct service {
  const char *name;
  serve_function *serve;
  uint32_t first_events;
};

// A listening socket or a connection.
struct endpoint {
  int fd;
  bool is_listener;
  const struct service *service;
  // Echo: what could not be sent yet.
  uint8_t *pending;
  size_t pending_bytes;
  // Transfer.
  bool has_length;
  bool has_received_all;
  struct transfer transfer;
};

static int epoll_fd;
static uint8_t chunk[CHUNK_BYTES];
static struct {
  uint64_t accepted;
  uint64_t open;
  uint64_t received_bytes;
} counts;

static void watch(struct endpoint *endpoint, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = endpoint};
  if (epoll_ctl(epoll_fd, operation, endpoint->fd, &event) != 0) fail("epoll_ctl");
}

static bool flush_echo(struct endpoint *connection) {
  ssize_t sent = send(connection->fd, connection->pending, connection->pending_bytes, MSG_NOSIGNAL);
  if (sent < 0) return errno == EAGAIN;
  connection->pending_bytes -= (size_t)sent;
  memmove(connection->pending, connection->pending + sent, connection->pending_bytes);
  if (connection->pending_bytes == 0) {
    free(connection->pending);
    connection->pending = NULL;
    watch(connection, EPOLL_CTL_MOD, EPOLLIN);
  }
  return true;
}

static bool serve_echo(struct endpoint *connection, uint32_t events) {
  (void)events;
  // Nothing is read while something waits to be sent.
  if (connection->pending != NULL) return flush_echo(connection);
  ssize_t received = recv(connection->fd, chunk, sizeof chunk, 0);
  if (received < 0) return errno == EAGAIN;
  if (received == 0) return false;
  counts.received_bytes += (uint64_t)received;
  ssize_t sent = send(connection->fd, chunk, (size_t)received, MSG_NOSIGNAL);
  if (sent == received) return true;
  if (sent < 0 && errno != EAGAIN) return false;
  if (sent < 0) sent = 0;
  connection->pending_bytes = (size_t)(received - sent);
  connection->pending = malloc(connection->pending_bytes);
  if (connection->pending == NULL) return false;
  memcpy(connection->pending, chunk + sent, connection->pending_bytes);
  watch(connection, EPOLL_CTL_MOD, EPOLLOUT);
  return true;
}

static bool serve_sink(struct endpoint *connection, uint32_t events) {
  (void)events;
  // MSG_TRUNC takes the bytes without copying them (tcp(7)): the end of the way must not be its narrowest place.
  ssize_t received = recv(connection->fd, NULL, 16 * CHUNK_BYTES, MSG_TRUNC);
  if (received < 0) return errno == EAGAIN;
  counts.received_bytes += (uint64_t)received;
  return received > 0;
}

static bool serve_source(struct endpoint *connection, uint32_t events) {
  if ((events & ~(uint32_t)EPOLLOUT) != 0) {
    // Clients of this service send nothing: this is FIN or RST.
    return recv(connection->fd, chunk, sizeof chunk, 0) < 0 && errno == EAGAIN;
  }
  return send(connection->fd, chunk, sizeof chunk, MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
}

static bool read_length(struct endpoint *connection) {
  struct transfer *transfer = &connection->transfer;
  uint64_t length;
  // Eight bytes that were sent by themselves: a part of them is as wrong as none.
  if (recv(connection->fd, &length, sizeof length, 0) != sizeof length) return false;
  *transfer = (struct transfer){.sends = PATTERN_RESPONSE, .expects = PATTERN_REQUEST, .total_bytes = length};
  connection->has_length = true;
  watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
  return true;
}

static bool serve_transfer(struct endpoint *connection, uint32_t events) {
  struct transfer *transfer = &connection->transfer;
  if (!connection->has_length) return read_length(connection);
  if ((events & EPOLLIN) != 0 && !connection->has_received_all) {
    enum transfer_state state = transfer_receive(transfer, connection->fd);
    if (transfer_is_broken(state)) {
      reset_on_close(connection->fd);
      return false;
    }
    connection->has_received_all = state == TRANSFER_ENDED;
  }
  enum transfer_state state = transfer_send(transfer, connection->fd);
  if (state == TRANSFER_FAILED) return false;
  if (state == TRANSFER_ENDED && connection->has_received_all) return false;
  uint32_t reads = connection->has_received_all ? 0 : EPOLLIN;
  watch(connection, EPOLL_CTL_MOD, state == TRANSFER_ENDED ? reads : reads | EPOLLOUT);
  return true;
}

static const struct service SERVICES[] = {
    {"echo", serve_echo, EPOLLIN},
    {"sink", serve_sink, EPOLLIN},
    {"source", serve_source, EPOLLIN | EPOLLOUT},
    {"transfer", serve_transfer, EPOLLIN},
};

static const struct service *find_service(const char *name) {
  for (size_t index = 0; index < sizeof SERVICES / sizeof *SERVICES; index++)
    if (strcmp(name, SERVICES[index].name) == 0) return &SERVICES[index];
  errno = 0;
  fail("a service is one of echo, sink, source, transfer");
}

static struct endpoint *new_endpoint(int fd, const struct service *service, bool is_listener) {
  struct endpoint *endpoint = calloc(1, sizeof *endpoint);
  if (endpoint == NULL) fail("endpoint");
  endpoint->fd = fd;
  endpoint->service = service;
  endpoint->is_listener = is_listener;
  return endpoint;
}

static void listen_on(const char *service, const char *host, const char *port) {
  struct address address = parse_address(host, port);
  int family = address.storage.ss_family;
  int on = 1;
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Of several servers each gets its share of the connections.
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address.storage, address.length) != 0) fail("bind");
  if (listen(fd, BACKLOG) != 0) fail("listen");
  watch(new_endpoint(fd, find_service(service), true), EPOLL_CTL_ADD, EPOLLIN);
}

static void accept_all(const struct endpoint *listener) {
  for (;;) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    set_no_delay(fd);
    counts.accepted++;
    counts.open++;
    watch(new_endpoint(fd, listener->service, false), EPOLL_CTL_ADD, listener->service->first_events);
  }
}

static void end_connection(struct endpoint *connection) {
  close(connection->fd);
  counts.open--;
  free(connection->pending);
  free(connection);
}

static void answer_command(void) {
  char line[64];
  if (!read_command(line, sizeof line)) exit(0);
  printf("{\"atNs\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"open\":%" PRIu64 ",\"receivedBytes\":%" PRIu64 "}\n",
         now_ns(), counts.accepted, counts.open, counts.received_bytes);
}

int main(int argument_count, char **arguments) {
  if (argument_count < 4 || argument_count % 3 != 1) {
    fprintf(stderr, "usage: server SERVICE HOST PORT [SERVICE HOST PORT ...]\n");
    return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  transfer_init();
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct endpoint commands = {.fd = STDIN_FILENO};
  watch(&commands, EPOLL_CTL_ADD, EPOLLIN);
  for (int index = 1; index < argument_count; index += 3)
    listen_on(arguments[index], arguments[index + 1], arguments[index + 2]);
  printf("{}\n");
  for (;;) {
    struct epoll_event events[MAX_EVENTS];
    int count = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
    for (int index = 0; index < count; index++) {
      struct endpoint *endpoint = events[index].data.ptr;
      if (endpoint == &commands)
        answer_command();
      else if (endpoint->is_listener)
        accept_all(endpoint);
      else if (!endpoint->service->serve(endpoint, events[index].events))
        end_connection(endpoint);
    }
  }
}

// What both ends of the bench share: time, addresses, numbers, and commands on stdin.
#ifndef TWINSTACK_BENCH_COMMON_H
#define TWINSTACK_BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

// Bytes of one write; also what one read takes at the most.
#define CHUNK_BYTES (256 * 1024)

struct address {
  struct sockaddr_storage storage;
  socklen_t length;
};

// Nanoseconds of the monotonic clock.
uint64_t now_ns(void);

// Prints the reason, with errno where there is one, and ends the process.
_Noreturn void fail(const char *what);

// Reads an address without asking a resolver. Ends the process when it is none.
struct address parse_address(const char *host, const char *port);

// Reads a number of at least `min`; `name` is for the message when it is not one.
long parse_number(const char *name, const char *text, long min);

void set_no_delay(int fd);

// The next close of the socket sends RST, which leaves no port in TIME_WAIT.
void reset_on_close(int fd);

// Reads one command of stdin into `line` without its end. Returns false when the runner is gone.
bool read_command(char *line, size_t size);

#endif

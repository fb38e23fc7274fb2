// Measures echo servers, one after another: starts each, loads it with a closed loop (every
// connection has one message of ECHO_BYTES under way), and kills it.
//
//   bench_echo CONNECTIONS MILLISECONDS apart|together SERVER...
//
// SERVER is threads, busy, epoll, uring or multishot: bench_echo_SERVER beside this program. `apart`:
// the server has the last cpu that this process may use, and the load generator the first, so that
// what the server takes is its own. `together`: both have all of them.
//
// For each server, with its name before: _us is its cpu time for an echo (of the whole process, as
// the kernel accounts it, in microseconds), _per_s echoes a second, _p50_us, _p99_us and _p999_us
// the time from a message to its answer. The clock starts when all connections have had answers and
// a quarter of the time has passed under load.
//
// BENCH_PRELOAD names the LD_PRELOAD of the servers: the load generator itself always runs without.
#define _GNU_SOURCE
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "echo.h"
#include "histogram.h"

enum { BATCH = 512, CONNECT_BATCH = 512, PORTS_PER_ADDRESS = 20000 };
enum { STALL_MS = 10000, CONNECT_SECONDS = 20 };

struct connection {
  uint64_t sent_at;
  unsigned received;
};

struct server {
  const char *name;
  pid_t pid;
  unsigned port;
  clockid_t cpu_clock;
};

static struct server server;
static struct connection *connections;  // by descriptor
static int *descriptors;                // in the order they were made
static unsigned long opened;
static struct histogram latencies;
static int epoll = -1;

static void stop_server(void) {
  if (server.pid > 0) {
    kill(server.pid, SIGKILL);
    waitpid(server.pid, NULL, 0);
    server.pid = 0;
  }
}

static void fail(const char *what) {
  int status = 0;
  const int ended = server.pid > 0 && waitpid(server.pid, &status, WNOHANG) == server.pid;
  fprintf(stderr, "%s server, %lu connections: %s", server.name, opened, what);
  if (ended) {
    server.pid = 0;
    fprintf(stderr, WIFSIGNALED(status) ? "; it was killed by signal %d" : "; it exited with %d",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  }
  fputc('\n', stderr);
  stop_server();
  exit(1);
}

static void use_cpu(const cpu_set_t *usable, int last) {
  int cpu = last ? CPU_SETSIZE - 1 : 0;
  while (!CPU_ISSET(cpu, usable)) {
    cpu += last ? -1 : 1;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (sched_setaffinity(0, sizeof(one), &one) != 0) {
    bench_fail("sched_setaffinity", errno);
  }
}

static void start_server(const char *name, const char *directory, const cpu_set_t *pin_within) {
  char path[PATH_MAX], line[32];
  snprintf(path, sizeof(path), "%s/bench_echo_%s", directory, name);
  int out[2];
  if (pipe(out) != 0) {
    bench_fail("pipe", errno);
  }
  server = (struct server){.name = name, .pid = fork()};
  if (server.pid < 0) {
    bench_fail("fork", errno);
  }
  if (server.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out[1], 1);
    close(out[0]);
    close(out[1]);
    if (pin_within != NULL) {
      use_cpu(pin_within, 1);
    }
    const char *preload = getenv("BENCH_PRELOAD");
    if (preload != NULL && *preload != '\0') {
      setenv("LD_PRELOAD", preload, 1);
    }
    execl(path, path, (char *)NULL);
    bench_fail(path, errno);
  }
  close(out[1]);
  const ssize_t got = read(out[0], line, sizeof(line) - 1);
  close(out[0]);
  line[got > 0 ? got : 0] = '\0';
  server.port = (unsigned)strtoul(line, NULL, 10);
  if (server.port == 0) {
    usleep(100000);  // for its own words to come first
    fail("told no port");
  }
  bench_check("clock_getcpuclockid", clock_getcpuclockid(server.pid, &server.cpu_clock));
}

static uint64_t server_cpu_ns(void) {
  struct timespec used;
  if (clock_gettime(server.cpu_clock, &used) != 0) {
    fail("it is gone");
  }
  return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void send_message(int fd) {
  static const char message[ECHO_BYTES] = "an echo of sixty-four bytes";
  connections[fd].sent_at = bench_now_ns();
  connections[fd].received = 0;
  if (send(fd, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message)) {
    fail("a message could not be sent");
  }
}

static void open_connection(void) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    bench_fail("socket", errno);
  }
  // A port of its own for each connection: one source address has some 28,000.
  const int on = 1;
  const struct linger reset = {1, 0};  // no TIME_WAIT: the next server needs the ports
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  struct sockaddr_in from = {
      .sin_family = AF_INET,
      .sin_addr.s_addr = htonl((uint32_t)(INADDR_LOOPBACK + opened / PORTS_PER_ADDRESS))};
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)server.port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
      connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
    bench_fail("connect", errno);
  }
  echo_set_nodelay(fd);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    bench_fail("epoll_ctl", errno);
  }
  descriptors[opened++] = fd;
}

// Takes what has come on a connection; true when the answer is complete.
static int receive(int fd) {
  char buffer[ECHO_BYTES];
  struct connection *connection = &connections[fd];
  const ssize_t got = recv(fd, buffer, sizeof(buffer) - connection->received, 0);
  if (got < 0 && errno == EAGAIN) {
    return 0;
  }
  if (got <= 0) {
    fail("it closed a connection");
  }
  connection->received += (unsigned)got;
  return connection->received == ECHO_BYTES;
}

// Handles a batch of answers: sends the next message on each if `go_on`. Returns their number.
static unsigned long handle_batch(int go_on) {
  struct epoll_event events[BATCH];
  const int ready = epoll_wait(epoll, events, BATCH, STALL_MS);
  if (ready < 0) {
    bench_fail("epoll_wait", errno);
  }
  if (ready == 0) {
    fail("no answer on any connection for ten seconds");
  }
  unsigned long answers = 0;
  for (int i = 0; i < ready; i++) {
    const int fd = events[i].data.fd;
    if (!receive(fd)) {
      continue;
    }
    histogram_add(&latencies, bench_now_ns() - connections[fd].sent_at);
    answers++;
    if (go_on) {
      send_message(fd);
    }
  }
  return answers;
}

// In batches that have been answered before the next begins: the backlog is never full.
static void open_connections(unsigned long wanted) {
  const uint64_t end = bench_now_ns() + CONNECT_SECONDS * 1000000000ull;
  while (opened < wanted) {
    const unsigned long first = opened;
    while (opened < wanted && opened < first + CONNECT_BATCH) {
      open_connection();
    }
    for (unsigned long i = first; i < opened; i++) {
      send_message(descriptors[i]);
    }
    for (unsigned long answered = 0; answered < opened - first;) {
      answered += handle_batch(0);
      if (bench_now_ns() > end) {
        fail("not all are served after twenty seconds");
      }
    }
  }
}

static unsigned long load_until(uint64_t end) {
  unsigned long answers = 0;
  while (bench_now_ns() < end) {
    answers += handle_batch(1);
  }
  return answers;
}

static double latency_us(double part) { return (double)histogram_at(&latencies, part) / 1e3; }

static void measure(unsigned long wanted, uint64_t duration_ns) {
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    bench_fail("epoll_create1", errno);
  }
  open_connections(wanted);
  for (unsigned long i = 0; i < opened; i++) {
    send_message(descriptors[i]);
  }
  load_until(bench_now_ns() + duration_ns / 4);

  histogram_clear(&latencies);
  const uint64_t start = bench_now_ns(), cpu_start = server_cpu_ns();
  const unsigned long answers = load_until(start + duration_ns);
  const uint64_t cpu = server_cpu_ns() - cpu_start, wall = bench_now_ns() - start;
  if (answers == 0) {
    fail("no answer in the time of the measurement");
  }
  printf(
      ",\"%s_us\":%.3f,\"%s_per_s\":%.0f,\"%s_p50_us\":%.0f,\"%s_p99_us\":%.0f,"
      "\"%s_p999_us\":%.0f",
      server.name, (double)cpu / 1e3 / (double)answers, server.name,
      (double)answers * 1e9 / (double)wall, server.name, latency_us(0.5), server.name,
      latency_us(0.99), server.name, latency_us(0.999));

  stop_server();
  for (unsigned long i = 0; i < opened; i++) {
    close(descriptors[i]);
  }
  opened = 0;
  close(epoll);
}

static void allow_descriptors(unsigned long wanted) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) {
    return;
  }
  limit.rlim_cur = wanted;
  if (limit.rlim_max < wanted) {
    limit.rlim_max = wanted;
  }
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    fprintf(stderr, "%lu open files are not allowed: raise ulimit -n\n", wanted);
    exit(1);
  }
}

int main(int argc, char **argv) {
  const unsigned long wanted = bench_count(argc, argv, 1, 1000, 1);
  const unsigned long duration_ms = bench_count(argc, argv, 2, 2000, 1);
  if (argc < 5) {
    fprintf(stderr, "usage: bench_echo CONNECTIONS MILLISECONDS apart|together SERVER...\n");
    return 1;
  }
  const int apart = strcmp(argv[3], "apart") == 0;
  const unsigned long most_descriptors = wanted + 64;
  allow_descriptors(most_descriptors);
  connections = calloc(most_descriptors, sizeof(*connections));
  descriptors = calloc(wanted, sizeof(*descriptors));
  cpu_set_t usable;
  if (connections == NULL || descriptors == NULL ||
      sched_getaffinity(0, sizeof(usable), &usable) != 0) {
    bench_fail("start", errno);
  }
  if (apart) {
    use_cpu(&usable, 0);
  }
  char own_path[PATH_MAX];
  snprintf(own_path, sizeof(own_path), "%s", argv[0]);
  const char *directory = dirname(own_path);

  printf("{\"bench\":\"echo\",\"connections\":%lu", wanted);
  for (int i = 4; i < argc; i++) {
    fflush(stdout);  // before the fork
    start_server(argv[i], directory, apart ? &usable : NULL);
    measure(wanted, duration_ms * 1000000u);
  }
  printf("}\n");
  return 0;
}

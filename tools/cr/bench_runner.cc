// Spawning, watching and reaping the measured programs.
//
// posix_spawn, as a vfork, costs the same however large this process is. The child leads a process
// group of its own, so that a kill reaches the kernel threads or processes that a broken run may
// have left. Its end is seen on a pidfd: end of file on the pipes won't do, since an orphan may
// hold them open.
#include "bench_runner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

namespace cr::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

volatile sig_atomic_t g_interrupted = 0;
void note_interrupt(int) { g_interrupted = 1; }

constexpr size_t kMaxOutput = 1 << 20;  // of a child's stdout or stderr; more is read and dropped
constexpr milliseconds kReapPatience{10'000};  // for a killed child to go away

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  void reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

struct Pipe {
  Fd read_end, write_end;
  bool open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
    return true;
  }
};

class SpawnSettings {
 public:
  SpawnSettings(const Pipe& out, const Pipe& err, bool discard_stdout) {
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (discard_stdout) {
      posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    } else {
      posix_spawn_file_actions_adddup2(&actions, out.write_end.get(), 1);
    }
    posix_spawn_file_actions_adddup2(&actions, err.write_end.get(), 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& each : strings) result.push_back(const_cast<char*>(each.c_str()));
  result.push_back(nullptr);
  return result;
}

// Takes what the pipe holds now. False at end of file.
bool drain(int fd, std::string& into) {
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got > 0) {
      into.append(buffer.data(), std::min(static_cast<size_t>(got), kMaxOutput - into.size()));
    } else if (got == 0 || errno != EINTR) {
      return got < 0 && errno == EAGAIN;
    }
  }
}

enum class End { kExited, kTimedOut, kInterrupted };

// Reads the pipes until the process behind `pidfd` has ended.
End watch(int pidfd, int out_fd, int err_fd, Clock::time_point deadline, ChildResult& result,
          std::string& err) {
  std::array<pollfd, 3> fds{{{pidfd, POLLIN, 0}, {out_fd, POLLIN, 0}, {err_fd, POLLIN, 0}}};
  for (;;) {
    if (g_interrupted) return End::kInterrupted;
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return End::kTimedOut;
    // A second at most, for a signal that comes between the check above and the poll.
    if (poll(fds.data(), fds.size(), static_cast<int>(std::min<long>(left.count(), 1000))) < 0) {
      continue;
    }
    if (fds[1].revents != 0 && !drain(out_fd, result.out)) fds[1].fd = -1;
    if (fds[2].revents != 0 && !drain(err_fd, err)) fds[2].fd = -1;
    if (fds[0].revents != 0) return End::kExited;
  }
}

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of(" \n\r\t");
  if (end == std::string::npos) return "";
  const size_t newline = text.rfind('\n', end);
  const size_t start = newline == std::string::npos ? 0 : newline + 1;
  return text.substr(start, end + 1 - start);
}

std::string describe_status(int status, const std::string& err) {
  std::string text;
  if (WIFSIGNALED(status)) {
    const char* name = sigabbrev_np(WTERMSIG(status));
    text = name != nullptr ? std::string("killed by SIG") + name
                           : "killed by signal " + std::to_string(WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    text = "exit status " + std::to_string(WEXITSTATUS(status));
  } else {
    return "";
  }
  const std::string words = last_line(err);
  return words.empty() ? text : text + ": " + words;
}

double milliseconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
}

}  // namespace

ChildResult run_child(const ChildSpec& spec) {
  ChildResult result;
  Pipe out, err_pipe;
  if (!out.open() || !err_pipe.open()) {
    result.failure = std::string("no pipe: ") + strerror(errno);
    return result;
  }
  const SpawnSettings settings(out, err_pipe, spec.discard_stdout);
  const std::vector<char*> argv = pointers(spec.argv), environment = pointers(spec.environment);

  const Clock::time_point start = Clock::now();
  pid_t pid;
  const int error = posix_spawnp(&pid, argv[0], &settings.actions, &settings.attributes,
                                 argv.data(), environment.data());
  if (error != 0) {
    result.failure = spec.argv[0] + ": " + strerror(error);
    return result;
  }
  out.write_end.reset();
  err_pipe.write_end.reset();
  const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const Clock::time_point deadline = start + spec.timeout;
  std::string err;
  const End end =
      watch(pidfd.get(), out.read_end.get(), err_pipe.read_end.get(), deadline, result, err);
  if (end != End::kExited) {
    kill(-pid, SIGKILL);
    pollfd gone{pidfd.get(), POLLIN, 0};
    poll(&gone, 1, static_cast<int>(kReapPatience.count()));
  }

  int status = 0;
  rusage usage{};
  const pid_t reaped = wait4(pid, &status, end == End::kExited ? 0 : WNOHANG, &usage);
  result.wall_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  result.cpu_ms = milliseconds_of(usage.ru_utime) + milliseconds_of(usage.ru_stime);
  drain(out.read_end.get(), result.out);
  drain(err_pipe.read_end.get(), err);

  if (end == End::kTimedOut) {
    result.failure = "killed after " + std::to_string(spec.timeout.count()) + " s";
    if (reaped != pid) result.failure += ", and still not gone";
  } else if (end == End::kInterrupted) {
    result.failure = "interrupted";
  } else {
    result.failure = describe_status(status, err);
  }
  return result;
}

InterruptGuard::InterruptGuard() {
  struct sigaction action {};
  action.sa_handler = note_interrupt;  // no SA_RESTART: poll must return
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

bool interrupted() { return g_interrupted != 0; }

}  // namespace cr::bench

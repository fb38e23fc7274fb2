// Starting, timing and recording one run.
#include "trial.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include "environment.h"
#include "subcommand.h"

namespace cr::tool {
namespace {

[[noreturn]] void throw_errno(const std::string& what) {
  throw std::system_error(errno, std::system_category(), what);
}

void redirect(const std::string& path, int flags, int fd) {
  const int opened = open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (opened < 0 || dup2(opened, fd) < 0) _exit(kExitRunFailed);
}

[[noreturn]] void become(const TrialSetup& setup, const TrialResult& result) {
  setpgid(0, 0);
  redirect(setup.input, O_RDONLY, STDIN_FILENO);
  redirect(result.output_path, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
  redirect(result.error_path, O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
  if (setup.native) clear_libcr_environment();
  std::vector<char*> argv;
  for (const auto& argument : setup.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  _exit(errno == ENOENT ? kExitNoProgram : kExitNotRunnable);
}

// False if the process has not ended when the time is up.
bool wait_for_end(pid_t pid, std::chrono::milliseconds timeout) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) throw_errno("pidfd_open");
  struct pollfd watched {fd, POLLIN, 0};
  int ready;
  do {
    ready = poll(&watched, 1, static_cast<int>(timeout.count()));
  } while (ready < 0 && errno == EINTR);
  close(fd);
  return ready > 0;
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) {
    return "signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) + ")";
  }
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

TrialResult run_trial(const TrialSetup& setup) {
  const std::string stem = setup.directory + "/" + setup.label;
  TrialResult result{stem + ".out", stem + ".err", {}, false};
  const pid_t pid = fork();
  if (pid < 0) throw_errno("fork");
  if (pid == 0) become(setup, result);
  result.timed_out = !wait_for_end(pid, setup.timeout);
  // Only after a timeout: a program that ended may have left a daemon behind on purpose.
  if (result.timed_out) kill(-pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  result.end = result.timed_out ? "timed out" : describe_end(status);
  return result;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace cr::tool

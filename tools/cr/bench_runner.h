// Runs one child to its end and says how it went: its output, its times, or what killed it.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace cr::bench {

struct ChildSpec {
  std::vector<std::string> argv;         // argv[0] is looked up in PATH if it has no slash
  std::vector<std::string> environment;  // the whole environment, NAME=value
  std::chrono::seconds timeout;
  bool discard_stdout;
};

struct ChildResult {
  std::string failure;  // empty: it exited with status 0. Else a sentence, with its last words
  std::string out;
  double wall_ms = 0;  // from before the spawn to after the wait
  double cpu_ms = 0;   // user + system, of the child and its own children that it waited for
};

// Never blocks longer than the timeout and a little: a child that overstays is killed with its
// whole process group, and so is one that runs when the driver is interrupted.
ChildResult run_child(const ChildSpec& spec);

// From construction to destruction SIGINT and SIGTERM end the child that runs, not the driver,
// so that it can tidy up.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};
bool interrupted();

}  // namespace cr::bench

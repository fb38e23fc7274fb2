// One run of a program whose outcome can be compared with another's: output and end recorded.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace cr::tool {

struct TrialSetup {
  std::vector<std::string> argv;   // argv[0] is looked for in PATH
  std::string input;               // file for standard input
  std::string directory;           // where the outputs go
  std::string label;               // names the outputs: LABEL.out, LABEL.err
  std::chrono::milliseconds timeout;
  bool native;                     // without the preload and the LIBCR_ variables
};

struct TrialResult {
  std::string output_path;
  std::string error_path;
  std::string end;  // "exit status 3", "signal 11 (Segmentation fault)", "timed out"
  bool timed_out = false;
};

// Runs the program in a process group of its own and waits for it; after the timeout the whole
// group is killed. Throws std::system_error if it can't be started at all.
TrialResult run_trial(const TrialSetup& setup);

// A whole file.
std::string read_file(const std::string& path);

}  // namespace cr::tool

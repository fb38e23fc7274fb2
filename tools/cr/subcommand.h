// The seam between main.cc and the subcommands: what each cmd_*.cc hands over.
//
// A make_*() function adds its options to the CLI11 application and returns how to run it.
// Options are bound to storage that lives as long as `execute`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace cr::tool {

// Exit statuses that cr itself gives. For `run` they are those of env(1) and of shells.
inline constexpr int kExitUsage = 2;          // bad options, of any subcommand but run
inline constexpr int kExitRunFailed = 125;    // run: cr itself can't go on (options, libcr.so)
inline constexpr int kExitNotRunnable = 126;  // the program is there but can't be run
inline constexpr int kExitNoProgram = 127;    // there is no such program

struct Subcommand {
  CLI::App* app = nullptr;
  bool takes_program = false;  // "[--] PROGRAM [ARGS...]" follows the options
  int usage_status = kExitUsage;
  // Called with the program and its arguments, empty unless takes_program. Returns the exit status.
  std::function<int(const std::vector<std::string>& program)> execute;
};

Subcommand make_run(CLI::App& cr);
Subcommand make_doctor(CLI::App& cr);
Subcommand make_syscalls(CLI::App& cr);
Subcommand make_bench(CLI::App& cr);
Subcommand make_analyze(CLI::App& cr);
Subcommand make_diff(CLI::App& cr);
Subcommand make_backtrace(CLI::App& cr);

}  // namespace cr::tool

// `cr bench`: the numbers of libcr against native, on this machine, in this run.
//
// Each case is run natively and under the preload in alternating rounds, so that whatever else the
// machine does falls on both sides. Cases that are about one cpu are pinned to one, the driver
// with them. The results are printed as a table, or as JSON with every round, and compared to the
// targets of the project. A missed target is a result and not an error.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace cr::tool {

struct BenchOptions {
  bool json = false;              // a JSON array on stdout in place of the table
  bool quick = false;             // fewer rounds and operations: to see that everything runs
  bool progress = false;          // report progress on stderr even if it is no terminal
  int rounds = 0;                 // rounds a case; 0: what each case asks for
  std::vector<std::string> only;  // names of cases and groups; empty: all
  bool i386 = false;              // 32-bit programs
  std::optional<int> cpu;         // where to pin; default: the last cpu this process may use
  std::string bench_dir;  // the programs of tests/bench; empty: bench/ beside bin/cr's folder
  std::string preload;    // libcr.so, a plain path; empty: the one that goes with this cr
};

// Returns 0 when every row was measured or had to be skipped for lack of something that isn't
// libcr's (a program that isn't installed, a second cpu), 1 when a row could not be measured (a
// crash, a timeout, no preload), 2 for options that make no sense, 130 when interrupted.
int run_bench(const BenchOptions& options);

// The cases in the order of the table. `only` accepts these, and the groups base and async.
std::vector<std::string> bench_names(bool i386);

}  // namespace cr::tool

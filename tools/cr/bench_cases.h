// What is measured, and what it must reach: data only.
#pragma once

#include <string>
#include <vector>

namespace cr::bench {

enum class CaseKind {
  kProgram,  // a program of tests/bench, native and under the preload; prints JSON
  kServers,  // a program of tests/bench that starts others under the preload: $BENCH_PRELOAD has it
  kLinked,   // a program of tests/bench that links libcr: no native side, no preload
  kCommand,  // a program of the system; its times are the fields wall_ms and cpu_ms (user + sys)
};

// Which of the rounds' values stands for a side. The minimum for times: noise only adds. The
// median where the value is a difference, whose noise goes both ways.
enum class Pick { kMin, kMedian, kMax };

enum class TargetKind {
  kNone,            // reported for information
  kAtMost,          // libcr <= bound, and native / libcr >= factor if there is one
  kAtLeast,         // libcr >= bound
  kOverNative,      // median of (libcr - native) of paired rounds <= bound
  kOfNative,        // libcr / native <= bound, if the noise of the run lets one tell
  kTimesNative,     // libcr / native >= bound: of a rate
  kWhereNativeDoes  // libcr <= bound, unless native misses the bound too
};

struct Target {
  TargetKind kind = TargetKind::kNone;
  double bound = 0;
  double factor = 0;  // 0: none
};

struct Measure {
  std::string title;
  std::string field;  // of the program's JSON object
  std::string unit;
  Pick pick;
  Target target;
  bool ratio = true;  // false: the value is a difference, and native / libcr says nothing
  std::string native_field = {};  // native's, where libcr is set beside something else
};

struct Case {
  std::string name;
  std::string group;  // several cases at once for --only
  CaseKind kind;
  std::vector<std::string> argv;        // {scratch}, {bench} and {threads} are replaced
  std::vector<std::string> quick_argv;  // in place of argv with --quick; empty: the same
  bool pinned;                          // to one cpu, and LIBCR_CPUS=1
  int rounds;                           // unless --rounds says otherwise
  bool fixed_rounds;                    // --rounds doesn't count
  bool cold;                            // libcr with an empty cache directory for each round
  int timeout_s;                        // for each run of the program
  unsigned long threads;                // {threads}, cut down to the memory there is; 0: none
  int min_cpus;                         // skipped on fewer
  std::vector<Measure> measures;
  std::vector<std::string> libcr_argv = {};        // libcr's side; empty: as native's
  std::vector<std::string> libcr_quick_argv = {};  // the same with --quick
  bool small_tls = false;  // both sides with the tunables of cr run --small-tls
};

// Of 64-bit programs, or of 32-bit ones.
const std::vector<Case>& all_cases(bool i386);

// The cases about blocking calls that become messages: group `async`.
void append_async_cases(std::vector<Case>& cases);

// The table for 32-bit programs, made of the other.
std::vector<Case> make_i386_cases(const std::vector<Case>& others);

// The cases about sharing a cpu and about signals: group `posix`.
void append_posix_cases(std::vector<Case>& cases);

}  // namespace cr::bench

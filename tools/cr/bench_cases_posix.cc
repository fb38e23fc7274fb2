// The table of `cr bench`, group `posix`: how fairly threads that compute share a cpu, what wakes up
// in a process that needs nothing, and what signals between threads cost.
#include "bench_targets.h"

namespace cr::bench {
namespace {

constexpr double kSliceMs = 10;  // src/lwkt/slices.h

Case pinned_case(std::string name, int rounds, std::vector<std::string> argv,
                 std::vector<std::string> quick_argv, std::vector<Measure> measures) {
  return {.name = std::move(name),
          .group = "posix",
          .kind = CaseKind::kProgram,
          .argv = std::move(argv),
          .quick_argv = std::move(quick_argv),
          .pinned = true,
          .rounds = rounds,
          .fixed_rounds = false,
          .cold = false,
          .timeout_s = 60,
          .threads = 0,
          .min_cpus = 1,
          .measures = std::move(measures)};
}

}  // namespace

void append_posix_cases(std::vector<Case>& cases) {
  using enum Pick;
  cases.push_back(pinned_case(
      "fairness", 1, {"bench_fairness", "8", "10000"}, {"bench_fairness", "8", "1000"},
      {{"8 threads compute: a share off 12.5 %", "share_off", "%", kMax, at_most(1), false},
       {"  a sleeper among them: late, median", "late_p50_ms", "ms", kMedian, none, false},
       {"  latest", "late_max_ms", "ms", kMax, at_most(2 * kSliceMs), false}}));
  cases.push_back(pinned_case("ticks", 2, {"bench_ticks", "8", "2000"}, {"bench_ticks", "8", "200"},
                              {{"wake-ups in 2 s that nobody needs", "wakes", "", kMin, at_most(0), false}}));
  cases.push_back(pinned_case("sigmask", 5, {"bench_sigmask"}, {"bench_sigmask", "10000", "5"},
                              {{"pthread_sigmask", "ns_per_op", "ns", kMin, at_most(15)}}));
  cases.push_back(pinned_case(
      "signal_pingpong", 5, {"bench_signal_pingpong", "50000"}, {"bench_signal_pingpong", "5000"},
      {{"pthread_kill to the other's handler", "ns_per_op", "ns", kMin, of_native(1.0 / 3)}}));
}

}  // namespace cr::bench

// The table of `cr bench`: the cases about threads and calls, group `base`. Their targets are those
// of the project's main job; the rows without one are there to explain the others. Operation counts
// are set so that a native run takes about half a second, long against a scheduler tick and short
// against a reader's patience.
#include "bench_cases.h"

#include "bench_targets.h"

namespace cr::bench {
namespace {

constexpr int kRounds = 5;
constexpr int kTimeout = 60;

Case pinned_case(std::string name, CaseKind kind, std::vector<std::string> argv,
                 std::vector<std::string> quick_argv, std::vector<Measure> measures) {
  return {.name = std::move(name),
          .group = "base",
          .kind = kind,
          .argv = std::move(argv),
          .quick_argv = std::move(quick_argv),
          .pinned = true,
          .rounds = kRounds,
          .fixed_rounds = false,
          .cold = false,
          .timeout_s = kTimeout,
          .threads = 0,
          .min_cpus = 1,
          .measures = std::move(measures)};
}

std::vector<Case> make_cases() {
  using enum CaseKind;
  using enum Pick;
  std::vector<Case> cases;

  cases.push_back(
      pinned_case("pingpong", kProgram, {"bench_pingpong", "200000"}, {"bench_pingpong", "20000"},
                  {{"condition-variable hand-over", "ns_per_op", "ns", kMin, at_most(100, 35)}}));
  cases.push_back(pinned_case(
      "create_join", kProgram, {"bench_create_join", "20000"}, {"bench_create_join", "2000"},
      {{"pthread_create + join", "ns_per_op", "ns", kMin, at_most(400, 45)}}));
  cases.push_back(
      pinned_case("create_join_64k", kProgram, {"bench_create_join", "20000", "64"},
                  {"bench_create_join", "2000", "64"},
                  {{"pthread_create + join, 64 KB stack", "ns_per_op", "ns", kMin, none}}));
  cases.push_back(
      pinned_case("yield2", kProgram, {"bench_yield2", "200000"}, {"bench_yield2", "20000"},
                  {{"sched_yield between two threads", "ns_per_op", "ns", kMin, at_most(60)}}));
  cases.push_back(pinned_case("lwkt_switch", kLinked, {"bench_lwkt_switch", "10000000"},
                              {"bench_lwkt_switch", "1000000"},
                              {{"lwkt_switch, same TLS", "no_tls_ns", "ns", kMin, at_most(8)},
                               {"lwkt_switch, TLS change", "tls_ns", "ns", kMin, at_most(22)}}));
  cases.push_back(pinned_case(
      "lwkt_create", kLinked, {"bench_lwkt_create", "1000000"}, {"bench_lwkt_create", "100000"},
      {{"lwkt_create + exit + join", "ns_per_op", "ns", kMin, at_most(80)}}));

  Case parked =
      pinned_case("parked", kProgram, {"bench_parked", "{threads}"}, {},
                  {{"live parked threads", "reached", "", kMax, at_least(1'000'000)},
                   {"memory of a parked thread", "bytes_per_thread", "B", kMin, at_most(5 * 1024)},
                   {"  of it page tables", "page_table_bytes", "B", kMin, none},
                   {"creating each of them", "ns_per_op", "ns", kMin, none},
                   {"releasing and joining each", "release_join_ns", "ns", kMin, none}});
  parked.pinned = false;
  parked.rounds = 1;
  parked.fixed_rounds = true;
  parked.timeout_s = 300;
  parked.threads = 1'000'000;
  cases.push_back(parked);

  cases.push_back(pinned_case(
      "create10k", kProgram, {"bench_parked", "10000"}, {},
      {{"creating 10,000 parked threads, each", "ns_per_op", "ns", kMin, at_most(2000)}}));

  // The same two with cr run --small-tls, natively too: what the option gains, beside its cost.
  parked.name = "parked_small_tls";
  parked.small_tls = true;
  parked.measures = {
      {"memory of a parked thread, --small-tls", "bytes_per_thread", "B", kMin, none},
      {"  creating each of them", "ns_per_op", "ns", kMin, none}};
  cases.push_back(parked);
  Case small = pinned_case(
      "create10k_small_tls", kProgram, {"bench_parked", "10000"}, {},
      {{"creating 10,000, each, --small-tls", "ns_per_op", "ns", kMin, none}});
  small.small_tls = true;
  cases.push_back(small);
  cases.push_back(pinned_case(
      "getppid", kProgram, {"bench_getppid", "20000", "50"}, {"bench_getppid", "20000", "5"},
      {{"getppid, bare trap", "raw_ns", "ns", kMin, none},
       {"  libc's site, over the bare trap", "site_over_raw_ns", "ns", kMedian, at_most(12), false},
       {"  exported wrapper, over the bare trap", "wrapper_over_raw_ns", "ns", kMedian, at_most(6),
        false}}));

  Case startup =
      pinned_case("startup", kCommand, {"true"}, {},
                  {{"start of /bin/true, warm cache", "wall_ms", "ms", kMedian, over_native(1.0)}});
  startup.rounds = 200;
  startup.timeout_s = 10;
  cases.push_back(startup);
  cases.push_back(pinned_case("fork", kProgram, {"bench_fork", "2000"}, {"bench_fork", "200"},
                              {{"fork + exit + wait", "ns_per_op", "ns", kMin, none}}));
  Case cold = pinned_case(
      "startup_cold", kCommand, {"true"}, {},
      {{"start of /bin/true, empty cache", "wall_ms", "ms", kMedian, over_native(150)}});
  cold.rounds = 1;
  cold.fixed_rounds = true;
  cold.cold = true;
  cases.push_back(cold);

  // A bound of 1 % asks for many rounds: the loop takes one cycle more or less (4 %) from process
  // to process, as its memory happens to lie, and only the best layout of each side can be
  // compared.
  Case mutex = pinned_case(
      "mutex", kProgram, {"bench_mutex_uncontended", "1000000", "10"},
      {"bench_mutex_uncontended", "1000000", "2"},
      {{"mutex pair, single-threaded", "single_ns", "ns", kMin, of_native(1.01)},
       {"mutex pair, a parked thread besides", "parked_ns", "ns", kMin, of_native(1.01)}});
  mutex.rounds = 24;
  cases.push_back(mutex);
  Case xz = pinned_case("xz", kCommand, {"xz", "-T1", "-6", "-k", "-c", "{scratch}/words"},
                        {"xz", "-T1", "-0", "-k", "-c", "{scratch}/words"},
                        {{"xz -T1 of 8 MB, cpu time", "cpu_ms", "ms", kMin, of_native(1.01)},
                         {"xz -T1 of 8 MB, wall time", "wall_ms", "ms", kMin, none}});
  xz.rounds = 6;
  cases.push_back(xz);
  Case sqlite = pinned_case(
      "sqlite3", kCommand, {"sqlite3", "-batch", ":memory:", ".read {scratch}/script"}, {},
      {{"sqlite3 on a script, cpu time", "cpu_ms", "ms", kMin, of_native(1.01)},
       {"sqlite3 on a script, wall time", "wall_ms", "ms", kMin, none}});
  sqlite.rounds = 24;
  cases.push_back(sqlite);

  Case scale2 = pinned_case(
      "scale2", kProgram, {"bench_scale2", "100"}, {"bench_scale2", "30"},
      {{"2 threads' time over 1 thread's", "ratio", "", kMin, where_native_does(0.55)}});
  scale2.pinned = false;
  scale2.rounds = 3;
  scale2.min_cpus = 2;
  cases.push_back(scale2);
  append_async_cases(cases);
  append_posix_cases(cases);
  return cases;
}

}  // namespace

const std::vector<Case>& all_cases(bool i386) {
  static const std::vector<Case> cases = make_cases();
  static const std::vector<Case> cases_i386 = make_i386_cases(cases);
  return i386 ? cases_i386 : cases;
}

}  // namespace cr::bench

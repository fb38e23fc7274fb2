// The table of `cr bench`, group `async`: what blocking calls cost that become asynchronous
// messages. The echo servers run with a cpu of their own and their load generator with another. One
// run measures all of them, so that what is compared was taken within seconds: the
// thread-per-connection server on libcr stands beside itself and, natively, beside what one writes
// by hand.
#include "bench_targets.h"

namespace cr::bench {
namespace {

// Four: what is decided by a bound of native needs them (bench_rows).
constexpr int kRounds = 4;

std::vector<std::string> echo_argv(const std::string& connections, const std::string& milliseconds,
                                   const std::vector<std::string>& rest) {
  std::vector<std::string> argv = {"bench_echo", connections, milliseconds};
  argv.insert(argv.end(), rest.begin(), rest.end());
  return argv;
}

Case echo_case(std::string name, const std::string& connections,
               const std::vector<std::string>& native, const std::vector<std::string>& libcr,
               std::vector<Measure> measures) {
  return {.name = std::move(name),
          .group = "async",
          .kind = CaseKind::kServers,
          .argv = echo_argv(connections, "1500", native),
          .quick_argv = echo_argv(connections, "200", native),
          .pinned = false,
          .rounds = kRounds,
          .fixed_rounds = false,
          .cold = false,
          .timeout_s = 120,
          .threads = 0,
          .min_cpus = 2,
          .measures = std::move(measures),
          .libcr_argv = echo_argv(connections, "1500", libcr),
          .libcr_quick_argv = echo_argv(connections, "200", libcr)};
}

Case apart_case(std::string name, const std::string& connections, const std::string& title) {
  using enum Pick;
  const std::string threads = "threads_us";
  return echo_case(
      std::move(name), connections, {"apart", "threads", "epoll", "uring", "multishot"},
      {"apart", "threads", "epoll"},
      {{"echo, " + title + ", thread for each: cpu", threads, "us", kMin, of_native(0.5)},
       {"  beside epoll by hand", threads, "us", kMin, of_native(1), true, "epoll_us"},
       {"  beside io_uring by hand", threads, "us", kMin, none, true, "uring_us"},
       {"  beside io_uring multishot", threads, "us", kMin, none, true, "multishot_us"},
       {"  99th percentile of the latency", "threads_p99_us", "us", kMedian, of_native(1)},
       {"  epoll by hand, on libcr: cpu", "epoll_us", "us", kMin, of_native(1.05)}});
}

Case pinned_case(std::string name, std::vector<std::string> argv,
                 std::vector<std::string> quick_argv, std::vector<Measure> measures) {
  return {.name = std::move(name),
          .group = "async",
          .kind = CaseKind::kProgram,
          .argv = std::move(argv),
          .quick_argv = std::move(quick_argv),
          .pinned = true,
          .rounds = kRounds,
          .fixed_rounds = false,
          .cold = false,
          .timeout_s = 60,
          .threads = 0,
          .min_cpus = 1,
          .measures = std::move(measures)};
}

}  // namespace

void append_async_cases(std::vector<Case>& cases) {
  using enum Pick;
  cases.push_back(apart_case("echo_1k", "1000", "1,000 connections"));
  cases.push_back(apart_case("echo_10k", "10000", "10,000 connections"));
  cases.push_back(echo_case(
      "echo_10k_2cpus", "10000", {"together", "threads"}, {"together", "threads"},
      {{"echoes a second, 10,000, both cpus", "threads_per_s", "", kMax, times_native(1.5)}}));
  cases.push_back(echo_case(
      "echo_busy", "10", {"apart", "busy"}, {"apart", "busy"},
      {{"echoes a second, 10, beside two that compute", "busy_per_s", "", kMax, times_native(1)},
       {"  99th percentile of the latency", "busy_p99_us", "us", kMedian, of_native(1)}}));
  cases.push_back(
      pinned_case("fsync_busy", {"bench_fsync_busy", "{scratch}"}, {"bench_fsync_busy", "{scratch}", "8", "10"},
                  {{"fsyncs a second, 8 threads beside one that computes", "syncs_per_s", "", kMax, times_native(1)}}));
  cases.push_back(
      pinned_case("copy4k", {"bench_copy4k", "{scratch}"}, {"bench_copy4k", "{scratch}", "4", "5"},
                  {{"copy 4 KB, cached, alone: cpu", "alone_ns", "ns", kMin, of_native(1.03)},
                   {"  while another thread waits", "parked_ns", "ns", kMin, of_native(1.03)}}));
  cases.push_back(pinned_case(
      "randread", {"bench_randread", "{scratch}/blocks", "64", "1024", "2000"},
      {"bench_randread", "{scratch}/blocks", "64", "128", "500"},
      {{"4 KB reads a second, 64 threads, uncached", "reads_per_s", "", kMax, times_native(1)},
       {"  cpu for each", "cpu_us", "us", kMin, none},
       {"  longest gap of another thread", "gap_ms", "ms", kMedian, none}}));
  cases.push_back(pinned_case(
      "sleepers", {"bench_sleepers", "10000", "100", "2000"},
      {"bench_sleepers", "10000", "100", "300"},
      {{"10,000 threads in nanosleep, cpu a wake", "cpu_us", "us", kMin, of_native(0.1)},
       {"  99th percentile of the lateness", "late_p99_us", "us", kMedian, none},
       {"  latest, beside native's percentile", "late_max_us", "us", kMedian, of_native(1), true,
        "late_p99_us"}}));
  Case sent = pinned_case("sent", {"bench_in_flight", "64", "2000"}, {"bench_in_flight", "64", "200"},
                          {{"64 reads in flight, threads natively: each", "ns_per_op", "ns", kMin, none}});
  sent.libcr_argv = {"bench_sent", "64", "2000"};
  sent.libcr_quick_argv = {"bench_sent", "64", "200"};
  cases.push_back(std::move(sent));
}

}  // namespace cr::bench

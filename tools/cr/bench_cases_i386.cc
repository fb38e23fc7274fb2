// The table of `cr bench --arch i386`: the other table's cases, by programs of tests/bench that were built
// as 32-bit ones, with the targets of the project's job for i386. What that job says nothing of has none in
// group `base`; blocking calls, fairness and signals have the other table's. Left out: commands of the
// system, which are 64-bit programs, servers with liburing, which is a 64-bit library, and what would
// be measured with --small-tls.
#include "bench_cases.h"

#include <algorithm>

#include "bench_targets.h"

namespace cr::bench {
namespace {

struct Goal {
  const char* name;   // of the case
  const char* field;  // of its measure
  Target target;
};

constexpr Goal kGoals[] = {
    {"pingpong", "ns_per_op", at_most(200, 20)},
    {"create_join", "ns_per_op", at_most(1000)},
    {"getppid", "site_over_raw_ns", at_most(15)},
    {"getppid", "wrapper_over_raw_ns", at_most(15)},
    {"parked", "reached", at_least(60'000)},
};

Target goal_of(const Case& test, const Measure& measure) {
  for (const Goal& goal : kGoals) {
    if (test.name == goal.name && measure.field == goal.field) return goal.target;
  }
  return none;
}

// A start is measured on a program that is there.
bool use_own_program(Case& test) {
  if (test.argv != std::vector<std::string>{"true"}) return false;
  test.argv = {"{bench}/bench_maps"};
  for (Measure& measure : test.measures) {
    measure.title.replace(measure.title.find("/bin/true"), sizeof "/bin/true" - 1, "a program");
  }
  return true;
}

bool by_liburing(const std::string& server) { return server == "uring" || server == "multishot"; }

void leave_out_liburing(Case& test) {
  for (auto* argv : {&test.argv, &test.quick_argv}) std::erase_if(*argv, by_liburing);
  std::erase_if(test.measures, [](const Measure& measure) {
    return by_liburing(measure.native_field.substr(0, measure.native_field.find('_')));
  });
}

}  // namespace

std::vector<Case> make_i386_cases(const std::vector<Case>& others) {
  std::vector<Case> cases;
  for (Case test : others) {
    if (test.small_tls) continue;
    if (test.kind == CaseKind::kCommand && !use_own_program(test)) continue;
    if (test.group == "base") {
      for (Measure& measure : test.measures) measure.target = goal_of(test, measure);
    }
    leave_out_liburing(test);
    if (test.name == "parked") {
      test.argv = {"bench_parked", "{threads}", "16"};
      test.threads = 60'000;
      test.measures[0].title += ", 16 KB stacks";
    }
    cases.push_back(test);
  }
  return cases;
}

}  // namespace cr::bench

// The table of `cr bench --arch i386`: the other table's cases, by programs of tests/bench that were built
// as 32-bit ones, with the targets of the project's job for i386. What that job says nothing of has none in
// group `base`; blocking calls, fairness and signals have the other table's. Left out: commands of the
// system, which are 64-bit programs, and what they would measure with --small-tls.
#include "bench_cases.h"
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

}  // namespace

std::vector<Case> make_i386_cases(const std::vector<Case>& others) {
  std::vector<Case> cases;
  for (Case test : others) {
    if (test.small_tls) continue;
    if (test.kind == CaseKind::kCommand && !use_own_program(test)) continue;
    if (test.group == "base") {
      for (Measure& measure : test.measures) measure.target = goal_of(test, measure);
    }
    if (test.name == "getppid") test.measures.pop_back();  // no wrapper is exported
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

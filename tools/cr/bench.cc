// The run of `cr bench` from its options to its table: which cases, with what, then one after
// another. What a case is: bench_cases. How its rounds run: bench_rounds, and their child
// processes: bench_runner. What they come to: bench_rows.
#include "bench.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <stdexcept>

#include "bench_cases.h"
#include "bench_inputs.h"
#include "bench_machine.h"
#include "bench_report.h"
#include "bench_rounds.h"
#include "bench_rows.h"
#include "bench_runner.h"
#include "prefix.h"

namespace cr::tool {
namespace {

using namespace bench;

constexpr int kOk = 0, kNotMeasured = 1, kBadOptions = 2, kInterrupted = 130;

// On a terminal one line that is written over; else a line when a case begins.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted) : terminal_(isatty(2) != 0), on_(wanted || terminal_) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void begin_case(size_t number, size_t cases, const std::string& name) {
    prefix_ = "[" + std::to_string(number) + "/" + std::to_string(cases) + "] " + name;
    if (on_ && !terminal_) std::cerr << prefix_ << std::endl;
  }
  void show(int round, int rounds, const char* side) const {
    if (!on_ || !terminal_) return;
    std::cerr << "\r\033[K" << prefix_ << ": ";
    if (round > 0) {
      std::cerr << "round " << round << " of " << rounds;
    } else {
      std::cerr << "warm-up";
    }
    std::cerr << ", " << side << std::flush;
  }
  void clear() const {
    if (on_ && terminal_) std::cerr << "\r\033[K" << std::flush;
  }

 private:
  bool terminal_, on_;
  std::string prefix_;
};

bool fail(const std::string& text) {
  std::cerr << "cr bench: " << text << '\n';
  return false;
}

std::vector<const Case*> chosen_cases(bool i386, const std::vector<std::string>& only) {
  std::vector<const Case*> chosen;
  for (const Case& each : all_cases(i386)) {
    const auto is_wanted = [&](const std::string& wanted) {
      return wanted == each.name || wanted == each.group;
    };
    if (only.empty() || std::any_of(only.begin(), only.end(), is_wanted)) chosen.push_back(&each);
  }
  return chosen;
}

bool check_options(const BenchOptions& options) {
  for (const std::string& wanted : options.only) {
    if (!chosen_cases(options.i386, {wanted}).empty()) continue;
    std::string known;
    for (const std::string& name : bench_names(options.i386)) known += " " + name;
    return fail("no benchmark is called '" + wanted + "'. There are:" + known);
  }
  if (options.cpu && !is_usable(*options.cpu)) {
    return fail("cpu " + std::to_string(*options.cpu) + " is not one that this process may use");
  }
  if (options.rounds < 0) return fail("the number of rounds can't be negative");
  return true;
}

Setting make_setting(const BenchOptions& options, const ScratchDir& scratch) {
  const Prefix prefix = find_prefix();
  Setting setting{
      .bench_dir = (options.bench_dir.empty() ? prefix.root + "/bench" : options.bench_dir) +
                   (options.i386 ? "/i386" : ""),
      .preload = !options.preload.empty() ? std::filesystem::absolute(options.preload).string()
                 : options.i386           ? prefix.preload_i386()
                                          : prefix.preload(),
      .preload_fault = "",
      .scratch = scratch.path().string(),
      .pin_cpu = options.cpu.value_or(last_usable_cpu()),
      .cpus = usable_cpus(),
      .rounds = options.rounds,
      .quick = options.quick};
  const std::string shows_maps = setting.bench_dir + "/bench_maps";
  setting.preload_fault = find_preload_fault(
      setting.preload, options.i386 ? std::vector{shows_maps} : std::vector<std::string>{"cat", "/proc/self/maps"});
  if (!setting.preload_fault.empty()) fail(setting.preload_fault + "; measuring native alone");
  return setting;
}

bool all_measured(const std::vector<Row>& rows) {
  return std::none_of(rows.begin(), rows.end(), [](const Row& row) {
    return row.native.outcome == Outcome::kFailed || row.libcr.outcome == Outcome::kFailed;
  });
}

int run_cases(const BenchOptions& options) {
  const InterruptGuard guard;
  const ScratchDir scratch;
  // In memory: a disk's completions are charged to whoever runs just then, up to 5 % of the run.
  const ScratchDir memory(memory_directory());
  const Setting setting = make_setting(options, scratch);
  const RunInfo run{describe_machine(), setting.pin_cpu, options.quick};
  write_words(scratch.path());
  write_sqlite_script(scratch.path(), memory.path() / "database");

  std::vector<Row> rows;
  {
    ProgressLine line(options.progress);
    const std::vector<const Case*> cases = chosen_cases(options.i386, options.only);
    for (size_t i = 0; i < cases.size() && !interrupted(); i++) {
      line.begin_case(i + 1, cases.size(), cases[i]->name);
      const BothSeries both = run_rounds(
          *cases[i], setting,
          [&](int round, int rounds, const char* side) { line.show(round, rounds, side); });
      const std::vector<Row> more = make_rows(*cases[i], both);
      rows.insert(rows.end(), more.begin(), more.end());
    }
  }
  if (interrupted()) {
    fail("interrupted");
    return kInterrupted;
  }
  if (options.json) {
    print_json(std::cout, rows, run);
  } else {
    print_table(std::cout, rows, run);
  }
  return all_measured(rows) ? kOk : kNotMeasured;
}

}  // namespace

int run_bench(const BenchOptions& options) {
  if (!check_options(options)) return kBadOptions;
  try {
    return run_cases(options);
  } catch (const std::exception& error) {
    fail(error.what());
    return kNotMeasured;
  }
}

std::vector<std::string> bench_names(bool i386) {
  std::vector<std::string> names;
  for (const Case& each : all_cases(i386)) names.push_back(each.name);
  return names;
}

}  // namespace cr::tool

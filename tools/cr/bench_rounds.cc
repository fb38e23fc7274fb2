// Each round runs both sides, one after the other, pinned cases on one cpu. Every second
// round begins with the other side, so that a drift of the machine's speed falls on both. A command
// gets one unmeasured run on each side first, which warms the page cache and, under libcr, the
// site cache. A side that fails once is given up for that case; the other goes on.
#include "bench_rounds.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "bench_inputs.h"
#include "bench_json.h"
#include "bench_machine.h"
#include "bench_runner.h"
#include "environment.h"

namespace cr::bench {
namespace {

enum class Side { kNative, kLibcr };

constexpr int kQuickRounds = 2;
constexpr int kQuickDivisor = 10;  // of a case that asks for many rounds

// What a parked thread may take, from the memory's point of view. Natively: two pages of stack and
// TLS, 16 KB of kernel stack, the task structure, the mappings. Under libcr: three times the
// target.
constexpr unsigned long kNativeThreadBytes = 40ul * 1024;
constexpr unsigned long kLibcrThreadBytes = 15ul * 1024;

void stop(Series& series, Outcome how, std::string why) {
  series.outcome = how;
  series.why = std::move(why);
  series.readings.clear();
}

void replace_all(std::string& text, const std::string& what, const std::string& with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
}

unsigned long threads_that_fit(unsigned long wanted, Side side) {
  const unsigned long each = side == Side::kNative ? kNativeThreadBytes : kLibcrThreadBytes;
  return std::clamp(available_memory() / 4 * 3 / each, 1ul, wanted);
}

// The environment without a preload and, for libcr's side, with its own. The user's other LIBCR_
// variables stay, so that a setting can be measured.
std::vector<std::string> make_environment(const Case& test, Side side, const Setting& setting,
                                          const std::string& cache) {
  std::vector<std::string> result;
  std::string tunables;
  const bool pin = side == Side::kLibcr && test.pinned;
  for (char** entry = environ; *entry != nullptr; entry++) {
    const std::string text = *entry;
    if (text.starts_with("LD_PRELOAD=") || (pin && text.starts_with("LIBCR_CPUS=")) ||
        text.starts_with("BENCH_PRELOAD=") ||
        (!cache.empty() && text.starts_with("LIBCR_CACHE="))) {
      continue;
    }
    if (test.small_tls && text.starts_with("GLIBC_TUNABLES=")) {
      tunables = text.substr(text.find('=') + 1);
      continue;
    }
    result.push_back(text);
  }
  if (test.small_tls) result.push_back("GLIBC_TUNABLES=" + tool::with_small_tls(tunables));
  if (side == Side::kLibcr && test.kind != CaseKind::kLinked) {
    const char* name = test.kind == CaseKind::kServers ? "BENCH_PRELOAD=" : "LD_PRELOAD=";
    result.push_back(name + setting.preload);
  }
  if (pin) result.push_back("LIBCR_CPUS=1");
  if (!cache.empty()) result.push_back("LIBCR_CACHE=" + cache);
  return result;
}

std::vector<std::string> make_argv(const Case& test, Side side, const Setting& setting) {
  const bool quick = setting.quick && !test.quick_argv.empty();
  std::vector<std::string> argv = quick ? test.quick_argv : test.argv;
  if (side == Side::kLibcr && !test.libcr_argv.empty()) {
    argv = quick ? test.libcr_quick_argv : test.libcr_argv;
  }
  for (std::string& argument : argv) {
    replace_all(argument, "{scratch}", setting.scratch);
    replace_all(argument, "{bench}", setting.bench_dir);
    if (test.threads != 0) {
      replace_all(argument, "{threads}", std::to_string(threads_that_fit(test.threads, side)));
    }
  }
  if (test.kind != CaseKind::kCommand) argv[0] = setting.bench_dir + "/" + argv[0];
  return argv;
}

// True if `name` is an executable, here or (without a slash) in PATH.
bool is_executable(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0;
  const char* path = getenv("PATH");
  const std::string list = path != nullptr ? path : "/usr/bin:/bin";
  for (size_t start = 0; start <= list.size();) {
    const size_t end = std::min(list.find(':', start), list.size());
    if (access((list.substr(start, end - start) + "/" + name).c_str(), X_OK) == 0) return true;
    start = end + 1;
  }
  return false;
}

// Why neither side can be run, as a series that never starts.
Series check_case(const Case& test, const Setting& setting, const std::string& program) {
  Series series;
  if (setting.cpus < test.min_cpus) {
    stop(series, Outcome::kSkipped, "needs " + std::to_string(test.min_cpus) + " cpus");
  } else if (!is_executable(program)) {
    if (test.kind == CaseKind::kProgram || test.kind == CaseKind::kServers) {
      stop(series, Outcome::kFailed, "no " + program + ": build the benchmark programs");
    } else if (test.kind == CaseKind::kLinked) {
      stop(series, Outcome::kSkipped, "no " + program);
    } else {
      stop(series, Outcome::kSkipped, program + " is not installed");
    }
  }
  return series;
}

void run_once(const Case& test, Side side, const Setting& setting, Series& series) {
  std::unique_ptr<ScratchDir> cache;
  if (test.cold && side == Side::kLibcr) cache = std::make_unique<ScratchDir>();
  const ChildResult run = run_child(
      {.argv = make_argv(test, side, setting),
       .environment = make_environment(test, side, setting, cache ? cache->path().string() : ""),
       .timeout = std::chrono::seconds(test.timeout_s),
       .discard_stdout = test.kind == CaseKind::kCommand});
  if (!run.failure.empty()) return stop(series, Outcome::kFailed, run.failure);

  Reading reading;
  if (test.kind == CaseKind::kCommand) {
    reading.fields["wall_ms"] = json_number(run.wall_ms);
    reading.fields["cpu_ms"] = json_number(run.cpu_ms);
  } else {
    const auto fields = parse_flat_object(run.out);
    if (!fields) return stop(series, Outcome::kFailed, "printed no JSON object");
    reading.fields = *fields;
    reading.report = run.out.substr(0, run.out.find_last_not_of(" \t\r\n") + 1);
  }
  series.readings.push_back(std::move(reading));
}

int rounds_of(const Case& test, const Setting& setting) {
  if (test.fixed_rounds) return test.rounds;
  if (setting.rounds != 0) return setting.rounds;
  return setting.quick ? std::max(kQuickRounds, test.rounds / kQuickDivisor) : test.rounds;
}

}  // namespace

BothSeries run_rounds(const Case& test, const Setting& setting, const Progress& progress) {
  BothSeries both;
  both.native = both.libcr = check_case(test, setting, make_argv(test, Side::kNative, setting)[0]);
  if (test.kind == CaseKind::kLinked) {
    stop(both.native, Outcome::kAbsent, "");
  } else if (both.libcr.outcome == Outcome::kMeasured && !setting.preload_fault.empty()) {
    stop(both.libcr, Outcome::kFailed, setting.preload_fault);
  }

  std::optional<CpuPin> pin;
  if (test.pinned) pin.emplace(setting.pin_cpu);
  const int rounds = rounds_of(test, setting);
  const int warm_ups = test.kind == CaseKind::kCommand && !test.cold ? 1 : 0;
  for (int round = 1 - warm_ups; round <= rounds; round++) {
    const bool libcr_first = round % 2 == 0;
    for (const Side side :
         {libcr_first ? Side::kLibcr : Side::kNative, libcr_first ? Side::kNative : Side::kLibcr}) {
      Series& series = side == Side::kNative ? both.native : both.libcr;
      if (series.outcome != Outcome::kMeasured || interrupted()) continue;
      progress(round, rounds, side == Side::kNative ? "native" : "libcr");
      run_once(test, side, setting, series);
    }
    if (round == 0) {  // the warm-up
      both.native.readings.clear();
      both.libcr.readings.clear();
    }
  }
  return both;
}

std::string find_preload_fault(const std::string& preload, const std::vector<std::string>& shows_maps) {
  if (access(preload.c_str(), R_OK) != 0) return "no preload at " + preload;
  std::vector<std::string> environment = {"LD_PRELOAD=" + preload};
  for (char** entry = environ; *entry != nullptr; entry++) {
    if (strncmp(*entry, "LD_PRELOAD=", 11) != 0) environment.emplace_back(*entry);
  }
  const ChildResult run = run_child({.argv = shows_maps,
                                     .environment = environment,
                                     .timeout = std::chrono::seconds(30),
                                     .discard_stdout = false});
  if (!run.failure.empty()) return shows_maps[0] + " under " + preload + ": " + run.failure;
  std::error_code ignored;
  const std::string real = std::filesystem::canonical(preload, ignored).string();
  if (run.out.find(real) == std::string::npos) return "the dynamic linker did not load " + preload;
  return "";
}

}  // namespace cr::bench

// Runs the rounds of a case on both sides and keeps what each run reported.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bench_cases.h"

namespace cr::bench {

// What holds for all cases of a run.
struct Setting {
  std::string bench_dir;
  std::string preload;
  std::string preload_fault;  // why the preload can't be used; empty if it can
  std::string scratch;        // a directory with the inputs of the commands
  int pin_cpu;
  int cpus;    // that may be used
  int rounds;  // 0: what the case asks for
  bool quick;
};

// Called before each run of a program: the round from 1, of how many, and the side's name.
using Progress = std::function<void(int round, int rounds, const char* side)>;

enum class Outcome {
  kMeasured,
  kAbsent,   // the side doesn't exist for this case
  kSkipped,  // something that isn't libcr's is missing
  kFailed    // it should have been measured and wasn't
};

// The values of one run by field, and the JSON object that held them (empty for a command).
struct Reading {
  std::map<std::string, std::string> fields;
  std::string report;
};

// All readings of one side of a case.
struct Series {
  Outcome outcome = Outcome::kMeasured;
  std::string why;  // unless it was measured
  std::vector<Reading> readings;
};

struct BothSeries {
  Series native, libcr;
};

BothSeries run_rounds(const Case& test, const Setting& setting, const Progress& progress);

// Why programs can't be run under this preload, or "". Besides a missing file: the dynamic linker
// ignores what it can't load, and every number would be native's under libcr's name. `shows_maps` prints
// its /proc/self/maps.
std::string find_preload_fault(const std::string& preload, const std::vector<std::string>& shows_maps);

}  // namespace cr::bench

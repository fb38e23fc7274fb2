// The rows of the result: what the rounds of a case come to, and whether that meets the target.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench_cases.h"
#include "bench_rounds.h"

namespace cr::bench {

struct SideResult {
  Outcome outcome = Outcome::kAbsent;
  std::string why;             // unless it was measured
  std::vector<double> rounds;  // in the order they ran
  double value = 0;            // the one that stands for the side
  double least = 0, median = 0;
  std::string report;  // the last JSON object that the program printed; empty for a command
};

struct Row {
  const Case* test;
  const Measure* measure;
  SideResult native, libcr;
  std::optional<double> ratio;       // native / libcr, of rates libcr / native: above 1 libcr gains
  std::optional<double> difference;  // median of libcr - native of paired rounds
  std::optional<double> noise;       // for kOfNative: what a side differs from itself, 0.01 = 1 %
  std::optional<bool> met;           // nothing: no target, not applicable, not measured, or noise
  std::vector<std::string> notes;
};

// One row for each measure of the case.
std::vector<Row> make_rows(const Case& test, const BothSeries& both);

}  // namespace cr::bench

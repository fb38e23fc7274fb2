// Evaluation: which value stands for a side, what the sides come to against each other, and the
// verdict. A verdict is given only where the numbers carry one: a null preload (one that does
// nothing) must never be told faster or slower than native.
#include "bench_rows.h"

#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace cr::bench {
namespace {

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

SideResult summarize(const Series& series, const Measure& measure, const std::string& name) {
  SideResult side;
  side.outcome = series.outcome;
  side.why = series.why;
  for (const Reading& reading : series.readings) {
    const auto field = reading.fields.find(name);
    if (field == reading.fields.end()) {
      side.outcome = Outcome::kFailed;
      side.why = "the program's report has no " + name;
      return side;
    }
    side.rounds.push_back(strtod(field->second.c_str(), nullptr));
    side.report = reading.report;
  }
  if (side.outcome != Outcome::kMeasured) return side;
  if (side.rounds.empty()) {
    side.outcome = Outcome::kFailed;
    side.why = "interrupted";
    return side;
  }
  side.least = *std::min_element(side.rounds.begin(), side.rounds.end());
  side.median = median_of(side.rounds);
  switch (measure.pick) {
    case Pick::kMin: side.value = side.least; break;
    case Pick::kMedian: side.value = side.median; break;
    case Pick::kMax: side.value = *std::max_element(side.rounds.begin(), side.rounds.end()); break;
  }
  return side;
}

std::optional<double> paired_difference(const Row& row) {
  std::vector<double> differences;
  const size_t pairs = std::min(row.native.rounds.size(), row.libcr.rounds.size());
  for (size_t i = 0; i < pairs; i++) {
    differences.push_back(row.libcr.rounds[i] - row.native.rounds[i]);
  }
  if (differences.empty()) return std::nullopt;
  return median_of(std::move(differences));
}

// How far the minima of a side's odd and even rounds lie apart: two measurements of the same thing.
// Nothing with less than two rounds in each half.
std::optional<double> self_difference(const SideResult& side) {
  if (side.rounds.size() < 4) return std::nullopt;
  std::array<double, 2> least = {side.rounds[0], side.rounds[1]};
  for (size_t i = 2; i < side.rounds.size(); i++) {
    least[i % 2] = std::min(least[i % 2], side.rounds[i]);
  }
  const auto [low, high] = std::minmax(least[0], least[1]);
  return high / low - 1;
}

std::optional<double> noise_of(const Row& row) {
  const auto native = self_difference(row.native), libcr = self_difference(row.libcr);
  if (!native || !libcr) return std::nullopt;
  return std::max(*native, *libcr);
}

// A bound of a percent is decided only where the sides differ from it by more than from themselves.
std::optional<bool> is_within_bound_of_native(const Row& row) {
  if (!row.ratio || !row.noise) return std::nullopt;
  const double slower = 1 / *row.ratio, bound = row.measure->target.bound;
  if (std::abs(slower - bound) <= *row.noise) return std::nullopt;
  return slower <= bound;
}

std::optional<bool> is_met(const Row& row) {
  const Target& target = row.measure->target;
  if (row.libcr.outcome != Outcome::kMeasured) return std::nullopt;
  switch (target.kind) {
    case TargetKind::kNone: return std::nullopt;
    case TargetKind::kAtLeast: return row.libcr.value >= target.bound;
    case TargetKind::kAtMost:
      if (row.libcr.value > target.bound) return false;
      if (target.factor == 0) return true;
      return row.ratio ? std::optional(*row.ratio >= target.factor) : std::nullopt;
    case TargetKind::kOverNative:
      return row.difference ? std::optional(*row.difference <= target.bound) : std::nullopt;
    case TargetKind::kTimesNative:
      return row.ratio ? std::optional(*row.ratio >= target.bound) : std::nullopt;
    case TargetKind::kOfNative: return is_within_bound_of_native(row);
    case TargetKind::kWhereNativeDoes:
      if (row.native.outcome != Outcome::kMeasured || row.native.value > target.bound) {
        return std::nullopt;
      }
      return row.libcr.value <= target.bound;
  }
  return std::nullopt;
}

// Whatever a reader must know to take the numbers right: fewer threads than asked for, and why.
void note_threads(const Case& test, const Series& series, const char* side, Row& row) {
  if (test.threads == 0 || series.readings.empty()) return;
  auto fields = series.readings.back().fields;
  const std::string asked = fields["threads"], reached = fields["reached"];
  if (asked != std::to_string(test.threads)) {
    row.notes.push_back(std::string(side) + ": " + asked + " threads asked for in place of " +
                        std::to_string(test.threads) + ", to fit the available memory");
  }
  if (reached != asked) {
    row.notes.push_back(std::string(side) + ": pthread_create failed after " + reached +
                        " threads: " + fields["error"] + " (errno " + fields["errno"] + ")");
  }
}

// Without an exported getppid the wrapper's row is libc's site once more, and proves nothing.
void note_wrapper(const Series& libcr, Row& row) {
  if (row.measure->field != "wrapper_over_raw_ns" || libcr.readings.empty()) return;
  auto fields = libcr.readings.back().fields;
  if (fields["wrapper_interposed"] == "0") {
    row.notes.push_back("libcr: no exported getppid; this is libc's own");
    row.met = std::nullopt;
  }
}

Row make_row(const Case& test, const Measure& measure, const BothSeries& both) {
  Row row{.test = &test,
          .measure = &measure,
          .native = summarize(both.native, measure,
                              measure.native_field.empty() ? measure.field : measure.native_field),
          .libcr = summarize(both.libcr, measure, measure.field),
          .ratio = std::nullopt,
          .difference = std::nullopt,
          .noise = std::nullopt,
          .met = std::nullopt,
          .notes = {}};
  if (row.native.outcome == Outcome::kMeasured && row.libcr.outcome == Outcome::kMeasured) {
    const bool more_is_better = measure.pick == Pick::kMax;
    const double better = more_is_better ? row.libcr.value : row.native.value;
    const double than = more_is_better ? row.native.value : row.libcr.value;
    if (measure.ratio && than > 0) row.ratio = better / than;
    row.difference = paired_difference(row);
    if (measure.target.kind == TargetKind::kOfNative) row.noise = noise_of(row);
  }
  row.met = is_met(row);
  note_wrapper(both.libcr, row);
  if (&measure == &test.measures.front()) {
    note_threads(test, both.native, "native", row);
    note_threads(test, both.libcr, "libcr", row);
  }
  return row;
}

}  // namespace

std::vector<Row> make_rows(const Case& test, const BothSeries& both) {
  std::vector<Row> rows;
  for (const Measure& measure : test.measures) rows.push_back(make_row(test, measure, both));
  return rows;
}

}  // namespace cr::bench

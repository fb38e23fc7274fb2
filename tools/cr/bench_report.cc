// Columns: the measure, both values, the gain (how many times native takes libcr's value, or what
// libcr reaches native's, where more is better), the target and whether it is met. What stands in
// the way of a number, and what qualifies one, follows as numbered notes: a table with sentences in
// its cells can't be read.
#include "bench_report.h"

#include <stdio.h>

#include <algorithm>
#include <array>
#include <string>

#include "bench_json.h"
#include "json.h"

namespace cr::bench {
namespace {

using tool::json_string;

std::string format(const char* form, double value) {
  char text[64];
  snprintf(text, sizeof(text), form, value);
  return text;
}

std::string with_thousands(std::string digits) {
  const size_t first = digits.starts_with('-') ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

// Three significant digits or all of the whole ones.
std::string format_number(double value) {
  const double size = value < 0 ? -value : value;
  if (size >= 1000) return with_thousands(format("%.0f", value));
  if (size >= 100) return format("%.0f", value);
  return size >= 10 ? format("%.1f", value) : format("%.2f", value);
}

std::string format_value(double value, const std::string& unit) {
  return unit.empty() ? format_number(value) : format_number(value) + " " + unit;
}

// A bound as it was set: 1, 12, 0.55, 5,120.
std::string format_bound(double bound) {
  const bool whole = bound == static_cast<double>(static_cast<long>(bound));
  return whole ? with_thousands(format("%.0f", bound)) : format("%g", bound);
}

std::string describe_target(const Measure& measure) {
  const Target& target = measure.target;
  const std::string bound =
      format_bound(target.bound) + (measure.unit.empty() ? "" : " " + measure.unit);
  switch (target.kind) {
    case TargetKind::kNone: return "";
    case TargetKind::kAtLeast: return ">= " + bound;
    case TargetKind::kAtMost:
      return "<= " + bound +
             (target.factor != 0 ? ", >= " + format_bound(target.factor) + "x" : "");
    case TargetKind::kOverNative: return "<= +" + bound;
    case TargetKind::kOfNative: return "<= " + format("%+g%%", (target.bound - 1) * 100);
    case TargetKind::kTimesNative: return ">= " + format_bound(target.bound) + "x";
    case TargetKind::kWhereNativeDoes: return "<= " + bound + " where native is";
  }
  return "";
}

// "noise": both sides were measured, and differ from the bound no more than from themselves.
std::string describe_met(const Row& row) {
  if (row.met) return *row.met ? "yes" : "NO";
  const TargetKind kind = row.measure->target.kind;
  if (kind == TargetKind::kNone) return "";
  if (row.native.outcome != Outcome::kMeasured || row.libcr.outcome != Outcome::kMeasured)
    return "?";
  if (kind != TargetKind::kOfNative) return "n/a";
  return row.noise ? "noise of " + format("%.1f%%", *row.noise * 100) : "too few rounds";
}

// libcr's value, with the difference where that is what counts.
std::string describe_libcr(const Row& row) {
  std::string text = format_value(row.libcr.value, row.measure->unit);
  if (row.measure->target.kind == TargetKind::kOverNative && row.difference) {
    text +=
        " (" + std::string(*row.difference < 0 ? "" : "+") + format_number(*row.difference) + ")";
  }
  if (row.measure->target.kind == TargetKind::kOfNative && row.ratio) {
    text += " (" + format("%+.1f%%", (1 / *row.ratio - 1) * 100) + ")";
  }
  return text;
}

using Line = std::array<std::string, 6>;

class Notes {
 public:
  // The mark of a note: "[1]". The same text has the same mark.
  std::string mark(const std::string& text) {
    auto found = std::find(texts_.begin(), texts_.end(), text);
    if (found == texts_.end()) found = texts_.insert(texts_.end(), text);
    return "[" + std::to_string(found - texts_.begin() + 1) + "]";
  }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::vector<std::string> texts_;
};

std::string describe_side(const SideResult& side, const std::string& value, Notes& notes) {
  switch (side.outcome) {
    case Outcome::kMeasured: return value;
    case Outcome::kAbsent: return "-";
    case Outcome::kSkipped: return "skipped " + notes.mark(side.why);
    case Outcome::kFailed: return "FAILED " + notes.mark(side.why);
  }
  return "";
}

Line make_line(const Row& row, Notes& notes) {
  Line line;
  line[0] = row.measure->title;
  for (const std::string& note : row.notes) line[0] += " " + notes.mark(note);
  line[1] = describe_side(row.native, format_value(row.native.value, row.measure->unit), notes);
  line[2] = describe_side(row.libcr, describe_libcr(row), notes);
  line[3] = row.ratio ? format_number(*row.ratio) + "x" : "";
  line[4] = describe_target(*row.measure);
  line[5] = describe_met(row);
  return line;
}

void print_line(std::ostream& out, const Line& line, const std::array<size_t, 6>& widths) {
  std::string text;
  for (size_t i = 0; i < line.size(); i++) {
    const std::string gap(widths[i] - line[i].size(), ' ');
    const bool number = i >= 1 && i <= 3;  // numbers to the right
    text += (i > 0 ? "  " : "") + (number ? gap + line[i] : line[i] + gap);
  }
  out << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
}

const char* name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kMeasured: return "measured";
    case Outcome::kAbsent: return "absent";
    case Outcome::kSkipped: return "skipped";
    case Outcome::kFailed: return "failed";
  }
  return "";
}

std::string json_optional(const std::optional<double>& value) {
  return value ? json_number(*value) : "null";
}

std::string json_side(const SideResult& side) {
  std::string text = std::string("{\"outcome\":\"") + name_of(side.outcome) + '"';
  if (!side.why.empty()) text += ",\"why\":" + json_string(side.why);
  if (side.outcome == Outcome::kMeasured) {
    text += ",\"value\":" + json_number(side.value) + ",\"min\":" + json_number(side.least) +
            ",\"median\":" + json_number(side.median) + ",\"rounds\":[";
    for (size_t i = 0; i < side.rounds.size(); i++) {
      text += (i > 0 ? "," : "") + json_number(side.rounds[i]);
    }
    text += "]";
    if (!side.report.empty()) text += ",\"last_report\":" + side.report;
  }
  return text + "}";
}

std::string json_target(const Measure& measure) {
  const Target& target = measure.target;
  if (target.kind == TargetKind::kNone) return "null";
  return "{\"text\":" + json_string(describe_target(measure)) +
         ",\"bound\":" + json_number(target.bound) +
         ",\"factor\":" + (target.factor != 0 ? json_number(target.factor) : "null") + "}";
}

std::string json_notes(const std::vector<std::string>& notes) {
  std::string text = "[";
  for (const std::string& note : notes) text += (text.size() > 1 ? "," : "") + json_string(note);
  return text + "]";
}

std::string json_row(const Row& row, const RunInfo& run) {
  const std::string title = row.measure->title;
  return "{\"bench\":" + json_string(row.test->name) +
         ",\"measure\":" + json_string(title.substr(title.find_first_not_of(' '))) +
         ",\"field\":" + json_string(row.measure->field) +
         ",\"unit\":" + json_string(row.measure->unit) + ",\"native\":" + json_side(row.native) +
         ",\"libcr\":" + json_side(row.libcr) + ",\"ratio\":" + json_optional(row.ratio) +
         ",\"difference\":" + json_optional(row.difference) +
         ",\"noise\":" + json_optional(row.noise) + ",\"target\":" + json_target(*row.measure) +
         ",\"met\":" + (row.met ? (*row.met ? "true" : "false") : "null") +
         ",\"notes\":" + json_notes(row.notes) +
         ",\"cpu\":" + (row.test->pinned ? std::to_string(run.pin_cpu) : "null") +
         ",\"quick\":" + (run.quick ? "true" : "false") +
         ",\"kernel\":" + json_string(run.machine.kernel) +
         ",\"cpu_model\":" + json_string(run.machine.cpu_model) +
         ",\"date\":" + json_string(run.machine.date) + "}";
}

}  // namespace

void print_table(std::ostream& out, const std::vector<Row>& rows, const RunInfo& run) {
  Notes notes;
  std::vector<Line> lines = {{"measure", "native", "libcr", "gain", "target", "met"}};
  for (const Row& row : rows) lines.push_back(make_line(row, notes));
  std::array<size_t, 6> widths{};
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); i++) widths[i] = std::max(widths[i], line[i].size());
  }

  out << run.machine.kernel << ", " << run.machine.cpu_model << ", " << run.machine.date
      << ", pinned to cpu " << run.pin_cpu
      << (run.quick ? ", quick: to see that all runs, not to be quoted" : "") << "\n\n";
  print_line(out, lines[0], widths);
  size_t total = 2 * (widths.size() - 1);
  for (const size_t width : widths) total += width;
  out << std::string(total, '-') << '\n';
  for (size_t i = 1; i < lines.size(); i++) print_line(out, lines[i], widths);
  if (!notes.texts().empty()) out << '\n';
  for (const std::string& text : notes.texts()) out << notes.mark(text) << ' ' << text << '\n';
}

void print_json(std::ostream& out, const std::vector<Row>& rows, const RunInfo& run) {
  out << "[";
  for (size_t i = 0; i < rows.size(); i++) {
    out << (i > 0 ? ",\n " : "\n ") << json_row(rows[i], run);
  }
  out << "\n]\n";
}

}  // namespace cr::bench

// The results for a reader (an aligned table) and for a program (JSON).
#pragma once

#include <optional>
#include <ostream>
#include <vector>

#include "bench_machine.h"
#include "bench_rows.h"

namespace cr::bench {

struct RunInfo {
  Machine machine;
  int pin_cpu;
  bool quick;  // too short to be quoted, and said so
};

void print_table(std::ostream& out, const std::vector<Row>& rows, const RunInfo& run);

// An array with an object for each row. Every object says on which machine and when, so that rows
// of several runs can be thrown together.
void print_json(std::ostream& out, const std::vector<Row>& rows, const RunInfo& run);

}  // namespace cr::bench

// The site analyser: finds the trap instructions of an ELF object and decides how each may be
// rewritten. `cr analyze` and the preload (by vfork and exec) run it out of the program's process,
// once for each build-id; the gate reads the file it writes (src/gate/sitetable.h).
//
// Rules
//   - A trap is what a real disassembler finds between the bounds of a function (FDE, or sized
//     symbol where there is no FDE). Bytes are never enough: tables in .text hold `0f 05` too.
//     The byte search only says which functions are worth decoding.
//   - When in doubt a site gets the slower rule (A, B, X) or the larger vector class, never a
//     window that something may jump into.
//   - The object is untrusted input: errors are AnalyzeError, never a crash.
// Costs: an object without `0f 05` in its text is one pass over the text. Others also pay about
// 100 ns for each instruction of the functions that are decoded; libc.so.6 takes some tens of ms.
//
// Known limit of the vector class: a function that touches no vector register, receives a double,
// traps, and then hands the double on untouched through a call that can't be followed (PLT or
// indirect) counts as having nothing live.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/gate/sitetable.h"

namespace cr {

struct AnalyzeTiming {
  double load_ms = 0;     // read the file, headers, function bounds
  double decode_ms = 0;   // functions with traps and their neighbours
  double targets_ms = 0;  // superset of branch targets, call edges
  double vector_ms = 0;   // vector liveness
};

struct AnalyzeResult {
  std::vector<Site> sites;  // ascending by trap
  std::vector<uint32_t> locks;  // lock prefixes of libc outside the windows, ascending
  uint16_t machine = 0;     // ELF e_machine
  uint32_t residual = 0;    // sites with rule X
  bool writes_gs = false;
  std::vector<uint8_t> build_id;
  std::vector<std::string> notes;  // for people: what was passed over and why
  AnalyzeTiming timing;
};

// Throws AnalyzeError (src/gate/analyze/elf.h) when the object can't be read or is malformed.
AnalyzeResult analyze_object(const std::filesystem::path& object);

// Writes the table to a temporary file beside `path` (mode 0600) and renames it, so that a reader
// sees the old table or the whole new one. Throws AnalyzeError.
void write_site_table(const AnalyzeResult& result, const std::filesystem::path& path);

struct AnalyzeOptions {
  bool verbose = false;  // counts, notes and timing on stderr
};

// Analyse `object`, write the table `out`. Returns an exit status: 0, or 1 with one line on stderr.
int analyze_main(const char* object, const char* out, AnalyzeOptions options = {});

}  // namespace cr

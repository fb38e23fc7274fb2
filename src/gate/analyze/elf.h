// An ELF object as the site analyser sees it: loadable bytes by address, function bounds, landing
// pads, symbols, build-id.
//
// The object is untrusted input. Every read is checked against the file's size; what is wrong is
// reported as AnalyzeError, which says what, where and what to do. The file is read into memory,
// not mapped: a file truncated while we look must not be a SIGBUS.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "arch/x86_64/siterules.h"

namespace cr {

struct AnalyzeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Segment {
  uint64_t addr = 0;
  std::span<const uint8_t> bytes;
  bool exec = false;

  uint64_t end() const { return addr + bytes.size(); }
};

struct FunctionRange {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t lsda = 0;  // 0: none
  bool signal_frame = false;  // the FDE says that a signal handler returns here
};

class ElfObject {
 public:
  // Reads and checks the headers. Throws AnalyzeError.
  explicit ElfObject(const std::filesystem::path& path);

  uint16_t machine() const { return machine_; }
  Isa isa() const { return is32_ ? Isa::kI386 : Isa::kX86_64; }
  uint64_t got() const { return got_; }  // what i386 code addresses its data from; 0: unknown
  std::span<const Segment> segments() const { return segments_; }
  std::span<const uint8_t> build_id() const { return build_id_; }

  // File bytes from `addr` to the end of its segment; empty where there are none.
  std::span<const uint8_t> at(uint64_t addr) const;
  bool executable(uint64_t addr) const;

  // Go's: its own stacks are small, and it makes its traps upon them.
  bool go() const { return go_; }

  // Function bounds, ascending and disjoint: FDEs of .eh_frame, then Go's functions and sized function
  // symbols where no FDE lies.
  std::vector<FunctionRange> functions() const;

  // Values of all symbols that lie in executable bytes.
  std::vector<uint64_t> symbol_values() const;

  // Landing pads in the language specific data of `fn`.
  std::vector<uint64_t> landing_pads(const FunctionRange& fn) const;

 private:
  struct Symbol {
    uint64_t value, size;
    bool function;
  };

  void read_headers();
  template <class Elf>
  void read_program_headers(const typename Elf::Ehdr& eh);
  template <class Elf>
  void read_symbol_table(std::span<const uint8_t> table);
  void read_dynamic(std::span<const uint8_t> table);
  template <class Elf>
  void read_sections(const typename Elf::Ehdr& eh);
  void read_build_id(std::span<const uint8_t> notes);
  std::span<const uint8_t> file_range(uint64_t offset, uint64_t size, const char* what) const;
  // Ascending; the last one is the end. Empty: no such table, or none that is known.
  std::vector<uint64_t> go_functions() const;
  std::vector<uint64_t> go_functions_at(uint64_t table) const;
  uint64_t relocated(uint64_t addr) const;  // what is there once the object is loaded; 0: what the file says
  [[noreturn]] void fail(const std::string& what) const;

  std::filesystem::path path_;
  std::vector<uint8_t> file_;
  std::vector<Segment> segments_;
  std::vector<Symbol> symbols_;
  std::vector<uint8_t> build_id_;
  uint64_t eh_frame_ = 0;      // address, 0: none
  uint64_t eh_frame_hdr_ = 0;  // address, 0: none
  uint64_t got_ = 0;
  bool go_ = false;
  uint64_t pclntab_ = 0;  // Go's table of functions; 0: none, or its section has another name
  std::vector<std::span<const uint8_t>> relocations_;  // of Go's objects
  uint16_t machine_ = 0;
  bool is32_ = false;
};

}  // namespace cr

// What cr must know of an ELF file before it is executed: class, machine, type, interpreter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace cr::tool {

struct ElfFile {
  unsigned char elf_class = 0;  // ELFCLASS32 or ELFCLASS64
  uint16_t machine = 0;         // EM_*
  uint16_t type = 0;            // ET_*
  std::string interpreter;      // PT_INTERP; empty if there is none. Read for x86_64 and i386.
};

// Nothing if the file does not start with the ELF magic. Throws std::runtime_error if it does but
// is cut short, and std::system_error if it can't be read.
std::optional<ElfFile> read_elf(const std::string& path);

// "aarch64" for EM_AARCH64, "ELF machine 4711" for what has no common name here.
std::string machine_name(uint16_t machine);

}  // namespace cr::tool

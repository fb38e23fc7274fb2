// The stacks of another process's threads, 64-bit or 32-bit, by elfutils' libdw: memory through process_vm_readv, the
// registers where each thread is parked from whoever knows them. The process is not stopped; its
// threads must stand still by themselves.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

typedef struct Dwfl Dwfl;

namespace cr::tool {

// What the callee-saved registers hold at `pc`; of i386's sp and bp alone are asked for.
struct Registers {
  uint64_t pc, sp, bp, bx, r12, r13, r14, r15;
};

struct StackFrame {
  uint64_t pc;
  std::string function;  // empty: unknown
  uint64_t offset;       // from its beginning
  std::string object;    // path of the file that pc lies in; empty: none

  bool operator==(const StackFrame&) const = default;
};

class RemoteProcess {
 public:
  explicit RemoteProcess(pid_t pid);
  ~RemoteProcess();
  RemoteProcess(const RemoteProcess&) = delete;
  RemoteProcess& operator=(const RemoteProcess&) = delete;

  // False if the process or that memory can't be read.
  bool read(uint64_t address, void* to, size_t size) const;

  // From where `registers` are outwards, `most` frames at most.
  std::vector<StackFrame> stack(const Registers& registers, int most);

 private:
  struct Range {
    uint64_t end;
    std::string path;
  };
  struct Walk;
  struct Dwarf;
  std::string object_at(uint64_t address) const;

  pid_t pid_;
  std::map<uint64_t, Range> objects_;  // file mappings by their beginning
  bool is_32_bit_;
  Dwfl* dwfl_;                         // null: no stacks can be had
  Walk* walk_;                         // of the stack() that runs
};

}  // namespace cr::tool

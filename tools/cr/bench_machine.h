// The machine under the benchmark: what it is, which cpus may be used, how much memory is left.
#pragma once

#include <sched.h>

#include <string>

namespace cr::bench {

struct Machine {
  std::string kernel;     // as uname -sr
  std::string cpu_model;  // as /proc/cpuinfo
  std::string date;       // ISO 8601, UTC
};
Machine describe_machine();

// The cpus this process may use, and the one to pin to.
int usable_cpus();
int last_usable_cpu();
bool is_usable(int cpu);

// Bytes that a child may take without driving the machine, or its own control group, out of memory.
unsigned long available_memory();

// Pins this process, and the children it makes meanwhile, to one cpu.
class CpuPin {
 public:
  explicit CpuPin(int cpu);
  ~CpuPin();
  CpuPin(const CpuPin&) = delete;
  CpuPin& operator=(const CpuPin&) = delete;

 private:
  cpu_set_t before_;
};

}  // namespace cr::bench

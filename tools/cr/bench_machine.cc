// All from uname, the affinity mask, /proc and, for memory, the limits of control groups (version
// 2).
#include "bench_machine.h"

#include <sys/utsname.h>
#include <time.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace cr::bench {
namespace {

cpu_set_t usable_set() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  return set;
}

// What follows `key` and the colon in a file of "key : value" lines.
std::string field_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

// A file that holds one number. "max", and a file that isn't there, mean no limit.
unsigned long number_in(const std::filesystem::path& path, unsigned long otherwise) {
  std::ifstream file(path);
  unsigned long value;
  return file >> value ? value : otherwise;
}

std::filesystem::path control_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return std::filesystem::path("/sys/fs/cgroup") / line.substr(4);
  }
  return "";
}

}  // namespace

Machine describe_machine() {
  utsname name{};
  uname(&name);
  const time_t now = time(nullptr);
  tm parts{};
  gmtime_r(&now, &parts);
  char date[32];
  strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {std::string(name.sysname) + " " + name.release, field_of("/proc/cpuinfo", "model name"),
          date};
}

int usable_cpus() {
  const cpu_set_t set = usable_set();
  return CPU_COUNT(&set);
}

int last_usable_cpu() {
  int cpu = CPU_SETSIZE - 1;
  while (cpu > 0 && !is_usable(cpu)) cpu--;
  return cpu;
}

bool is_usable(int cpu) {
  const cpu_set_t set = usable_set();
  return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &set);
}

unsigned long available_memory() {
  constexpr unsigned long kNoLimit = -1ul;
  const std::string free_kb = field_of("/proc/meminfo", "MemAvailable");
  unsigned long least = free_kb.empty() ? kNoLimit : std::stoul(free_kb) * 1024;
  // Every group up to the root may set a limit.
  for (std::filesystem::path group = control_group(); group.string().size() > 1;
       group = group.parent_path()) {
    const unsigned long limit = number_in(group / "memory.max", kNoLimit);
    const unsigned long used = number_in(group / "memory.current", 0);
    if (limit != kNoLimit) least = std::min(least, limit > used ? limit - used : 0);
    if (group == "/sys/fs/cgroup") break;
  }
  return least;
}

CpuPin::CpuPin(int cpu) : before_(usable_set()) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof(one), &one);
}

CpuPin::~CpuPin() { sched_setaffinity(0, sizeof(before_), &before_); }

}  // namespace cr::bench

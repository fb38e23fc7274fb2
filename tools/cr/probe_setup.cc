// Limits, memory settings, and the parts of the installation that the runtime looks for.
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "probe.h"
#include "site_cache.h"

namespace cr::tool {
namespace {

std::string read_setting(const std::string& path) {
  std::string value;
  std::ifstream file(path);
  if (!std::getline(file, value)) return "unknown";
  return value;
}

Check probe_preload(const Prefix& prefix) {
  const std::string path = prefix.preload();
  const bool ok = access(path.c_str(), R_OK) == 0;
  return {"preload", ok, true, ok ? path : path + ": " + std::system_category().message(errno),
          kHowToBuild};
}

Check probe_cache_directory() {
  const std::string path = site_cache_directory();
  Check check{"cache-directory", false, false, "", "objects are analysed anew at every start"};
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    check.ok = errno == ENOENT;
    check.detail = path + (check.ok ? ": not there yet, the first run makes it"
                                    : ": " + std::system_category().message(errno));
  } else if (!S_ISDIR(status.st_mode)) {
    check.detail = path + ": not a directory";
  } else if (status.st_uid != geteuid()) {
    check.detail = path + ": belongs to uid " + std::to_string(status.st_uid) + ", not to you";
  } else if (status.st_mode & (S_IWGRP | S_IWOTH)) {
    check.detail = path + ": others can write to it; chmod 700 it";
  } else {
    size_t tables = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      tables += entry.path().extension() == ".sites";
    }
    char mode[8];
    snprintf(mode, sizeof mode, "%04o", status.st_mode & 07777u);
    check.ok = true;
    check.detail = path + ", mode " + mode + ", " + std::to_string(tables) + " site tables";
  }
  return check;
}

Check probe_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool ok = sched_getaffinity(0, sizeof set, &set) == 0;
  return {"cpus", ok, false,
          ok ? std::to_string(CPU_COUNT(&set)) + " in the affinity mask"
             : "sched_getaffinity: " + std::system_category().message(errno),
          "say how many with cr run --cpus N"};
}

Check probe_map_count() {
  const std::string count = read_setting("/proc/sys/vm/max_map_count");
  return {"max-map-count", true, false,
          count + " (native threads end at about half of it; LWKT stacks share maps)", ""};
}

// LWKTs count against none of these, the rforks do: a handful for each process.
Check probe_thread_limits() {
  struct rlimit processes;
  getrlimit(RLIMIT_NPROC, &processes);
  const std::string limit =
      processes.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(processes.rlim_cur);
  const bool ok = processes.rlim_cur == RLIM_INFINITY || processes.rlim_cur >= 64;
  return {"thread-limits", ok, false,
          "pid_max " + read_setting("/proc/sys/kernel/pid_max") + ", threads-max " +
              read_setting("/proc/sys/kernel/threads-max") + ", RLIMIT_NPROC " + limit,
          "few kernel threads are allowed: use cr run --cpus 1, or raise ulimit -u"};
}

Check probe_overcommit() {
  const std::string mode = read_setting("/proc/sys/vm/overcommit_memory");
  return {"overcommit", mode != "2", false, "vm.overcommit_memory = " + mode,
          "stack arenas count in full against the commit limit: use a small --stack-size"};
}

Check probe_transparent_huge_pages() {
  const std::string setting = read_setting("/sys/kernel/mm/transparent_hugepage/enabled");
  return {"transparent-huge-pages", setting.find("[always]") == std::string::npos, false, setting,
          "untouched stack may become resident, 2 MB at a time: set it to madvise to save memory"};
}

}  // namespace

std::vector<Check> probe_setup(const Prefix& prefix) {
  return {probe_preload(prefix),  probe_cache_directory(), probe_cpus(),
          probe_map_count(),      probe_thread_limits(),   probe_overcommit(),
          probe_transparent_huge_pages()};
}

}  // namespace cr::tool

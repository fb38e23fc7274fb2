// What this kernel and machine allow. Each probe tries the thing itself, on a page or a descriptor
// of its own, and undoes it: a version number would not know of seccomp, sysctls and SELinux.
#pragma once

#include <string>
#include <vector>

#include "prefix.h"

namespace cr::tool {

struct Check {
  std::string name;      // stable: scripts read it from --json
  bool ok;
  bool required;         // libcr can't run at all without it
  std::string detail;    // what was found
  std::string fallback;  // what libcr does, or the user can do, where ok is false
};

// Kernel and processor features that the runtime uses.
std::vector<Check> probe_features();

// Whether cr run --keep-gs works.
Check probe_keep_gs();

// Limits and settings of the machine, and the installation: preload and cache directory.
std::vector<Check> probe_setup(const Prefix& prefix);

}  // namespace cr::tool

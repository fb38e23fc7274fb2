// Editing LD_PRELOAD and the LIBCR_ variables in cr's own environment, which the program inherits.
#include "environment.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace cr::tool {
namespace {

bool names_preload(std::string_view entry) {
  return entry == "libcr.so" || entry.ends_with("/libcr.so");
}

}  // namespace

std::string without_preload(std::string_view value) {
  std::string kept;
  while (!value.empty()) {
    const std::string_view entry = value.substr(0, value.find_first_of(": "));
    value.remove_prefix(std::min(entry.size() + 1, value.size()));
    if (entry.empty() || names_preload(entry)) continue;
    if (!kept.empty()) kept += ':';
    kept += entry;
  }
  return kept;
}

void set_preload(const std::string& entry) {
  std::string value = entry;
  if (const char* existing = getenv("LD_PRELOAD")) {
    const std::string kept = without_preload(existing);
    if (!kept.empty()) value += ":" + kept;
  }
  setenv("LD_PRELOAD", value.c_str(), 1);
}

void clear_libcr_environment() {
  if (const char* existing = getenv("LD_PRELOAD")) {
    const std::string kept = without_preload(existing);
    if (kept.empty()) {
      unsetenv("LD_PRELOAD");
    } else {
      setenv("LD_PRELOAD", kept.c_str(), 1);
    }
  }
  std::vector<std::string> ours;
  for (char** variable = environ; *variable; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("LIBCR_")) ours.emplace_back(text.substr(0, text.find('=')));
  }
  for (const auto& name : ours) unsetenv(name.c_str());
}

}  // namespace cr::tool

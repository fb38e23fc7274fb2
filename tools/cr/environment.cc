// Editing LD_PRELOAD and the LIBCR_ variables in cr's own environment, which the program inherits.
#include "environment.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace cr::tool {
namespace {

// The room is 160 bytes for each link namespace but the first, 144 for each, and the optional part.
constexpr std::string_view kSmallTls[] = {"glibc.rtld.nns=1", "glibc.rtld.optional_static_tls=0"};

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

std::string with_small_tls(std::string_view value) {
  std::string kept;
  while (!value.empty()) {
    const std::string_view entry = value.substr(0, value.find(':'));
    value.remove_prefix(std::min(entry.size() + 1, value.size()));
    if (entry.empty() || std::ranges::any_of(kSmallTls, [&](std::string_view ours) {
          return entry.starts_with(ours.substr(0, ours.find('=') + 1));
        })) {
      continue;
    }
    kept.append(entry) += ':';
  }
  for (const std::string_view ours : kSmallTls) kept.append(ours) += ':';
  kept.pop_back();
  return kept;
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

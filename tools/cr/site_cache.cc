// The place of the site cache (XDG Base Directory Specification: relative paths are ignored).
#include "site_cache.h"

#include <unistd.h>

#include <cstdlib>

namespace cr::tool {

std::string site_cache_directory() {
  if (const char* cache = getenv("LIBCR_CACHE"); cache && cache[0] != '\0') return cache;
  if (const char* cache = getenv("XDG_CACHE_HOME"); cache && cache[0] == '/') {
    return std::string(cache) + "/libcr";
  }
  if (const char* home = getenv("HOME"); home && home[0] == '/') {
    return std::string(home) + "/.cache/libcr";
  }
  return "/tmp/libcr-" + std::to_string(geteuid());
}

}  // namespace cr::tool

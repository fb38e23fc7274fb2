// Loading shims. Runs in the constructor, above the boundary and before the gate is open: libc
// may be used.

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"

namespace cr {

namespace {

inline constexpr int kMaxShims = 16;

using ExitFunction = void (*)();
ExitFunction exits[kMaxShims];
int nexits;

bool load(const char* path) {
  void* lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (lib == nullptr) {
    fprintf(stderr, "libcr: shim %s: %s\n", path, dlerror());
    return false;
  }
  auto init = reinterpret_cast<int (*)()>(dlsym(lib, "cr_shim_init"));
  if (init == nullptr) {
    fprintf(stderr, "libcr: shim %s: it has no cr_shim_init; see libcr/shim.h\n", path);
    return false;
  }
  int error = init();
  if (error != 0) {
    fprintf(stderr, "libcr: shim %s: it refused to start: %s\n", path, strerror(error));
    return false;
  }
  auto at_exit = reinterpret_cast<ExitFunction>(dlsym(lib, "cr_shim_exit"));
  if (at_exit != nullptr && nexits < kMaxShims) exits[nexits++] = at_exit;
  return true;
}

}  // namespace

bool shim_load_all(const char* list) {
  char path[4096];
  while (list != nullptr && *list != '\0') {
    const char* end = strchrnul(list, ':');
    auto n = static_cast<size_t>(end - list);
    if (n > 0 && n < sizeof path) {
      memcpy(path, list, n);
      path[n] = '\0';
      if (!load(path)) return false;
    }
    list = *end == '\0' ? end : end + 1;
  }
  return true;
}

void shim_at_exit() {
  int n = nexits;
  nexits = 0;
  for (int i = 0; i < n; i++) exits[i]();
}

}  // namespace cr

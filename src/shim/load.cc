// Loading shims. Runs in the constructor, above the boundary and before the gate is open: libc
// may be used.
//
// dlopen itself is looked up: a static program that does not use it has none, and a reference
// would drag the loader in, with a warning at every link. dlsym, weak, has neither effect.

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"

#pragma weak dlsym

namespace cr {

namespace {

inline constexpr int kMaxShims = 16;

using ExitFunction = void (*)();
ExitFunction exits[kMaxShims];
int nexits;

template <typename F>
F* find(const char* name) {
  return &dlsym != nullptr ? reinterpret_cast<F*>(dlsym(RTLD_DEFAULT, name)) : nullptr;
}

bool load(const char* path) {
  auto* open = find<void*(const char*, int)>("dlopen");
  auto* error_text = find<char*()>("dlerror");
  if (open == nullptr || error_text == nullptr) {
    fprintf(stderr, "libcr: shim %s: a static program can't load it; call cr_shim_push\n", path);
    return false;
  }
  void* lib = open(path, RTLD_NOW | RTLD_LOCAL);
  if (lib == nullptr) {
    fprintf(stderr, "libcr: shim %s: %s\n", path, error_text());
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

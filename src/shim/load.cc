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

// From the last to the first: the first one in the list is pushed last, so that it stands
// nearest the program.
bool shim_load_all(const char* list) {
  char path[4096];
  size_t end = strlen(list);
  for (;;) {
    size_t start = end;
    while (start > 0 && list[start - 1] != ':') start--;
    size_t n = end - start;
    if (n >= sizeof path) {
      fprintf(stderr, "libcr: a shim's path is too long\n");
      return false;
    }
    if (n > 0) {
      memcpy(path, list + start, n);
      path[n] = '\0';
      if (!load(path)) return false;
    }
    if (start == 0) return true;
    end = start - 1;
  }
}

void shim_at_exit() {
  int n = nexits;
  nexits = 0;
  while (n > 0) exits[--n]();  // the one nearest the program first
}

}  // namespace cr

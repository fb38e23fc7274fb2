// Finding the installation, and naming the preload so that ld.so finds it again.
#include "prefix.h"

#include <dlfcn.h>

#include <filesystem>

namespace cr::tool {
namespace {

// Does ld.so find a shared object under this name, tokens expanded? RTLD_NOLOAD opens the file and
// checks its ELF header but maps nothing, so the preload's constructors do not run in cr. "Found but
// not loaded" is a null handle without an error; glibc keeps the error for "no such file".
bool loader_finds(const std::string& name) {
  dlerror();
  if (void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
    dlclose(handle);
    return true;
  }
  return dlerror() == nullptr;
}

}  // namespace

Prefix find_prefix() {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  return {self.parent_path().parent_path().string()};
}

// The 32-bit ld.so has its own idea of $LIB: lib32 in a biarch glibc, which is a link beside ours.
std::string preload_entry(const Prefix& prefix, bool i386, bool keep_gs) {
  const std::string entry = prefix.root + "/$LIB" + Prefix::file(keep_gs);
  const std::string plain = i386 ? prefix.preload_i386(keep_gs) : prefix.preload(keep_gs);
  const bool both = std::filesystem::exists(prefix.preload_i386(keep_gs));
  if (both && !std::filesystem::exists(prefix.root + "/lib32" + Prefix::file(keep_gs))) return plain;
  return loader_finds(entry) ? entry : plain;
}

}  // namespace cr::tool

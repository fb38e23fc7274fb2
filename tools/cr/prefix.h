// Where libcr is installed, found from the running cr's own location: <prefix>/bin/cr goes with
// <prefix>/lib/x86_64-linux-gnu/libcr.so
// and, for 32-bit programs, <prefix>/lib/i386-linux-gnu/libcr.so. A build tree has the same shape as an installation.
#pragma once

#include <string>
#include <string_view>

namespace cr::tool {

// Advice for every message about a missing preload.
inline constexpr char kHowToBuild[] =
    "build it: cmake --preset release && cmake --build --preset release";

struct Prefix {
  std::string root;  // absolute, without a trailing slash

  std::string command() const { return root + "/bin/cr"; }
  std::string library_directory() const { return root + "/lib/x86_64-linux-gnu"; }
  // The library that leaves %gs to the program has the same name in a directory of its own. For 32-bit programs, whose
  // %gs is glibc's in any case, that is a link.
  static constexpr char kKeepGs[] = "/keep-gs";
  std::string preload(bool keep_gs = false) const { return library_directory() + file(keep_gs); }
  std::string preload_i386(bool keep_gs = false) const { return root + "/lib/i386-linux-gnu" + file(keep_gs); }
  static std::string file(bool keep_gs) { return (keep_gs ? kKeepGs : "") + std::string("/libcr.so"); }
  std::string archive() const { return library_directory() + "/libcr.a"; }
  std::string shipped_shim(std::string_view name) const {
    return library_directory() + shim_file(name);
  }
  static std::string shim_file(std::string_view name) {
    return "/libcr-shim-" + std::string(name) + ".so";
  }
};

// Resolves /proc/self/exe. Throws std::system_error where /proc is not mounted.
Prefix find_prefix();

// The LD_PRELOAD entry that names the preload. It is written with ld.so's $LIB token, so that the
// same value serves 64-bit and 32-bit children, if this machine's ld.so expands that to our
// directory; otherwise it is the plain path.
// `i386`: for a 32-bit program. `keep_gs`: the one that leaves %gs to it.
std::string preload_entry(const Prefix& prefix, bool i386, bool keep_gs = false);

}  // namespace cr::tool

// The shim chain's inner interface (the public one is libcr/shim.h).
#pragma once

namespace cr {

// Loads the libraries that LIBCR_SHIM names: the first one in the list is asked first. Above the
// boundary (it uses dlopen); returns false after saying on stderr what failed.
bool shim_load_all(const char* list);
// The shims' cr_shim_exit, once.
void shim_at_exit();

}  // namespace cr

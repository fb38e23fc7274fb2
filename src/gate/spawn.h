// A child program from below the boundary: vfork and exec by raw traps.
#pragma once

namespace cr {

// Runs path(argv, envp) with standard input and output on /dev/null and waits for it.
// 0 if it exited with 0, else a positive errno (EIO: it failed).
int spawn_and_wait(const char* path, const char* const* argv, const char* const* envp);

}  // namespace cr

// The program that is to run: found as execvp(3) finds it, and checked for everything that would
// keep ld.so from loading the preload into it. Without the check such a program would simply run
// natively, and the user would never know.
//
// The check reads files and credentials only; nothing is executed. It can be overtaken by a change
// on disk before the exec, which then reports the kernel's own error.
#pragma once

#include <string>
#include <vector>

#include "prefix.h"

namespace cr::tool {

// Why a program can't be run: "what is wrong; what to do", and the exit status for it.
struct TargetError {
  int status;  // kExitNoProgram or kExitNotRunnable
  std::string message;
};

struct Target {
  std::string path;               // what to pass to execve
  std::vector<std::string> argv;  // argv[0] as the user wrote it; for a script without #!, /bin/sh's
  bool i386 = false;              // a 32-bit program
};

// Throws TargetError.
Target find_target(const std::vector<std::string>& program, const Prefix& prefix);

}  // namespace cr::tool

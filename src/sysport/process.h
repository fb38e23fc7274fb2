// What start-up and the gate need of the process calls (syscalls/process.cc).
#pragma once

#include <stdint.h>

#include "../../arch/frame.h"
#include "../lwkt/thread.h"

namespace cr {

// An exec (the preload goes on) or rt_sigaction of a vfork child, on its parent's memory. Its result or -errno.
long process_passthru_call(trapframe* tf);
void process_init(char** envp);

}  // namespace cr

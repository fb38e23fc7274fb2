// What start-up and the gate need of the process calls (syscalls/process.cc).
#pragma once

#include <stdint.h>

#include "../../arch/frame.h"
#include "../lwkt/thread.h"

namespace cr {

// An exec made by a vfork child, on its parent's memory: the preload goes on. -errno.
long process_passthru_exec(trapframe* tf);
void process_init(char** envp);

}  // namespace cr

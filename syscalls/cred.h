// What the process is allowed to.
#pragma once

#include <stdint.h>

union sysunion;

namespace cr {

// The real uid, as a signal's receiver sees its sender's.
uint32_t cred_uid();
void cred_changed();  // unshare, setns: it may be another one now

// The calling kernel thread has this capability (CAP_*) in force. One trap.
bool cred_capable(int capability);

// A prctl that changes what the process may do: for all kernel threads. 0 or errno.
int cred_prctl(union sysunion* m);

}  // namespace cr

// What the process is allowed to.
#pragma once

union sysunion;

namespace cr {

// The calling kernel thread has this capability (CAP_*) in force. One trap.
bool cred_capable(int capability);

// A prctl that changes what the process may do: for all kernel threads. 0 or errno.
int cred_prctl(union sysunion* m);

}  // namespace cr

#pragma once

#include <libcr/sysunion.h>

namespace cr {

// fcntl's commands that may wait: locks, leases.
int kernelwait_fcntl(union sysunion* m);

// semop and semtimedop without waiting. 0, errno, or kWouldSleep.
inline constexpr int kWouldSleep = -1;
int kernelwait_try_semop(union sysunion* m);

}  // namespace cr

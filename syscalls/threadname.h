// Names of threads, for the calls that give and ask them (threadname.cc).
#pragma once

#include <stdint.h>

union sysunion;

namespace cr {

struct fdentry;

// PR_SET_NAME and PR_GET_NAME of the calling LWKT. 0 or errno.
int threadname_set(union sysunion* m, uint64_t from);
int threadname_get(union sysunion* m, uint64_t to);
// A write to a descriptor whose entry has FDF_COMM: the name of another LWKT.
int threadname_write(union sysunion* m, const fdentry* e);

}  // namespace cr

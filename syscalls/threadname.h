// Names of threads, for the calls that give and ask them (threadname.cc).
#pragma once

#include <stdint.h>

union sysunion;

namespace cr {

struct fdentry;

// PR_SET_NAME and PR_GET_NAME of the calling LWKT. 0 or errno.
int threadname_set(union sysunion* m, uint64_t from);
int threadname_get(union sysunion* m, uint64_t to);
// The call in m if `path` is such a file of an LWKT: 0 or errno in *error. False: it is the kernel's.
bool threadname_open(union sysunion* m, uint64_t path, uint64_t flags, int* error);
// A write to a descriptor whose entry has FDF_COMM: the name of another LWKT.
int threadname_write(union sysunion* m, const fdentry* e);

}  // namespace cr

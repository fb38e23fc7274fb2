// Filters of the program's own calls: prctl's way to them.
#pragma once

union sysunion;

namespace cr {

int seccomp_prctl(union sysunion* m);  // PR_SET_SECCOMP
void seccomp_atfork_child();

}  // namespace cr

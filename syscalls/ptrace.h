// Whether this process has asked to be traced.
#pragma once

namespace cr {

extern bool ptrace_tracee;

}  // namespace cr

// Standard error as it was at start, for what is printed at exit: coreutils and others close
// their own before they end.
#pragma once

namespace cr {

// At start, if anything may be reported. Without it report_fd() is 2.
void report_open();
int report_fd();

}  // namespace cr

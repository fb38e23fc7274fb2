// Process calls that other families need.
#pragma once

#include <libcr/sysunion.h>
#include <stdint.h>

namespace cr {

// A clone that makes a process: fork-like, or sharing our memory (vfork, posix_spawn). `args`: clone3's, or null.
int process_clone(union sysunion* m, uint64_t flags, const struct ::clone_args* args);
void process_report_at_exit();  // --stats and shims that print
void lwkt_reap(struct ::thread* td);
void lwkt_atfork_child();

}  // namespace cr

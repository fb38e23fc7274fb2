// What `cr run --stats` prints.
#pragma once

namespace cr {

// Writes the counters to standard error, one line each. Other cpus may still count.
void stats_print();

}  // namespace cr

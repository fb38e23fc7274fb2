// What `cr run --stats` prints.
#pragma once

namespace cr {

// Writes the counters to `fd`, one line each. Other cpus may still count.
void stats_print(int fd);

}  // namespace cr

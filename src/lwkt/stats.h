// What `cr run --stats` prints.
#pragma once

#include <stdint.h>

namespace cr {

// Writes the counters to `fd`, one line each; `sites`: how many trap sites were rewritten. Other
// cpus may still count.
void stats_print(int fd, uint64_t sites, const char* engine);

}  // namespace cr

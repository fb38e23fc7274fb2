// Objects that come and go while the program runs.
#pragma once

#include <stdint.h>

namespace cr {

// A file's segment was mapped executable (dlopen, or the loader's own mapping): its sites are
// rewritten before the mapping call returns to the program.
void gate_object_mapped(uint64_t addr, uint64_t length, int fd, uint64_t offset);
// Memory is about to be unmapped: sites in it are forgotten.
void gate_object_unmapped(uint64_t addr, uint64_t length);

}  // namespace cr

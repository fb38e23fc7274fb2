// The cache of site tables: one file for each build-id in the user's cache directory.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "object.h"
#include "sitetable.h"

namespace cr {

struct SiteTable {
  const Site* sites = nullptr;
  uint32_t nsites = 0;
  const uint32_t* locks = nullptr;
  uint32_t nlocks = 0;
  bool writes_gs = false;
  void* map = nullptr;
  size_t map_size = 0;
};

// Opens the object's table; has it made if there is none. 0 or a positive errno.
// The table's owner must be the caller (or root) and its build-id the object's.
int cache_open(const ObjectView& o, SiteTable* out);
void cache_close(SiteTable* t);
// From now on there are the tables that the cache has: the program may have forbidden itself what it takes to have one
// made (seccomp), under pain of death.
void cache_make_no_more();
bool cache_makes_no_more();

}  // namespace cr

// The directory where site tables are kept, one file BUILD-ID.sites for each analysed object. The
// preload looks in the same place, so the rule here is the gate's (src/gate/cache.cc).
#pragma once

#include <string>

namespace cr::tool {

// $LIBCR_CACHE, else $XDG_CACHE_HOME/libcr, else $HOME/.cache/libcr, else /tmp/libcr-UID.
std::string site_cache_directory();

}  // namespace cr::tool

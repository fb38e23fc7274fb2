// What is written over a rewritten site: a jump, of both architectures.

#include "../src/gate/stub.h"

namespace cr {

void stub_patch(const Site& s, uint64_t window, uint8_t* text, uint64_t stub) {
  if (static_cast<SiteRule>(s.rule) == SiteRule::kX) {
    text[0] = 0xcc;
    return;
  }
  size_t size = site_window_size(s);
  auto d = static_cast<uint32_t>(stub - (window + 5));
  text[0] = 0xe9;
  for (size_t i = 0; i < 4; i++) text[1 + i] = static_cast<uint8_t>(d >> (8 * i));
  for (size_t i = 5; i < size; i++) text[i] = 0xcc;
}

}  // namespace cr

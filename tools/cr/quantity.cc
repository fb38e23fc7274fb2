// Parsing and range checks of the numbers that options take.
#include "quantity.h"

#include <charconv>

namespace cr::tool {

std::optional<uint64_t> parse_count(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::optional<uint64_t> parse_size(std::string_view text) {
  int shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'K': case 'k': shift = 10; break;
      case 'M': case 'm': shift = 20; break;
      case 'G': case 'g': shift = 30; break;
    }
  }
  if (shift) text.remove_suffix(1);
  const auto count = parse_count(text);
  if (!count || *count > (UINT64_MAX >> shift)) return std::nullopt;
  return *count << shift;
}

std::string check_cpus(const std::string& text) {
  const auto count = parse_count(text);
  if (count && *count >= 1 && *count <= kMaxCpus) return {};
  return "'" + text + "' is not a number of cpus; give 1 to " + std::to_string(kMaxCpus);
}

std::string check_stack_size(const std::string& text) {
  const auto size = parse_size(text);
  if (size && *size >= kMinStackSize && *size <= kMaxStackSize) return {};
  return "'" + text + "' is not a stack size; give bytes, or a number with K, M or G, from 16K to 64G";
}

std::string check_engine(const std::string& text) {
  if (text == "auto" || text == "uring" || text == "epoll" || text == "none") return {};
  return "'" + text + "' is no engine; give auto, uring, epoll or none";
}

std::string check_on_deadlock(const std::string& text) {
  if (text == "report" || text == "abort" || text == "ignore") return {};
  return "'" + text + "' is nothing to do upon a deadlock; give report, abort or ignore";
}

}  // namespace cr::tool

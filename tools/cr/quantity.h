// Option values on the command line: whole numbers in a stated range, sizes with a K, M or G suffix,
// the names of engines and of what to do upon a deadlock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cr::tool {

inline constexpr uint64_t kMaxCpus = 1024;
inline constexpr uint64_t kMinStackSize = uint64_t{16} << 10;
inline constexpr uint64_t kMaxStackSize = uint64_t{64} << 30;

// Decimal digits and nothing else; nothing on overflow.
std::optional<uint64_t> parse_count(std::string_view text);

// A count with an optional suffix K, M or G (binary, either case), in bytes.
std::optional<uint64_t> parse_size(std::string_view text);

// CLI11 validators: an empty string for a good value, else what is wrong with it.
std::string check_cpus(const std::string& text);
std::string check_stack_size(const std::string& text);
std::string check_engine(const std::string& text);
std::string check_on_deadlock(const std::string& text);

}  // namespace cr::tool

// The JSON that the benchmark needs besides json.h: reading the flat object that a program prints,
// and printing numbers.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace cr::bench {

// The object on the line, its strings and numbers as text. Nothing if it isn't a flat object.
std::optional<std::map<std::string, std::string>> parse_flat_object(const std::string& text);

std::string json_number(double value);  // null for what JSON can't say (NaN, infinity)

}  // namespace cr::bench

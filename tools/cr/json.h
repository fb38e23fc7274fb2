// Just enough JSON to print: strings are quoted here, the rest is punctuation at the place of use.
#pragma once

#include <string>
#include <string_view>

namespace cr::tool {

// `text` as a JSON string literal, quotes included. Bytes above 0x7f pass as they are (UTF-8).
std::string json_string(std::string_view text);

}  // namespace cr::tool

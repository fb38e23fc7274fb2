// Only what the programs of tests/bench print is accepted: one object, string keys without
// escapes, values that are numbers or strings.
#include "bench_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>

namespace cr::bench {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) {}

  bool take(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    at_++;
    return true;
  }
  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }
  std::optional<std::string> string() {
    if (!take('"')) return std::nullopt;
    const size_t end = text_.find_first_of("\"\\", at_);
    if (end == std::string::npos || text_[end] != '"') return std::nullopt;
    std::string value = text_.substr(at_, end - at_);
    at_ = end + 1;
    return value;
  }
  std::optional<std::string> number() {
    skip_space();
    const char* start = text_.c_str() + at_;
    char* end;
    strtod(start, &end);
    if (end == start) return std::nullopt;
    const auto length = static_cast<size_t>(end - start);
    at_ += length;
    return std::string(start, length);
  }

 private:
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  const std::string& text_;
  size_t at_ = 0;
};

}  // namespace

std::optional<std::map<std::string, std::string>> parse_flat_object(const std::string& text) {
  Reader reader(text);
  std::map<std::string, std::string> fields;
  if (!reader.take('{')) return std::nullopt;
  do {
    const auto key = reader.string();
    if (!key || !reader.take(':')) return std::nullopt;
    auto value = reader.string();
    if (!value) value = reader.number();
    if (!value) return std::nullopt;
    fields[*key] = *value;
  } while (reader.take(','));
  if (!reader.take('}') || !reader.at_end()) return std::nullopt;
  return fields;
}

std::string json_number(double value) {
  if (!isfinite(value)) return "null";
  char text[40];
  snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

}  // namespace cr::bench

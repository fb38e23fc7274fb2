// The body of `cr analyze`: one object in, one table out, an exit status.
#include <array>
#include <cstdio>
#include <exception>
#include <new>

#include "src/gate/analyze/analyze.h"

namespace cr {
namespace {

void print_summary(const char* object, const AnalyzeResult& r) {
  std::array<size_t, 6> rules{};
  std::array<size_t, 3> vectors{};
  for (const Site& s : r.sites) {
    rules[s.rule]++;
    vectors[s.vector]++;
  }
  std::fprintf(stderr,
               "%s: %zu sites: P %zu, A %zu, B %zu, X %zu, skip %zu; "
               "vectors live: none %zu, xmm %zu, wide %zu\n",
               object, r.sites.size(), rules[1], rules[2], rules[3], rules[4], rules[5], vectors[0],
               vectors[1], vectors[2]);
  for (const std::string& note : r.notes) std::fprintf(stderr, "%s: %s\n", object, note.c_str());
  std::fprintf(stderr, "%s: ms: load %.1f, decode %.1f, targets %.1f, vectors %.1f\n", object,
               r.timing.load_ms, r.timing.decode_ms, r.timing.targets_ms, r.timing.vector_ms);
}

}  // namespace

int analyze_main(const char* object, const char* out, AnalyzeOptions options) {
  try {
    const AnalyzeResult result = analyze_object(object);
    if (options.verbose) print_summary(object, result);
    write_site_table(result, out);
    return 0;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "cr analyze: %s: out of memory; raise the memory limit\n", object);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "cr analyze: %s\n", e.what());
  }
  return 1;
}

}  // namespace cr

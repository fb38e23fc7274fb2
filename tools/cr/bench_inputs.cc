// The words follow a skewed distribution over a made-up vocabulary, so that xz finds matches about
// as often as in text: neither the trivial nor the hopeless case.
#include "bench_inputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace cr::bench {
namespace {

constexpr size_t kWordsBytes = 8 << 20;
constexpr size_t kVocabulary = 4096;
constexpr int kRows = 60'000;
constexpr int kRowsInTransaction = 2000;

// xorshift64: the same sequence everywhere, which std::default_random_engine doesn't promise.
class Random {
 public:
  uint64_t below(uint64_t bound) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return (state_ >> 11) % bound;
  }

 private:
  uint64_t state_ = 88172645463325252u;
};

std::vector<std::string> make_vocabulary(Random& random) {
  std::vector<std::string> words(kVocabulary);
  for (std::string& word : words) {
    for (uint64_t letters = 2 + random.below(9); letters > 0; letters--) {
      word += static_cast<char>('a' + random.below(26));
    }
  }
  return words;
}

void write_table(std::ofstream& script, const std::string& schema, Random& random) {
  const std::string table = schema + ".item";
  script << "CREATE TABLE " << table << "(id INTEGER PRIMARY KEY, grp INTEGER, name TEXT);\n";
  for (int row = 0; row < kRows; row++) {
    if (row % kRowsInTransaction == 0) script << "BEGIN;\n";
    script << "INSERT INTO " << table << " VALUES(" << row << "," << random.below(500) << ",'name "
           << random.below(1'000'000) << "');\n";
    if (row % kRowsInTransaction == kRowsInTransaction - 1) script << "COMMIT;\n";
  }
  script << "CREATE INDEX " << schema << ".by_group ON item(grp);\n";
  for (int query = 0; query < 1000; query++) {
    script << "SELECT count(*), max(name) FROM " << table << " WHERE grp=" << random.below(500)
           << ";\n";
  }
  script << "UPDATE " << table << " SET name=name||'x' WHERE id%3=0;\n"
         << "SELECT grp, count(*), min(name) FROM " << table << " GROUP BY grp ORDER BY 2, 1;\n";
}

}  // namespace

ScratchDir::ScratchDir(const std::filesystem::path& parent) {
  std::string name = (parent / "cr-bench-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("no scratch directory " + name + ": " + strerror(errno));
  }
  path_ = name;
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_words(const std::filesystem::path& directory) {
  Random random;
  const std::vector<std::string> vocabulary = make_vocabulary(random);
  std::ofstream file(directory / "words");
  for (size_t written = 0; written < kWordsBytes;) {
    const std::string& word = vocabulary[random.below(1 + random.below(kVocabulary))];
    file << word << (random.below(12) == 0 ? '\n' : ' ');
    written += word.size() + 1;
  }
}

std::filesystem::path memory_directory() {
  const std::filesystem::path memory = "/dev/shm";
  return access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
}

void write_sqlite_script(const std::filesystem::path& directory,
                         const std::filesystem::path& database) {
  Random random;
  std::ofstream script(directory / "script");
  script << "ATTACH '" << database.string() << "' AS disk;\n"
         << "DROP TABLE IF EXISTS disk.item;\n";
  write_table(script, "main", random);
  write_table(script, "disk", random);
}

}  // namespace cr::bench

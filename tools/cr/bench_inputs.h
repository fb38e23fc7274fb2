// Files that the benchmarked commands read, made afresh for each run in a directory of their own.
#pragma once

#include <filesystem>
#include <string>

namespace cr::bench {

// A private directory that goes away with everything in it.
class ScratchDir {
 public:
  // Under `parent`. Throws std::runtime_error when there is no room for one.
  explicit ScratchDir(const std::filesystem::path& parent = std::filesystem::temp_directory_path());
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// 8 MB of words for a compressor, the same on every machine: `words` in the directory.
void write_words(const std::filesystem::path& directory);

// Where files lie in memory; $TMPDIR where the system has no such place.
std::filesystem::path memory_directory();

// Inserts, updates and queries in memory and in the file `database`: `script` in the directory. It
// can be run any number of times.
void write_sqlite_script(const std::filesystem::path& directory,
                         const std::filesystem::path& database);

}  // namespace cr::bench

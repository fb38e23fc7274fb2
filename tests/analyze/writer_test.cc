// The table file: its image, its mode, and that a failure leaves nothing behind.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <string>

#include "src/gate/analyze/analyze.h"
#include "src/gate/analyze/elf.h"
#include "tests/analyze/scratch.h"

TEST_CASE("the file is the header, the sites and the locks, for its owner only") {
  Scratch dir;
  const cr::AnalyzeResult result = cr::analyze_object(STATIC_OBJECT);
  cr::write_site_table(result, dir / "table");
  const std::string file = slurp(dir / "table");
  cr::SiteTableHeader header;
  REQUIRE(file.size() == sizeof header + result.sites.size() * sizeof(cr::Site) +
                             result.locks.size() * sizeof(uint32_t));
  std::memcpy(&header, file.data(), sizeof header);
  CHECK(header.magic == cr::kSiteTableMagic);
  CHECK(header.version == cr::kSiteTableVersion);
  CHECK(header.nsites == result.sites.size());
  CHECK(header.nlocks == result.locks.size());
  CHECK(header.build_id_len == result.build_id.size());
  CHECK(std::memcmp(header.build_id, result.build_id.data(), header.build_id_len) == 0);
  uint32_t sum = 2166136261u;
  for (size_t i = sizeof header; i < file.size(); i++)
    sum = (sum ^ static_cast<uint8_t>(file[i])) * 16777619u;
  CHECK(header.checksum == sum);
  struct stat st{};
  REQUIRE(stat((dir / "table").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
}

TEST_CASE("the command reports failure and leaves no temporary file") {
  Scratch dir;
  CHECK(cr::analyze_main(STATIC_OBJECT, (dir / "ok").c_str()) == 0);
  CHECK(cr::analyze_main(STATIC_OBJECT, (dir / "no/such/table").c_str()) == 1);
  CHECK(cr::analyze_main((dir / "missing").c_str(), (dir / "out").c_str()) == 1);
  std::filesystem::create_directory(dir / "taken");
  CHECK(cr::analyze_main(STATIC_OBJECT, (dir / "taken").c_str()) == 1);
  size_t entries = 0;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(dir / ".")) entries++;
  CHECK(entries == 2);
}

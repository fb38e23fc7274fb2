// Writes a site table file (src/gate/sitetable.h): a whole new file or none.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "src/gate/analyze/analyze.h"
#include "src/gate/analyze/elf.h"

namespace cr {
namespace {

uint32_t fnv1a(const uint8_t* p, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 16777619u;
  return h;
}

std::vector<uint8_t> table_image(const AnalyzeResult& result) {
  SiteTableHeader header{};
  header.magic = kSiteTableMagic;
  header.version = kSiteTableVersion;
  header.machine = result.machine;
  header.nsites = static_cast<uint32_t>(result.sites.size());
  header.residual = result.residual;
  // An id too long for the field is cut: it still names the object.
  header.build_id_len =
      static_cast<uint32_t>(std::min(result.build_id.size(), sizeof header.build_id));
  std::copy_n(result.build_id.begin(), header.build_id_len, header.build_id);
  header.writes_gs = result.writes_gs ? 1 : 0;
  header.nlocks = static_cast<uint32_t>(result.locks.size());
  std::vector<uint8_t> image(sizeof header);
  const auto append = [&image](const auto& rows) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(rows.data());
    image.insert(image.end(), bytes, bytes + rows.size() * sizeof rows[0]);
  };
  append(result.sites);
  append(result.locks);
  header.checksum = fnv1a(image.data() + sizeof header, image.size() - sizeof header);
  std::memcpy(image.data(), &header, sizeof header);
  return image;
}

// A temporary file that is removed unless it got its final name.
struct Temporary {
  std::string name;
  int fd;

  explicit Temporary(const std::filesystem::path& path)
      : name(path.string() + ".XXXXXX"), fd(mkostemp(name.data(), O_CLOEXEC)) {}
  ~Temporary() {
    if (fd < 0) return;
    close(fd);
    if (!name.empty()) unlink(name.c_str());
  }
};

}  // namespace

void write_site_table(const AnalyzeResult& result, const std::filesystem::path& path) {
  const auto fail = [&](const char* what) {
    throw AnalyzeError(path.string() + ": cannot " + what + ": " + std::strerror(errno) +
                       "; check that the directory exists, is writable and has room");
  };
  const std::vector<uint8_t> image = table_image(result);
  Temporary file(path);
  if (file.fd < 0) fail("make a temporary file beside it");
  if (fchmod(file.fd, 0600) != 0) fail("set the mode of the temporary file");
  for (size_t done = 0; done < image.size();) {
    const ssize_t n = write(file.fd, image.data() + done, image.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write");
    done += static_cast<size_t>(n);
  }
  if (rename(file.name.c_str(), path.c_str()) != 0) fail("rename the temporary file to it");
  file.name.clear();
}

}  // namespace cr

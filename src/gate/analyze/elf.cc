// Headers, symbols and build-id of an ELF object; see elf.h.
#include "src/gate/analyze/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/gate/analyze/reader.h"

namespace cr {
namespace {

constexpr uint64_t kMaxAddress = 1ull << 47;
constexpr uint64_t kMaxFile = 2ull << 30;

std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  const auto error = [&](const char* what) {
    return AnalyzeError(path.string() + ": " + what + ": " + std::strerror(errno) +
                        "; check the path and its permissions");
  };
  struct Fd {
    int fd;
    ~Fd() {
      if (fd >= 0) close(fd);
    }
  } f{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (f.fd < 0) throw error("cannot open");
  struct stat st{};
  if (fstat(f.fd, &st) != 0) throw error("cannot stat");
  if (!S_ISREG(st.st_mode))
    throw AnalyzeError(path.string() + ": not a regular file; give an ELF object");
  if (static_cast<uint64_t>(st.st_size) > kMaxFile)
    throw AnalyzeError(path.string() + ": larger than 2 GiB; it can only run unrewritten");
  std::vector<uint8_t> bytes(static_cast<size_t>(st.st_size));
  size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = read(f.fd, bytes.data() + got, bytes.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw error("cannot read");
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  bytes.resize(got);
  return bytes;
}

}  // namespace

ElfObject::ElfObject(const std::filesystem::path& path) : path_(path), file_(read_file(path)) {
  read_headers();
}

void ElfObject::fail(const std::string& what) const {
  throw AnalyzeError(path_.string() + ": " + what +
                     "; the file is damaged or is no x86_64 ELF object: reinstall it, or leave it out");
}

std::span<const uint8_t> ElfObject::file_range(uint64_t offset, uint64_t size,
                                               const char* what) const {
  if (offset > file_.size() || size > file_.size() - offset)
    fail(std::string(what) + " lies outside the file (offset " + std::to_string(offset) + ", size " +
         std::to_string(size) + ")");
  return std::span(file_).subspan(offset, size);
}

void ElfObject::read_headers() {
  Elf64_Ehdr eh;
  if (file_.size() < sizeof eh) fail("shorter than an ELF header");
  std::memcpy(&eh, file_.data(), sizeof eh);
  if (std::memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0) fail("no ELF magic");
  if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
      eh.e_machine != EM_X86_64)
    fail("not 64-bit little-endian x86_64 (machine " + std::to_string(eh.e_machine) + ")");
  if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN) fail("neither executable nor shared object");
  if (eh.e_phentsize != sizeof(Elf64_Phdr)) fail("bad program header size");
  machine_ = eh.e_machine;

  Reader r(file_range(eh.e_phoff, uint64_t{eh.e_phnum} * sizeof(Elf64_Phdr), "program header table"),
           0);
  while (!r.done()) {
    const auto ph = r.get<Elf64_Phdr>();
    if (ph.p_type == PT_LOAD) {
      Segment s;
      s.addr = ph.p_vaddr;
      s.bytes = file_range(ph.p_offset, ph.p_filesz, "segment");
      s.exec = ph.p_flags & PF_X;
      if (s.addr > kMaxAddress || s.bytes.size() > kMaxAddress) fail("segment address out of range");
      // Ascending and disjoint, as the ELF specification asks: it also bounds our work.
      if (!segments_.empty() && s.addr < segments_.back().end()) fail("segments overlap");
      segments_.push_back(s);
    } else if (ph.p_type == PT_GNU_EH_FRAME) {
      eh_frame_hdr_ = ph.p_vaddr;
    } else if (ph.p_type == PT_NOTE && build_id_.empty()) {
      read_build_id(file_range(ph.p_offset, ph.p_filesz, "note segment"));
    }
  }
  uint64_t loaded = 0;
  for (const Segment& s : segments_) loaded += s.bytes.size();
  if (loaded > 2 * file_.size() + 65536) fail("segments repeat the same bytes");
  if (eh.e_shnum != 0 && eh.e_shentsize == sizeof(Elf64_Shdr))
    read_sections(eh.e_shoff, eh.e_shentsize, eh.e_shnum, eh.e_shstrndx);
}

// Section headers are a help, not a need: a stripped or damaged table is passed over.
void ElfObject::read_sections(uint64_t shoff, uint16_t shentsize, uint16_t shnum,
                              uint16_t shstrndx) {
  if (shoff > file_.size() || uint64_t{shnum} * shentsize > file_.size() - shoff) return;
  const std::span<const uint8_t> file(file_);
  Reader r(file.subspan(shoff, size_t{shnum} * shentsize), 0);
  std::vector<Elf64_Shdr> headers;
  while (!r.done()) headers.push_back(r.get<Elf64_Shdr>());
  const auto inside = [&](const Elf64_Shdr& h) {
    return h.sh_type != SHT_NOBITS && h.sh_offset <= file_.size() &&
           h.sh_size <= file_.size() - h.sh_offset;
  };
  std::span<const uint8_t> names;
  if (shstrndx < headers.size() && inside(headers[shstrndx]))
    names = file.subspan(headers[shstrndx].sh_offset, headers[shstrndx].sh_size);
  bool symtab = false, dynsym = false;
  for (const Elf64_Shdr& h : headers) {
    if (!inside(h)) continue;
    const std::span<const uint8_t> body = file.subspan(h.sh_offset, h.sh_size);
    bool& seen = h.sh_type == SHT_SYMTAB ? symtab : dynsym;
    if ((h.sh_type == SHT_SYMTAB || h.sh_type == SHT_DYNSYM) && !seen) {
      seen = true;
      read_symbols(body);
    }
    static constexpr char kEhFrame[] = ".eh_frame";
    if (h.sh_name < names.size() && names.size() - h.sh_name >= sizeof kEhFrame &&
        std::memcmp(names.data() + h.sh_name, kEhFrame, sizeof kEhFrame) == 0)
      eh_frame_ = h.sh_addr;
  }
}

void ElfObject::read_build_id(std::span<const uint8_t> notes) {
  Reader r(notes, 0);
  while (r.left() >= sizeof(Elf64_Nhdr)) {
    const auto nh = r.get<Elf64_Nhdr>();
    Reader name = r.take((uint64_t{nh.n_namesz} + 3) & ~3ull);
    const size_t before = r.left();
    if (r.bad() || nh.n_descsz > before) return;
    if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 && name.get<uint32_t>() == 0x00554e47) {
      const auto desc = notes.subspan(notes.size() - before, nh.n_descsz);
      build_id_.assign(desc.begin(), desc.end());
      return;
    }
    r.skip((uint64_t{nh.n_descsz} + 3) & ~3ull);
    if (r.bad()) return;
  }
}

void ElfObject::read_symbols(std::span<const uint8_t> table) {
  Reader r(table, 0);
  while (r.left() >= sizeof(Elf64_Sym)) {
    const auto s = r.get<Elf64_Sym>();
    const auto type = ELF64_ST_TYPE(s.st_info);
    if (s.st_shndx == SHN_UNDEF || s.st_shndx == SHN_ABS) continue;
    if (type != STT_FUNC && type != STT_NOTYPE && type != STT_GNU_IFUNC) continue;
    if (executable(s.st_value)) symbols_.push_back({s.st_value, s.st_size, type != STT_NOTYPE});
  }
}

std::span<const uint8_t> ElfObject::at(uint64_t addr) const {
  auto it = std::upper_bound(segments_.begin(), segments_.end(), addr,
                             [](uint64_t a, const Segment& s) { return a < s.addr; });
  if (it == segments_.begin()) return {};
  --it;
  if (addr >= it->end()) return {};
  return it->bytes.subspan(addr - it->addr);
}

bool ElfObject::executable(uint64_t addr) const {
  auto it = std::upper_bound(segments_.begin(), segments_.end(), addr,
                             [](uint64_t a, const Segment& s) { return a < s.addr; });
  if (it == segments_.begin()) return false;
  --it;
  return it->exec && addr < it->end();
}

std::vector<uint64_t> ElfObject::symbol_values() const {
  std::vector<uint64_t> values;
  for (const Symbol& s : symbols_) values.push_back(s.value);
  return values;
}

}  // namespace cr

// Headers, symbols and build-id of an ELF object; see elf.h.
#include "src/gate/analyze/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "src/gate/analyze/reader.h"

namespace cr {
namespace {

struct Elf32 {
  using Ehdr = Elf32_Ehdr;
  using Phdr = Elf32_Phdr;
  using Shdr = Elf32_Shdr;
  using Sym = Elf32_Sym;
};
struct Elf64 {
  using Ehdr = Elf64_Ehdr;
  using Phdr = Elf64_Phdr;
  using Shdr = Elf64_Shdr;
  using Sym = Elf64_Sym;
};

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
                     "; the file is damaged or is no ELF object of x86_64 or i386: reinstall it, or leave it out");
}

std::span<const uint8_t> ElfObject::file_range(uint64_t offset, uint64_t size,
                                               const char* what) const {
  if (offset > file_.size() || size > file_.size() - offset)
    fail(std::string(what) + " lies outside the file (offset " + std::to_string(offset) + ", size " +
         std::to_string(size) + ")");
  return std::span(file_).subspan(offset, size);
}

void ElfObject::read_headers() {
  // The 32-bit header is the shorter one and begins alike.
  Elf32_Ehdr eh;
  if (file_.size() < sizeof eh) fail("shorter than an ELF header");
  std::memcpy(&eh, file_.data(), sizeof eh);
  if (std::memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0) fail("no ELF magic");
  is32_ = eh.e_ident[EI_CLASS] == ELFCLASS32 && eh.e_machine == EM_386;
  if (eh.e_ident[EI_DATA] != ELFDATA2LSB ||
      (!is32_ && (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_X86_64)))
    fail("not little-endian x86_64 or i386 (machine " + std::to_string(eh.e_machine) + ")");
  machine_ = eh.e_machine;
  if (is32_) return read_program_headers<Elf32>(eh);
  Elf64_Ehdr eh64;
  if (file_.size() < sizeof eh64) fail("shorter than an ELF header");
  std::memcpy(&eh64, file_.data(), sizeof eh64);
  read_program_headers<Elf64>(eh64);
}

template <class Elf>
void ElfObject::read_program_headers(const typename Elf::Ehdr& eh) {
  using Phdr = typename Elf::Phdr;
  if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN) fail("neither executable nor shared object");
  if (eh.e_phentsize != sizeof(Phdr)) fail("bad program header size");

  Reader r(file_range(eh.e_phoff, uint64_t{eh.e_phnum} * sizeof(Phdr), "program header table"), 0);
  while (!r.done()) {
    const auto ph = r.get<Phdr>();
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
    } else if (ph.p_type == PT_DYNAMIC && is32_) {
      read_dynamic(file_range(ph.p_offset, ph.p_filesz, "dynamic segment"));
    } else if (ph.p_type == PT_NOTE && build_id_.empty()) {
      read_build_id(file_range(ph.p_offset, ph.p_filesz, "note segment"));
    }
  }
  uint64_t loaded = 0;
  for (const Segment& s : segments_) loaded += s.bytes.size();
  if (loaded > 2 * file_.size() + 65536) fail("segments repeat the same bytes");
  if (eh.e_shnum != 0 && eh.e_shentsize == sizeof(typename Elf::Shdr)) read_sections<Elf>(eh);
}

// Of a 32-bit object: where its data is addressed from.
void ElfObject::read_dynamic(std::span<const uint8_t> table) {
  for (Reader r(table, 0); r.left() >= sizeof(Elf32_Dyn);) {
    const auto d = r.get<Elf32_Dyn>();
    if (d.d_tag == DT_NULL) return;
    if (d.d_tag == DT_PLTGOT) got_ = d.d_un.d_ptr;
  }
}

// Section headers are a help, not a need: a stripped or damaged table is passed over.
template <class Elf>
void ElfObject::read_sections(const typename Elf::Ehdr& eh) {
  using Shdr = typename Elf::Shdr;
  const size_t size = size_t{eh.e_shnum} * sizeof(Shdr);
  if (eh.e_shoff > file_.size() || size > file_.size() - eh.e_shoff) return;
  const std::span<const uint8_t> file(file_);
  Reader r(file.subspan(eh.e_shoff, size), 0);
  std::vector<Shdr> headers;
  while (!r.done()) headers.push_back(r.get<Shdr>());
  const auto inside = [&](const Shdr& h) {
    return h.sh_type != SHT_NOBITS && h.sh_offset <= file_.size() &&
           h.sh_size <= file_.size() - h.sh_offset;
  };
  std::span<const uint8_t> names;
  if (eh.e_shstrndx < headers.size() && inside(headers[eh.e_shstrndx]))
    names = file.subspan(headers[eh.e_shstrndx].sh_offset, headers[eh.e_shstrndx].sh_size);
  bool symtab = false, dynsym = false;
  for (const Shdr& h : headers) {
    if (!inside(h)) continue;
    const std::span<const uint8_t> body = file.subspan(h.sh_offset, h.sh_size);
    bool& seen = h.sh_type == SHT_SYMTAB ? symtab : dynsym;
    if ((h.sh_type == SHT_SYMTAB || h.sh_type == SHT_DYNSYM) && !seen) {
      seen = true;
      read_symbol_table<Elf>(body);
    }
    const auto named = [&](std::string_view name) {
      return h.sh_name < names.size() && names.size() - h.sh_name > name.size() &&
             std::memcmp(names.data() + h.sh_name, name.data(), name.size() + 1) == 0;
    };
    if (named(".eh_frame")) eh_frame_ = h.sh_addr;
    if (named(".gopclntab") || named(".data.rel.ro.gopclntab")) pclntab_ = h.sh_addr;
    if (named(".go.buildinfo")) go_ = true;
  }
  go_ = go_ || pclntab_ != 0;
  uint64_t left = file.size();  // sections that repeat the same bytes are not worth keeping
  for (const Shdr& h : headers) {
    if (!go_ || is32_ || h.sh_type != SHT_RELA || !inside(h) || h.sh_size > left) continue;
    left -= h.sh_size;
    relocations_.push_back(file.subspan(h.sh_offset, h.sh_size));
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

template <class Elf>
void ElfObject::read_symbol_table(std::span<const uint8_t> table) {
  using Sym = typename Elf::Sym;
  Reader r(table, 0);
  while (r.left() >= sizeof(Sym)) {
    const auto s = r.get<Sym>();
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

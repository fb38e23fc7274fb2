// Reading ELF headers. Every offset that the file gives is checked by the read that uses it.
#include "elf_file.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace cr::tool {
namespace {

class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), path);
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Reads exactly `size` bytes; false at the end of the file.
  bool read_at(void* into, size_t size, off_t offset) const {
    return pread(fd_, into, size, offset) == static_cast<ssize_t>(size);
  }

 private:
  int fd_;
};

[[noreturn]] void cut_short() { throw std::runtime_error("the ELF file is cut short or corrupt"); }

template <class Header, class Segment>
std::string read_interpreter(const File& file) {
  Header header;
  if (!file.read_at(&header, sizeof header, 0)) cut_short();
  if (header.e_phnum != 0 && header.e_phentsize != sizeof(Segment)) cut_short();
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Segment segment;
    if (!file.read_at(&segment, sizeof segment, header.e_phoff + i * sizeof segment)) cut_short();
    if (segment.p_type != PT_INTERP) continue;
    if (segment.p_filesz < 2 || segment.p_filesz > 4096) cut_short();  // the kernel's limits
    std::string name(segment.p_filesz, '\0');
    if (!file.read_at(name.data(), name.size(), segment.p_offset)) cut_short();
    return name.c_str();
  }
  return {};
}

}  // namespace

std::optional<ElfFile> read_elf(const std::string& path) {
  const File file(path);
  std::array<unsigned char, EI_NIDENT> ident;
  if (!file.read_at(ident.data(), SELFMAG, 0) || memcmp(ident.data(), ELFMAG, SELFMAG) != 0) {
    return std::nullopt;
  }
  // e_type and e_machine lie at the same place in both classes.
  Elf64_Ehdr header{};
  if (!file.read_at(&header, offsetof(Elf64_Ehdr, e_version), 0)) cut_short();
  ElfFile elf{header.e_ident[EI_CLASS], header.e_machine, header.e_type, {}};
  if (header.e_ident[EI_DATA] != ELFDATA2LSB) {
    elf.machine = __builtin_bswap16(elf.machine);
    elf.type = __builtin_bswap16(elf.type);
  }
  if (elf.elf_class == ELFCLASS64 && elf.machine == EM_X86_64) {
    elf.interpreter = read_interpreter<Elf64_Ehdr, Elf64_Phdr>(file);
  } else if (elf.elf_class == ELFCLASS32 && elf.machine == EM_386) {
    elf.interpreter = read_interpreter<Elf32_Ehdr, Elf32_Phdr>(file);
  }
  return elf;
}

std::string machine_name(uint16_t machine) {
  switch (machine) {
    case EM_386: return "i386";
    case EM_X86_64: return "x86_64";
    case EM_AARCH64: return "aarch64";
    case EM_ARM: return "arm";
    case EM_RISCV: return "riscv";
    case EM_PPC64: return "ppc64";
    case EM_S390: return "s390";
    case EM_MIPS: return "mips";
    default: return "ELF machine " + std::to_string(machine);
  }
}

}  // namespace cr::tool

// The checks, in the order in which the kernel and ld.so would meet them: search, permission,
// #! chain, ELF header, interpreter, credentials.
#include "target.h"

#include <elf.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "elf_file.h"
#include "subcommand.h"

namespace cr::tool {
namespace {

constexpr char kInterpreter[] = "/lib64/ld-linux-x86-64.so.2";
constexpr char kInterpreterI386[] = "/lib/ld-linux.so.2";
constexpr char kShell[] = "/bin/sh";

// exec_binprm() in fs/exec.c gives up when its depth counter passes 5: five scripts may stand before
// the ELF file (its comment counts them differently; five work, six are ELOOP, seen on Linux 6.18).
constexpr int kMaxScripts = 5;

// BINPRM_BUF_SIZE: how much of a file the kernel looks at for the #! line.
constexpr size_t kScriptLineMax = 256;

[[noreturn]] void not_runnable(const std::string& message) {
  throw TargetError{kExitNotRunnable, message};
}

[[noreturn]] void no_program(const std::string& message) {
  throw TargetError{kExitNoProgram, message};
}

// Throws unless execve may execute the file: a regular file, with permission, not on a noexec mount
// (access(2) knows of those).
void require_executable(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    if (errno == EACCES) {
      not_runnable("permission denied on the way to it; check the directories' permissions");
    }
    if (errno == ENOENT || errno == ENOTDIR) no_program("no such program; check the name");
    not_runnable(std::system_category().message(errno) + "; check the path");
  }
  if (S_ISDIR(status.st_mode)) not_runnable("is a directory; name the program inside it");
  if (!S_ISREG(status.st_mode)) not_runnable("is not a regular file; name a program");
  if (faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0) return;
  struct statvfs filesystem;
  if (statvfs(path.c_str(), &filesystem) == 0 && (filesystem.f_flag & ST_NOEXEC)) {
    not_runnable("lies on a file system mounted noexec; copy it to another one");
  }
  not_runnable("permission denied: not executable; chmod +x it, or run its interpreter on it");
}

bool is_executable_file(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
}

// execvp's search: a name with a slash is a path; an empty PATH element is the working directory; a
// file that is there but not executable is passed over, and reported if nothing better follows.
std::string search_path(const std::string& name) {
  if (name.empty()) no_program("the program's name is empty; give a name");
  if (name.find('/') != std::string::npos) {
    require_executable(name);
    return name;
  }
  const char* variable = getenv("PATH");
  const std::string path = variable ? variable : "/bin:/usr/bin";
  std::string forbidden;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::string directory = path.substr(begin, end - begin);
    const std::string candidate = directory.empty() ? name : directory + "/" + name;
    if (is_executable_file(candidate)) return candidate;
    if (forbidden.empty() && access(candidate.c_str(), F_OK) == 0) forbidden = candidate;
    begin = end + 1;
  }
  if (forbidden.empty()) no_program("no such program; check the name, or give its path");
  require_executable(forbidden);
  return forbidden;
}

// The interpreter that a #! line names, as load_script() in fs/binfmt_script.c parses it. Nothing if
// the file is not a script, or its line names nothing (the kernel then says ENOEXEC).
std::optional<std::string> script_interpreter(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::array<char, kScriptLineMax> buffer;
  const ssize_t size = read(fd, buffer.data(), buffer.size());
  close(fd);
  if (size < 2) return std::nullopt;
  std::string_view line(buffer.data(), static_cast<size_t>(size));
  if (!line.starts_with("#!")) return std::nullopt;
  line = line.substr(2, line.find_first_of(std::string_view("\n\0", 2)) - 2);
  const size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return std::nullopt;
  line.remove_prefix(begin);
  return std::string(line.substr(0, line.find_first_of(" \t")));
}

void require_script_interpreter(const std::string& interpreter) {
  try {
    require_executable(interpreter);
  } catch (const TargetError& error) {
    // The program is there, so the status is 126 whatever is wrong with the interpreter: as bash does.
    not_runnable("its interpreter " + interpreter + ": " + error.message);
  }
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat first;
  struct stat second;
  return stat(a.c_str(), &first) == 0 && stat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

void require_supported_elf(const ElfFile& elf, const std::string& path, const Prefix& prefix) {
  const bool i386 = elf.machine == EM_386 && elf.elf_class == ELFCLASS32;
  if (i386 && !std::filesystem::exists(prefix.preload_i386())) {
    not_runnable("is a 32-bit i386 program, and there is no " + prefix.preload_i386() +
                 "; install a compiler for 32-bit code (g++-multilib) and build again");
  }
  if (!i386 && elf.machine != EM_X86_64) {
    not_runnable("wrong architecture (" + machine_name(elf.machine) + "); use an x86_64 build of it");
  }
  if (!i386 && elf.elf_class != ELFCLASS64) {
    not_runnable("wrong architecture (the x32 ABI); use a 64-bit x86_64 build of it");
  }
  if (elf.type != ET_EXEC && elf.type != ET_DYN) {
    not_runnable("is an ELF file but not a program (object or core file); link it first");
  }
  const char* glibc = i386 ? kInterpreterI386 : kInterpreter;
  if (elf.interpreter.empty()) {
    if (same_file(path, glibc)) return;  // ld.so PROGRAM: it honours LD_PRELOAD itself
    not_runnable("is statically linked, so no ld.so can preload libcr; " +
                 (i386 ? std::string("link it dynamically") : "relink it with " + prefix.archive()));
  }
  if (elf.interpreter != glibc && !same_file(elf.interpreter, glibc)) {
    not_runnable("unsupported libc (its interpreter is " + elf.interpreter +
                 "); use a build for glibc, whose interpreter is " + glibc);
  }
}

void require_supported_glibc() {
  int major = 0;
  int minor = 0;
  if (sscanf(gnu_get_libc_version(), "%d.%d", &major, &minor) != 2) return;
  if (major > 2 || (major == 2 && minor >= 34)) return;
  not_runnable(std::string("unsupported libc (glibc ") + gnu_get_libc_version() +
               "); libcr needs glibc 2.34 or later");
}

std::string user_name(uid_t uid) {
  const struct passwd* entry = getpwuid(uid);
  return entry ? entry->pw_name : "uid " + std::to_string(uid);
}

// AT_SECURE as cap_bprm_creds_from_file() in security/commoncap.c decides it: the exec changes the
// effective user or group, or gives capabilities to a caller whose real user is not root. Then ld.so
// ignores an LD_PRELOAD with slashes. A nosuid mount or no_new_privs makes the bits void.
void require_not_secure(const std::string& path) {
  struct stat status;
  struct statvfs filesystem;
  if (stat(path.c_str(), &status) != 0) return;
  if (statvfs(path.c_str(), &filesystem) == 0 && (filesystem.f_flag & ST_NOSUID)) return;
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return;
  if ((status.st_mode & S_ISUID) && status.st_uid != getuid()) {
    const std::string owner = user_name(status.st_uid);
    not_runnable("is setuid to " + owner + ", so ld.so ignores LD_PRELOAD; run cr as " + owner +
                 ", or run a copy without the setuid bit");
  }
  // Without group execute permission S_ISGID means mandatory locking, not setgid.
  if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != getgid()) {
    not_runnable("is setgid to gid " + std::to_string(status.st_gid) +
                 ", so ld.so ignores LD_PRELOAD; run cr in that group (newgrp), or run a copy "
                 "without the setgid bit");
  }
  if (getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    not_runnable("has file capabilities, so ld.so ignores LD_PRELOAD; run cr as root, or run a copy "
                 "without them");
  }
}

}  // namespace

Target find_target(const std::vector<std::string>& program, const Prefix& prefix) {
  Target target{search_path(program.front()), program, false};
  std::string image = target.path;  // the file whose header decides: the last one of the #! chain
  for (int scripts = 0;; ++scripts) {
    std::optional<ElfFile> elf;
    try {
      elf = read_elf(image);
    } catch (const std::system_error& error) {
      if (error.code().value() != EACCES) not_runnable(error.code().message() + "; check the file");
      // Executable but not readable: the kernel can run it, cr can't look into it.
      not_runnable("is not readable, so it can't be checked; chmod +r it");
    } catch (const std::runtime_error& error) {
      not_runnable(error.what() + std::string("; install it again"));
    }
    if (elf) {
      require_supported_elf(*elf, image, prefix);
      target.i386 = elf->machine == EM_386;
      if (!target.i386) require_supported_glibc();  // the other one's version is not known here
      require_not_secure(image);
      return target;
    }
    if (scripts == kMaxScripts) {
      not_runnable("its #! lines form a chain of more than " + std::to_string(kMaxScripts) +
                   " scripts, which the kernel refuses; name a binary in one of them");
    }
    if (const auto interpreter = script_interpreter(image)) {
      require_script_interpreter(*interpreter);
      image = *interpreter;
      continue;
    }
    if (scripts > 0) {
      not_runnable("its interpreter " + image + " is neither ELF nor a script; correct the #! line");
    }
    // ENOEXEC: execvp hands the file to the shell.
    target.argv.assign({kShell, target.path});
    target.argv.insert(target.argv.end(), program.begin() + 1, program.end());
    target.path = image = kShell;
  }
}

}  // namespace cr::tool

// Where: $LIBCR_CACHE, else $XDG_CACHE_HOME/libcr, else $HOME/.cache/libcr, and /tmp/libcr-UID if
// there is none of these or it is of no use: a program that gave up root still has root's $HOME,
// and a service may have one that doesn't exist. A table is used only if it belongs to the caller's effective user or to root
// and nobody else can write it; a directory in /tmp is checked the same way. Its content is
// still not trusted: object.cc compares every byte before it writes.
//
// A missing table is made by `cr analyze` in a child process: the analyser is ordinary C++ with
// a disassembler and has no place in somebody's address space.

#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../../arch/abi.h"
#include "../../arch/rawcall.h"
#include "spawn.h"
#include "../lwkt/atomic.h"
#include "../lwkt/slab.h"
#include "start.h"

namespace cr {

namespace {

inline constexpr size_t kPathMax = 4096;

bool closed;  // cache_make_no_more

// A path. Not on the stack: that may be the smallest one of a thread that loads a library.
struct Text {
  char* data = static_cast<char*>(slab_alloc(kPathMax));
  size_t room = data != nullptr ? kPathMax : 0;
  size_t len = 0;
  bool fits = true;

  Text() { clear(); }
  ~Text() { slab_free(data, kPathMax); }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  void clear() {
    len = 0;
    fits = room != 0;
    if (fits) data[0] = '\0';
  }
  void put(char c) {
    if (len + 1 >= room) {
      fits = false;
      return;
    }
    data[len++] = c;
    data[len] = '\0';
  }
  void put(const char* s) {
    while (*s != '\0') put(*s++);
  }
  void hex(uint8_t b) {
    const char* digits = "0123456789abcdef";
    put(digits[b >> 4]);
    put(digits[b & 15]);
  }
  void number(uint64_t v) {
    char buf[24];
    int n = 0;
    do {
      buf[n++] = static_cast<char>('0' + v % 10);
      v /= 10;
    } while (v != 0);
    while (n > 0) put(buf[--n]);
  }
};

// False if the environment names none.
bool put_named_directory(Text& t) {
  if (options.cache != nullptr && options.cache[0] != '\0') {
    t.put(options.cache);
  } else if (options.xdg_cache != nullptr && options.xdg_cache[0] == '/') {
    t.put(options.xdg_cache);
    t.put("/libcr");
  } else if (options.home != nullptr && options.home[0] == '/') {
    t.put(options.home);
    t.put("/.cache/libcr");
  } else {
    return false;
  }
  return true;
}

// Anybody may make names in /tmp: ours is used only if it is our own directory.
bool put_temporary_directory(Text& t) {
  auto me = static_cast<uid_t>(raw0(kSysGeteuid));
  t.put("/tmp/libcr-");
  t.number(me);
  raw2(SYS_mkdir, reinterpret_cast<long>(t.data), 0700);
  struct stat st;
  if (raw_failed(raw2(kSysLstat, reinterpret_cast<long>(t.data), reinterpret_cast<long>(&st)))) {
    return false;
  }
  return S_ISDIR(st.st_mode) && st.st_uid == me && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// An object without a build-id is known by what it is on disk.
bool put_key(Text& t, const ObjectView& o) {
  if (o.build_id != nullptr) {
    for (uint32_t i = 0; i < o.build_id_len; i++) t.hex(o.build_id[i]);
    return true;
  }
  struct stat st;
  if (raw_failed(raw2(kSysStat, reinterpret_cast<long>(o.path), reinterpret_cast<long>(&st)))) {
    return false;
  }
  t.put("file-");
  t.number(st.st_dev);
  t.put('-');
  t.number(st.st_ino);
  t.put('-');
  t.number(static_cast<uint64_t>(st.st_size));
  t.put('-');
  t.number(static_cast<uint64_t>(st.st_mtim.tv_sec));
  t.put('.');
  t.number(static_cast<uint64_t>(st.st_mtim.tv_nsec));
  return true;
}

void make_directories(const Text& file) {
  Text dir;
  for (size_t i = 0; i < file.len; i++) {
    if (file.data[i] == '/' && i > 0) {
      raw2(SYS_mkdir, reinterpret_cast<long>(dir.data), 0700);
    }
    dir.put(file.data[i]);
  }
}

bool header_fits(const SiteTableHeader* h, size_t size, const ObjectView& o) {
  if (h->magic != kSiteTableMagic || h->version != kSiteTableVersion || h->machine != kElfMachine) {
    return false;
  }
  if (size != sizeof(*h) + static_cast<uint64_t>(h->nsites) * sizeof(Site) +
                  static_cast<uint64_t>(h->nlocks) * sizeof(uint32_t)) {
    return false;
  }
  if (o.build_id == nullptr) return true;
  if (h->build_id_len != o.build_id_len) return false;
  for (uint32_t i = 0; i < o.build_id_len; i++) {
    if (h->build_id[i] != o.build_id[i]) return false;
  }
  return true;
}

int open_table(const char* path, const ObjectView& o, SiteTable* out) {
  long fd = raw4(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
  if (raw_failed(fd)) return static_cast<int>(-fd);
  struct stat st;
  long r = raw2(kSysFstat, fd, reinterpret_cast<long>(&st));
  auto me = static_cast<uid_t>(raw0(kSysGeteuid));
  bool mine = !raw_failed(r) && (st.st_uid == me || st.st_uid == 0) &&
              (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  auto size = static_cast<size_t>(st.st_size);
  if (!mine || size < sizeof(SiteTableHeader)) {
    raw1(SYS_close, fd);
    return mine ? EINVAL : EPERM;
  }
  long p = raw_mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  raw1(SYS_close, fd);
  if (raw_failed(p)) return static_cast<int>(-p);
  auto* h = reinterpret_cast<const SiteTableHeader*>(p);
  if (!header_fits(h, size, o)) {
    raw2(SYS_munmap, p, st.st_size);
    return EINVAL;
  }
  out->map = reinterpret_cast<void*>(p);
  out->map_size = size;
  out->sites = reinterpret_cast<const Site*>(h + 1);
  out->nsites = h->nsites;
  out->locks = reinterpret_cast<const uint32_t*>(out->sites + h->nsites);
  out->nlocks = h->nlocks;
  out->writes_gs = h->writes_gs != 0;
  return 0;
}

int analyse(const char* object, const char* table) {
  const char* cr = analyser_path;
  if (cr == nullptr) return ENOENT;
  const char* argv[] = {cr, "analyze", object, "-o", table, nullptr};
  const char* envp[] = {"PATH=/usr/bin:/bin", nullptr};
  return spawn_and_wait(cr, argv, envp);
}

}  // namespace

namespace {

// Makes the directory of `file` and says whether a table can be put there. It is tried: a filter of the program's calls
// (seccomp) may forbid what the directory allows, and an analyser would start in vain.
bool writable_directory(const Text& file) {
  make_directories(file);
  Text trial;
  trial.put(file.data);
  trial.put(".trial");
  long fd = raw3(SYS_open, reinterpret_cast<long>(trial.data), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd == -EEXIST) return true;  // somebody else's
  if (raw_failed(fd)) return false;
  raw1(SYS_close, fd);
  raw1(SYS_unlink, reinterpret_cast<long>(trial.data));
  return true;
}

int open_in(Text& path, const ObjectView& o, SiteTable* out) {
  path.put('/');
  if (!put_key(path, o)) return ENOENT;
  path.put(".sites");
  if (!path.fits) return ENAMETOOLONG;
  int error = open_table(path.data, o, out);
  if (error != ENOENT && error != EINVAL) return error;
  if (cache_makes_no_more()) return EACCES;
  if (error == EINVAL) raw1(SYS_unlink, reinterpret_cast<long>(path.data));
  if (!writable_directory(path)) return EACCES;
  error = analyse(o.path, path.data);
  if (error != 0) return error;
  return open_table(path.data, o, out);
}

}  // namespace

void cache_make_no_more() { store_release(&closed, true); }
bool cache_makes_no_more() { return load_acquire(&closed); }

int cache_open(const ObjectView& o, SiteTable* out) {
  Text path;
  if (!path.fits) return ENOMEM;
  int error = put_named_directory(path) ? open_in(path, o, out) : EACCES;
  if ((error != EACCES && error != EPERM) || cache_makes_no_more()) return error;
  path.clear();
  return put_temporary_directory(path) ? open_in(path, o, out) : error;
}

void cache_close(SiteTable* t) {
  if (t->map != nullptr) {
    raw2(SYS_munmap, reinterpret_cast<long>(t->map), static_cast<long>(t->map_size));
  }
  *t = SiteTable{};
}

}  // namespace cr

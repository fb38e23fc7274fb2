// Names of threads: PR_SET_NAME and PR_GET_NAME, and /proc/self/task/TID/comm, by which libc names
// other threads than the caller.
//
// The kernel knows no LWKT, so an open of that file makes a file in memory that holds the name. What
// is written to it through this descriptor becomes the name at once, as in the kernel; a duplicate
// of the descriptor, or a child's, only reads. The first thread's name is the process's and stays
// with the kernel thread that has its id.

#include "threadname.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/fdtable.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "blocking.h"
#include "sysent.h"

namespace cr {

namespace {

inline constexpr size_t kName = 16;  // TASK_COMM_LEN

// A path, made or read a byte at a time.
struct Path {
  char data[64];
  size_t len = 0;
  void put(const char* s) {
    while (*s != '\0') data[len++] = *s++;
    data[len] = '\0';
  }
  void number(int64_t v) {
    char digits[24];
    int n = 0;
    do {
      digits[n++] = static_cast<char>('0' + v % 10);
      v /= 10;
    } while (v != 0);
    while (n > 0) data[len++] = digits[--n];
    data[len] = '\0';
  }
  bool load(uint64_t user) {
    for (len = 0; len < sizeof data; len++) {
      if (user_copy(&data[len], reinterpret_cast<const void*>(user + len), 1) != 0) return false;
      if (data[len] == '\0') return true;
    }
    return false;
  }
  long address() const { return reinterpret_cast<long>(data); }
};

bool skip(const char** at, const char* word) {
  const char* s = *at;
  while (*word != '\0') {
    if (*s++ != *word++) return false;
  }
  *at = s;
  return true;
}

bool number(const char** at, int64_t* out) {
  const char* s = *at;
  int64_t v = 0;
  while (*s >= '0' && *s <= '9' && v < 1ll << 40) v = v * 10 + (*s++ - '0');
  bool any = s != *at;
  *at = s;
  *out = v;
  return any;
}

// The thread whose name file this is; 0: not such a path, or one that the kernel serves.
int32_t thread_of_path(uint64_t user) {
  uint64_t begin;
  if (user_fetch64(&begin, reinterpret_cast<const uint64_t*>(user)) != 0) return 0;
  if ((begin & 0xffffffffffffull) != 0x2f636f72702full) return 0;  // "/proc/"
  Path path;
  if (!path.load(user)) return 0;
  const char* at = path.data + 6;
  int64_t id;
  if (skip(&at, "thread-self/")) {
    id = curthread()->td_tid;
  } else {
    if (!skip(&at, "self/")) {
      if (!number(&at, &id) || id != tid_process() || !skip(&at, "/")) return 0;
    }
    if (!skip(&at, "task/") || !number(&at, &id) || !skip(&at, "/")) return 0;
  }
  if (!skip(&at, "comm") || *at != '\0' || id < kTidBase || id > INT32_MAX) return 0;
  return static_cast<int32_t>(id);
}

void copy_name(char* to, const char* from) {
  for (size_t i = 0; i < kName; i++) to[i] = from[i];
}

bool name_of(int32_t tid, char* name) {
  Guard g(siglock);  // or the thread could end and its memory be another's
  const thread* td = tid_find(tid);
  if (td != nullptr) copy_name(name, td->td_comm);
  return td != nullptr;
}

// The file's content is the name and a line's end.
void fill(long fd, const char* name) {
  char text[kName + 1];
  size_t n = 0;
  while (n < kName - 1 && name[n] != '\0') text[n] = name[n], n++;
  text[n++] = '\n';
  raw6(SYS_pwrite64, fd, reinterpret_cast<long>(text), static_cast<long>(n), 0, 0, 0);
  raw2(SYS_ftruncate, fd, static_cast<long>(n));
}

// A descriptor with the asked access, at the lowest free number.
long open_memory(const char* name, uint64_t flags) {
  long fd = raw2(SYS_memfd_create, reinterpret_cast<long>("comm"), MFD_CLOEXEC);
  if (raw_failed(fd)) return fd;
  fill(fd, name);
  Path self;
  self.put("/proc/self/fd/");
  self.number(fd);
  long again = raw3(SYS_open, self.address(), static_cast<long>(flags & O_ACCMODE) | O_CLOEXEC, 0);
  if (!raw_failed(again)) {
    raw3(SYS_dup3, again, fd, static_cast<long>(flags & O_CLOEXEC));
    raw1(SYS_close, again);
    return fd;
  }
  raw1(SYS_close, fd);
  return again;
}

int open_comm(union sysunion* m, int32_t tid, uint64_t flags) {
  char name[kName];
  if (!name_of(tid, name)) return ENOENT;
  if ((flags & O_DIRECTORY) != 0) return ENOTDIR;
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return EEXIST;
  long fd = open_memory(name, flags);
  if (raw_failed(fd)) return static_cast<int>(-fd);
  fd_born(static_cast<int>(fd), FDK_FILE, false, nullptr);
  fdentry* e = fd_entry(fd);
  if ((flags & O_ACCMODE) != O_RDONLY && e != nullptr) {
    Guard g(e->lock);
    e->flags |= FDF_COMM;
    e->comm_tid = tid;
  }
  m->sm.sm_result = fd;
  return 0;
}

// The first thread's: by the kernel thread that has its id.
Path main_path() {
  Path p;
  p.put("/proc/self/task/");
  p.number(tid_process());
  p.put("/comm");
  return p;
}

bool on_main_kernel_thread() { return mygd()->gd_ktid == tid_process(); }

int set_main(union sysunion* m, const char* name) {
  if (on_main_kernel_thread()) return sysport_trap(m);
  Path p = main_path();
  long fd = raw3(SYS_open, p.address(), O_WRONLY | O_CLOEXEC, 0);
  if (raw_failed(fd)) return sysport_trap(m);
  size_t n = 0;
  while (name[n] != '\0') n++;
  raw3(SYS_write, fd, reinterpret_cast<long>(name), static_cast<long>(n));
  raw1(SYS_close, fd);
  return 0;
}

int get_main(union sysunion* m, uint64_t to) {
  if (on_main_kernel_thread()) return sysport_trap(m);
  Path p = main_path();
  char name[kName + 1] = {};
  long fd = raw3(SYS_open, p.address(), O_RDONLY | O_CLOEXEC, 0);
  if (raw_failed(fd)) return sysport_trap(m);
  long n = raw3(SYS_read, fd, reinterpret_cast<long>(name), kName);
  raw1(SYS_close, fd);
  if (n > 0) name[n - 1] = '\0';  // the line's end
  return user_copy(reinterpret_cast<void*>(to), name, kName) != 0 ? EFAULT : 0;
}

}  // namespace

int threadname_set(union sysunion* m, uint64_t from) {
  char name[kName] = {};
  for (uint64_t i = 0; i < kName - 1; i++) {
    if (user_copy(&name[i], reinterpret_cast<const void*>(from + i), 1) != 0) return EFAULT;
    if (name[i] == '\0') break;
  }
  thread* td = curthread();
  copy_name(td->td_comm, name);
  m->sm.sm_result = 0;
  return (td->td_flags & TDF_MAIN) != 0 ? set_main(m, name) : 0;
}

int threadname_get(union sysunion* m, uint64_t to) {
  thread* td = curthread();
  m->sm.sm_result = 0;
  if ((td->td_flags & TDF_MAIN) != 0) return get_main(m, to);
  return user_copy(reinterpret_cast<void*>(to), td->td_comm, kName) != 0 ? EFAULT : 0;
}

int threadname_write(union sysunion* m, const fdentry* e) {
  const uint64_t* a = m->raw.arg;
  char name[kName] = {};
  uint64_t n = a[2] < kName - 1 ? a[2] : kName - 1;
  if (user_copy(name, reinterpret_cast<const void*>(a[1]), n) != 0) return EFAULT;
  int32_t tid = e->comm_tid;
  {
    Guard g(siglock);
    thread* td = tid_find(tid);
    if (td == nullptr) return ESRCH;
    copy_name(td->td_comm, name);
  }
  fill(static_cast<long>(a[0]), name);
  m->sm.sm_result = static_cast<int64_t>(a[2]);
  return 0;
}

bool threadname_open(union sysunion* m, uint64_t path, uint64_t flags, int* error) {
  int32_t tid = thread_of_path(path);
  if (__builtin_expect(tid == 0, 1)) return false;
  *error = open_comm(m, tid, flags);
  return true;
}

}  // namespace cr

// An entry of the table says who took the block and when: a pid alone may be another process's by
// now. The time is the boot clock's in hundredths of a second, what /proc/PID/stat gives for a
// process's start; a start after the claim is a successor's.

#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../arch/abi.h"
#include "../../arch/rawcall.h"
#include "../lwkt/atomic.h"
#include "../lwkt/clock.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

inline constexpr uint32_t kBells = 1024;
inline constexpr uint32_t kTickSlack = 2;  // clock readings of two places, in hundredths

// Processes of both classes have it: i386 aligns 64-bit words to 4.
struct Table {
  uint32_t cursor;  // blocks are handed out in turn: a dead owner's id stays unused for long
  uint32_t bell[kBells];
  alignas(8) uint64_t block[kTidBlocks];  // pid << 32 | time of the claim; 0: free
};
static_assert(offsetof(Table, block) == 8 + kBells * 4 && sizeof(Table) == 8 + kBells * 4 + kTidBlocks * 8);

Table* table;
bool tried;
GlobalLock lock;
long sandbox;  // of the process at its start
uint32_t own_bells[64];

char* put_text(char* out, const char* s) {
  while (*s != '\0') *out++ = *s++;
  *out = '\0';
  return out;
}

char* put_number(char* out, uint64_t n) {
  char digits[20];
  int k = 0;
  do {
    digits[k++] = static_cast<char>('0' + n % 10);
    n /= 10;
  } while (n != 0);
  while (k > 0) *out++ = digits[--k];
  *out = '\0';
  return out;
}

bool own_regular_file(long fd, uint64_t uid, struct stat* st) {
  return raw2(kSysFstat, fd, reinterpret_cast<long>(st)) == 0 && S_ISREG(st->st_mode) &&
         st->st_uid == uid;
}

Table* open_table() {
  // A filter that came after start may kill for an open.
  if (raw1(SYS_prctl, PR_GET_SECCOMP) != sandbox) return nullptr;
  struct stat st;
  if (raw2(kSysStat, reinterpret_cast<long>("/proc/self/ns/pid"), reinterpret_cast<long>(&st)) !=
      0) {
    return nullptr;
  }
  auto uid = static_cast<uint64_t>(raw0(kSysGeteuid));
  char path[80];
  char* end = put_text(path, "/dev/shm/libcr-2-");
  end = put_text(put_number(end, uid), "-");
  put_number(end, st.st_ino);
  long fd = raw3(SYS_open, reinterpret_cast<long>(path),
                 O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
  if (raw_failed(fd)) return nullptr;
  long p = -ENOENT;
  if (own_regular_file(fd, uid, &st)) {
    auto size = static_cast<int64_t>(sizeof(Table));
    bool ready = st.st_size >= size;
    if (!ready) {
      raw2(SYS_fchmod, fd, 0600);  // whatever the umask was
      ready = raw2(SYS_ftruncate, fd, size) == 0;
    }
    if (ready) p = raw_mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  raw1(SYS_close, fd);
  return raw_failed(p) ? nullptr : reinterpret_cast<Table*>(p);
}

Table* attach() {
  if (__atomic_load_n(&tried, __ATOMIC_ACQUIRE)) return table;
  Guard g(lock);
  if (!tried) {
    table = open_table();
    store_release(&tried, true);
  }
  return table;
}

uint32_t now_ticks() {
  __kernel_timespec ts{};
  clock_read(CLOCK_BOOTTIME, &ts);
  return static_cast<uint32_t>(static_cast<uint64_t>(ts.tv_sec) * 100 +
                               static_cast<uint64_t>(ts.tv_nsec) / 10'000'000);
}

// Field `n` (as proc(5) counts) of a stat line; 0 if there is none. `at` is behind the name, where
// field 3 begins.
uint64_t field(const char* at, int n) {
  for (int i = 3; i < n; i++) {
    while (*at != ' ' && *at != '\0') at++;
    if (*at == ' ') at++;
  }
  uint64_t v = 0;
  while (*at >= '0' && *at <= '9') v = v * 10 + static_cast<uint64_t>(*at++ - '0');
  return v;
}

bool has_ended(uint64_t entry) {
  auto pid = static_cast<long>(entry >> 32);
  if (raw2(SYS_kill, pid, 0) == -ESRCH) return true;
  char path[40];
  put_text(put_number(put_text(path, "/proc/"), static_cast<uint64_t>(pid)), "/stat");
  long fd = raw3(SYS_open, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC, 0);
  if (raw_failed(fd)) return false;  // hidden from us, or gone since: the next look tells
  char text[512];
  long n = raw3(SYS_read, fd, reinterpret_cast<long>(text), sizeof text - 1);
  raw1(SYS_close, fd);
  if (n <= 0) return n == -ESRCH;
  text[n] = '\0';
  const char* at = nullptr;
  for (const char* s = text; *s != '\0'; s++) {
    if (*s == ')') at = s + 2;  // the name may hold anything, a parenthesis too
  }
  if (at == nullptr) return false;
  // A zombie with one thread has nobody left who could run.
  if ((*at == 'Z' || *at == 'X') && field(at, 20) <= 1) return true;
  auto later =
      static_cast<int32_t>(static_cast<uint32_t>(field(at, 22)) - static_cast<uint32_t>(entry));
  return later > static_cast<int32_t>(kTickSlack);
}

}  // namespace

void peers_init(long seccomp_mode) { sandbox = seccomp_mode; }

uint32_t peers_claim(uint32_t nth) {
  auto pid = static_cast<uint64_t>(raw0(SYS_getpid));
  Table* t = attach();
  if (t != nullptr) {
    uint64_t mine = pid << 32 | now_ticks();
    for (uint32_t i = 0; i < kTidBlocks; i++) {
      uint32_t at = __atomic_fetch_add(&t->cursor, 1, __ATOMIC_RELAXED) % kTidBlocks;
      uint64_t seen = load_acquire(&t->block[at]);
      if (seen != 0 && !has_ended(seen)) continue;
      if (__atomic_compare_exchange_n(&t->block[at], &seen, mine, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_RELAXED)) {
        return at;
      }
    }
  }
  return static_cast<uint32_t>((pid + nth) % kTidBlocks);
}

void peers_release(uint32_t block) {
  if (table != nullptr) store_release(&table->block[block], 0u);
}

bool peers_alive(int32_t tid) {
  Table* t = attach();
  auto block = static_cast<uint32_t>(tid - kTidBase) / kTidBlock;
  if (t == nullptr || block >= kTidBlocks) return true;
  uint64_t entry = load_acquire(&t->block[block]);
  return entry != 0 && !has_ended(entry);
}

uint32_t* peers_bell(int32_t tid) {
  Table* t = attach();
  uint32_t h = static_cast<uint32_t>(tid) * 0x9e3779b1u;
  return t != nullptr ? &t->bell[h >> 22] : &own_bells[h >> 26];
}

void peers_ring(int32_t tid) {
  uint32_t* bell = peers_bell(tid);
  __atomic_add_fetch(bell, 1, __ATOMIC_SEQ_CST);
  raw3(SYS_futex, reinterpret_cast<long>(bell), FUTEX_WAKE, 0x7fffffff);
}

}  // namespace cr

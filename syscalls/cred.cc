// set*id and capabilities: credentials are the kernel thread's on Linux, so a change must reach every rfork.
//
// NPTL sends each of its threads a SIGSETXID and has it repeat the call; that reaches the rforks
// that happen to run them. Here the first one to call goes round all rforks: each gets the IPI
// signal and makes the call in its handler.

#include "cred.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../src/signal/broadcast.h"
#include "../src/sysport/sysport.h"
#include "sysent.h"

namespace cr {

namespace {

// What getuid said last, above it the number of changes until then: a trap is 0.1 us.
uint64_t last_uid = ~0ull;
uint32_t changes;
inline constexpr uint32_t kNoUid = 65534;  // of a user namespace that has no map yet: it will

int everywhere(union sysunion* m) {
  int error = sysport_trap(m);
  if (error == 0) broadcast_call(m->sm.sm_nr, m->raw.arg);
  cred_changed();  // not before: until then some kernel thread still says the old one
  return error;
}

}  // namespace

uint32_t cred_uid() {
  uint64_t last = __atomic_load_n(&last_uid, __ATOMIC_RELAXED);
  uint32_t now = __atomic_load_n(&changes, __ATOMIC_ACQUIRE);
  if (last >> 32 == now) return static_cast<uint32_t>(last);
  auto uid = static_cast<uint32_t>(raw0(kSysGetuid));
  if (uid != kNoUid) __atomic_store_n(&last_uid, static_cast<uint64_t>(now) << 32 | uid, __ATOMIC_RELAXED);
  return uid;
}

void cred_changed() { __atomic_add_fetch(&changes, 1, __ATOMIC_RELEASE); }

bool cred_capable(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  raw2(SYS_capget, reinterpret_cast<long>(&header), reinterpret_cast<long>(data));
  return (data[capability / 32].effective & 1u << capability % 32) != 0;
}

int sys_setuid(union sysunion* m) { return everywhere(m); }
int sys_setgid(union sysunion* m) { return everywhere(m); }
int sys_setreuid(union sysunion* m) { return everywhere(m); }
int sys_setregid(union sysunion* m) { return everywhere(m); }
int sys_setresuid(union sysunion* m) { return everywhere(m); }
int sys_setresgid(union sysunion* m) { return everywhere(m); }
int sys_setgroups(union sysunion* m) { return everywhere(m); }
int sys_setfsuid(union sysunion* m) { return everywhere(m); }
int sys_setfsgid(union sysunion* m) { return everywhere(m); }

// Linux means the calling thread. Here it is the process: capabilities that a thread has dropped must
// not come back because it goes on upon another kernel thread.
int sys_capset(union sysunion* m) { return everywhere(m); }
int cred_prctl(union sysunion* m) { return everywhere(m); }

}  // namespace cr

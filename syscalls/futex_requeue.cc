// The futex operations on two words: REQUEUE and CMP_REQUEUE move waiters from one to the other,
// WAKE_OP changes the second and wakes on both. Both buckets are locked throughout.

#include <errno.h>

#include "../arch/usercopy.h"
#include "futex_internal.h"

namespace cr {

int futex_requeue(uint64_t from, uint64_t to, int nwake, int nmove, const uint32_t* expect,
                  long* result) {
  Bucket *bf = bucket_of(from), *bt = bucket_of(to);
  TwoBuckets g(bf, bt);
  if (expect != nullptr) {
    uint32_t seen;
    if (user_load32(&seen, reinterpret_cast<const uint32_t*>(from)) != 0) return EFAULT;
    if (seen != *expect) return EAGAIN;
  }
  long n = wake_locked(bf, from, nwake, FUTEX_BITSET_MATCH_ANY);
  if (from == to) {
    *result = n;
    return 0;
  }
  int moved = 0;
  for (thread* td = bf->head; td != nullptr && moved < nmove;) {
    thread* next = td->td_wnext;
    if (td->td_waddr == from) {
      if (td->td_wmask == kNoWake) return EINVAL;
      move(bf, bt, td, to);
      moved++;
    }
    td = next;
  }
  // Those that wait on several words are not moved but woken: early, which a waiter allows for.
  if (bf->several != nullptr && moved < nmove) moved += futex_wake_several(bf, from, nmove - moved);
  // FUTEX_CMP_REQUEUE counts both, FUTEX_REQUEUE too since Linux 2.6.
  *result = n + moved;
  return 0;
}

namespace {

bool compare(uint32_t cmp, int32_t old, int32_t arg) {
  switch (cmp) {
    case FUTEX_OP_CMP_EQ:
      return old == arg;
    case FUTEX_OP_CMP_NE:
      return old != arg;
    case FUTEX_OP_CMP_LT:
      return old < arg;
    case FUTEX_OP_CMP_GE:
      return old >= arg;
    case FUTEX_OP_CMP_LE:
      return old <= arg;
    default:
      return old > arg;
  }
}

}  // namespace

int futex_wake_op(uint64_t a1, uint64_t a2, int n1, int n2, uint32_t op, long* result) {
  uint32_t what = op >> 28 & 7, cmp = op >> 24 & 15;
  int32_t oparg = static_cast<int32_t>(op << 8) >> 20;
  int32_t cmparg = static_cast<int32_t>(op << 20) >> 20;
  if ((op >> 28 & FUTEX_OP_OPARG_SHIFT) != 0) oparg = 1 << (oparg & 31);
  if (what > FUTEX_OP_XOR || cmp > FUTEX_OP_CMP_GT) return ENOSYS;
  TwoBuckets g(bucket_of(a1), bucket_of(a2));
  auto* word = reinterpret_cast<uint32_t*>(a2);
  uint32_t old;
  if (user_load32(&old, word) != 0) return EFAULT;
  for (;;) {
    auto arg = static_cast<uint32_t>(oparg);
    uint32_t fresh = what == FUTEX_OP_SET    ? arg
                     : what == FUTEX_OP_ADD  ? old + arg
                     : what == FUTEX_OP_OR   ? (old | arg)
                     : what == FUTEX_OP_ANDN ? (old & ~arg)
                                             : (old ^ arg);
    int r = user_cas32(word, &old, fresh);
    if (r < 0) return EFAULT;
    if (r == 1) break;
  }
  long n = wake_locked(bucket_of(a1), a1, n1, FUTEX_BITSET_MATCH_ANY);
  if (compare(cmp, static_cast<int32_t>(old), cmparg)) {
    n += wake_locked(bucket_of(a2), a2, n2, FUTEX_BITSET_MATCH_ANY);
  }
  *result = n;
  return 0;
}

}  // namespace cr

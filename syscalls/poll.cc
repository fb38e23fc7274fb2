// Calls that wait for descriptors with a signal mask of their own.
//
// They trap with the cpu on offer. The kernel must not be given the program's mask (it would
// hide signals from libcr that other LWKTs want): the LWKT's own mask is changed around the
// trap, as rt_sigsuspend does.

#include <errno.h>
#include <sys/syscall.h>

#include "../arch/x86_64/usercopy.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "sysent.h"

namespace cr {

namespace {

// Runs the call under `mask` (0: as it is), given to the kernel as "no mask".
int with_mask(union sysunion* m, uint64_t mask_at, int arg) {
  if (mask_at == 0) return sysport_trap_block(m);
  uint64_t mask;
  if (user_copy(&mask, reinterpret_cast<const void*>(mask_at), sizeof mask) != 0) return EFAULT;
  thread* td = curthread();
  td->td_savedmask = td->td_sigmask;
  sig_want(~mask & td->td_savedmask);
  sig_setmask(td, mask);
  sig_recalc(td);
  m->raw.arg[arg] = 0;
  int error = sysport_trap_block(m);
  if (error == ERESTARTSYS || error == EINTR) {
    sig_recalc(td);
    if ((td->td_ast & AST_SIGNAL) != 0) {
      td->td_flags |= TDF_SUSPENDMASK;  // the handler's frame restores the old mask
      return error == EINTR ? EINTR : ERESTARTNOHAND;
    }
  }
  sig_setmask(td, td->td_savedmask);
  return error;
}

}  // namespace

int sys_poll(union sysunion* m) { return sysport_trap_block(m); }
int sys_select(union sysunion* m) { return sysport_trap_block(m); }
int sys_ppoll(union sysunion* m) { return with_mask(m, m->raw.arg[3], 3); }
int sys_epoll_pwait(union sysunion* m) { return with_mask(m, m->raw.arg[4], 4); }
int sys_epoll_pwait2(union sysunion* m) { return with_mask(m, m->raw.arg[4], 4); }

int sys_pselect6(union sysunion* m) {
  struct Packed {
    uint64_t mask_at;
    uint64_t size;
  } p{};
  uint64_t at = m->raw.arg[5];
  if (at != 0 && user_copy(&p, reinterpret_cast<const void*>(at), sizeof p) != 0) return EFAULT;
  if (p.mask_at == 0) return sysport_trap_block(m);
  if (p.size != 8) return EINVAL;
  return with_mask(m, p.mask_at, 5);
}

}  // namespace cr

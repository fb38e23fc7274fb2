/*
 * Shims: ports that stand in front of syscall_port.
 *
 * Every system call of the program is a message. It goes to the shim that was pushed last; a
 * shim answers it (returns 0 or a positive errno, the result in sm_result), or passes it on with
 * cr_shim_forward(), before or after which it may look at and change arguments, memory or the
 * result. The last port is syscall_port itself.
 *
 * A shim's mp_beginmsg runs in the calling LWKT, on the program's stack, inside the gate:
 *   - it must expect any thread at any time, also inside malloc: no locks that the program
 *     could hold, no malloc; calls of its own go straight to syscall_port and pass no shim;
 *   - it must not keep the message after it has answered; to answer later it returns EASYNC
 *     and ends the message with lwkt_replymsg();
 *   - besides the program's calls, for which the caller waits (MSGF_SYNC), it sees those that a
 *     program sends as messages (libcr/async.h). cr_shim_forward returns EASYNC for one that is in
 *     flight then: the message is no longer the shim's, and it returns EASYNC, too. A shim that wants
 *     to know how it ends sends a copy of its own to self->mp_next, with a reply port made by
 *     lwkt_initport_replyonly, sets ms_target_port of the original to itself, returns EASYNC and
 *     ends the original when the copy is replied to;
 *   - a signal handler of the program does not run before the call is through all shims. A
 *     blocking call of the shim's own that a signal interrupts fails with EINTR; the caller of an
 *     EASYNC shim goes on waiting, and the target port's mp_abortmsg, if it has one, is told once;
 *   - a fork's child has the calling LWKT alone: LWKTs that a shim made are not in it;
 *   - vector registers are the program's at some calls: build shims with -mgeneral-regs-only,
 *     or have them save what they use.
 *
 * As a library for `cr run --shim PATH.so` (or LIBCR_SHIM), a shim exports
 *     int cr_shim_init(void);      called once at start; 0, or an errno to refuse
 *     void cr_shim_exit(void);     optional: called when the process is about to end
 * and calls cr_shim_push() in the former.
 */
#ifndef LIBCR_SHIM_H
#define LIBCR_SHIM_H

#include <libcr/sysmsg.h>
#include <libcr/sysunion.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Puts `port` (lwkt_initport_putonly) in front of all others. 0, or EINVAL: it stands there
 * already. Takes effect for calls that begin afterwards.
 */
int cr_shim_push(lwkt_port_t port);
/* Takes it out again: 0 or ENOENT. Calls that are inside it finish there. */
int cr_shim_pop(lwkt_port_t port);
/* Passes the message on to the port behind `port` and returns its answer. */
int cr_shim_forward(lwkt_port_t port, lwkt_msg_t msg);
/*
 * Where a shim writes its report: the process's standard error as it was at start, on a
 * close-on-exec descriptor of libcr's own (1,000 or above if the limit allows). Many programs
 * close their own 2 before they end. Any thread; not closed by the caller.
 */
int cr_shim_report_fd(void);
/* The call's name, e.g. "openat"; "nosys" for a number that libcr's table has not. Static. */
const char *cr_syscall_name(uint32_t nr);
/* The largest number that has a name, plus one. */
uint32_t cr_syscall_count(void);

#ifdef __cplusplus
}
#endif

#endif /* LIBCR_SHIM_H */

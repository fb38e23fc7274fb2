/*
 * Many system calls in flight from one thread.
 *
 * A system call is a message (libcr/sysmsg.h). A program that links libcr, or a shim, may make one
 * itself, send it to syscall_port and go on; the reply arrives on a port of its own when the call
 * is done. Thousands may be in flight at once; one waits for whichever is done first, for a
 * certain one or for all, with or without a time-out, and may abort any.
 *
 *     struct lwkt_port port;
 *     union sysunion m[2], *done;
 *     lwkt_initport_thread(&port, lwkt_curthread());
 *     cr_send_read(&m[0], &port, sock, buf, sizeof buf);
 *     cr_send_nanosleep(&m[1], &port, &one_second, NULL);
 *     if (cr_async_wait_any(&port, -1, &done) == 0 && done == &m[1]) cr_async_abort(&m[0]);
 *
 * cr_send_NAME (libcr/syssend.h, generated) is there for each call that can be sent, with the
 * call's own arguments. All of this works with the functions of libcr/msgport.h, too: a message
 * made by cr_async_init and lwkt_sendmsg(&syscall_port, ...) is the same thing.
 *
 * WHAT A CALL SENT THIS WAY DOES
 *
 *   Its effect and result are those of the plain call: a blocking read waits for data, O_NONBLOCK
 *   and time-outs hold, and a regular file's position is the file's. Upon the reply sm_error is
 *   0 or a positive errno and sm_result is the call's result (valid if sm_error is 0). The
 *   message and what its arguments point to belong to the call until the reply: neither is looked
 *   at or written after it. The arguments stay as they were, so a message may be sent again as it
 *   is once its reply has been taken.
 *
 *   Calls are begun in the order in which they were sent and end in any order. They are begun as
 *   soon as another cpu is idle or the sender waits (or yields, or has used up its time slice):
 *   not by the sending itself. What can't sleep is done before cr_async_send returns (the reply is
 *   queued all the same).
 *
 *   Every call has exactly one reply. A call that can't be begun for lack of memory is answered
 *   EAGAIN.
 *
 * WHO CARRIES IT OUT
 *
 *   A call that doesn't sleep: the sender, so gettid, rt_sigprocmask, prctl, set_robust_list ...
 *   mean the sender. Any other: an LWKT of libcr's own. It is no thread of the program's: it has
 *   no tid, blocks all signals, does not count among the threads of the process (whose last one
 *   ends it, whatever is in flight), and costs 5 KB while the call sleeps. Nice value, timer slack
 *   and cpu time are its own. So what depends on the
 *   calling thread *and* may sleep is refused with EOPNOTSUPP, as is what only the program's own
 *   trap can do:
 *     clone, clone3, fork, vfork, execve, execveat, exit, exit_group, rt_sigreturn, sigaltstack,
 *     pause, rt_sigsuspend, rt_sigtimedwait (use signalfd), restart_syscall, ptrace,
 *     pselect6, ppoll, epoll_pwait and epoll_pwait2 with a signal mask,
 *     futex with LOCK_PI, LOCK_PI2 and WAIT_REQUEUE_PI.
 *   (EOPNOTSUPP because POSIX has it for "not with this object", and none of these calls returns it.)
 *   A call that libcr has not ported (README.md) keeps a kernel thread for itself while it sleeps.
 *
 * SIGNALS, ABORT
 *
 *   No signal interrupts a call in flight. cr_async_abort does, as one for its thread would: a call
 *   that has not begun, or sleeps and has done nothing yet, ends with EINTR (never restarted);
 *   one that has done something ends with that, a partial count for example; one that is done
 *   already, or that no signal interrupts (a file on a disk), with its result. The reply still
 *   comes, once. The wait functions below are interrupted (EINTR, as poll(2), never restarted) when
 *   a handler of the program has run. They are no cancellation points: pthread_cancel(3) leaves them.
 *
 * SHIMS
 *
 *   see these messages as they see the program's calls, in the sender's context (libcr/shim.h):
 *   what they answer is the reply. cr_shim_forward returns EASYNC for one that is in flight then.
 *
 * PORTS
 *
 *   lwkt_initport_thread(&port, lwkt_curthread()): one thread waits, any sends. lwkt_initport_spin:
 *   any number send and wait. lwkt_initport_replyonly: a function is called with each reply, by the
 *   LWKT that carried the call out, whose stack has 8 KB left and which has no thread-local data
 *   (no errno, no malloc, no stdio).
 *   A serializer's port can't be the reply port.
 *
 * FORK, EXEC, EXIT
 *
 *   A fork's child has the calling thread alone: what is in flight goes on in the parent, and the
 *   copies of its messages and ports in the child are never replied to and must be initialised
 *   again before use. exec and exit abandon what is in flight, as they do other threads' calls.
 *
 * Thread safety: every function may be called by any LWKT for messages and ports that it may use;
 * a message is aborted by whom it belongs to, before he has taken its reply. Signal safety: not
 * from a handler that interrupted one of these functions. Not in a vfork's child.
 *
 * Source of the semantics: Matthew Dillon's mails of July 2003 on syscall messaging (sendsys, waitport,
 * abort), DragonFly BSD's syscall messages of 2003, POSIX aio(7) where those are silent (one
 * completion for each request, cancellation that may come too late).
 */
#ifndef LIBCR_ASYNC_H
#define LIBCR_ASYNC_H

#include <libcr/sysunion.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes *m the message of call number `nr` (CR_SYS_NAME), all arguments 0, its reply to go to
 * `reply_port`. Fill in the arguments (m->read_.fd = ...) and send it. `m` must not be in flight.
 */
static inline void cr_async_init(union sysunion *m, uint32_t nr, lwkt_port_t reply_port)
{
	lwkt_initmsg(&m->sm.sm_lmsg, reply_port, 0);
	m->sm.sm_nr = nr;
	m->sm.sm_flags = 0;
	m->sm.sm_frame = NULL;
	for (int i = 0; i < 6; i++)
		m->raw.arg[i] = 0;
}

/*
 * Sends *m, made by cr_async_init (or cr_send_NAME) and not in flight; its last reply has been taken.
 * Never waits and never fails: errors come with the reply.
 */
void cr_async_send(union sysunion *m);

/*
 * Takes the next reply from `port`, in the order of their arrival, and sets *done to its message.
 * Waits for `timeout_ns` nanoseconds; 0: not at all, but lets calls end that can; negative: for
 * ever. 0, ETIMEDOUT or EINTR; *done is NULL then. Nothing in flight is no error: it waits.
 */
int cr_async_wait_any(lwkt_port_t port, int64_t timeout_ns, union sysunion **done);

/*
 * Waits for the reply to *m and takes it from its port, before others that came earlier; returns at
 * once if it was taken already. `timeout_ns` as above. 0 (the call's own error is in m->sm.sm_error),
 * ETIMEDOUT or EINTR; the call is still in flight then.
 */
int cr_async_wait(union sysunion *m, int64_t timeout_ns);

/*
 * Waits for the replies to all `n` messages msgs[0] to msgs[n-1] and takes them; some of them may have
 * been taken already. The time-out is for all together. 0, or ETIMEDOUT or EINTR: some have been
 * taken (lwkt_checkmsg tells which are done), the call may be repeated.
 */
int cr_async_wait_all(union sysunion *const *msgs, size_t n, int64_t timeout_ns);

/*
 * Asks that the call of *m be given up. Does nothing if it is done, or was asked before. The reply has
 * to be taken in any case.
 */
void cr_async_abort(union sysunion *m);

#ifdef __cplusplus
}
#endif

#include <libcr/syssend.h>

#endif /* LIBCR_ASYNC_H */

/*
 * Lightweight kernel threads (LWKTs) in userland.
 *
 * An LWKT is scheduled by libcr on the process's cpus (one rfork, a kernel thread, runs each
 * cpu). POSIX threads of the program are LWKTs too: the ones that clone3 made. An LWKT made
 * by lwkt_create has no glibc thread control block: its function may use this library and
 * plain computation, but nothing of libc that touches errno or thread-local data.
 *
 * The scheduler is first come, first served on each cpu; idle cpus steal. An LWKT is preempted
 * only in program text, never inside libcr and never inside a critical section.
 *
 * Source of the semantics: DragonFly BSD's sys/thread.h and kern/lwkt_thread.c.
 */
#ifndef LIBCR_THREAD_H
#define LIBCR_THREAD_H

#include <libcr/msgport.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The calling LWKT. */
thread_t lwkt_curthread(void);

#define LWKT_STOPPED 0x0001 /* lwkt_create: do not schedule it yet */

/*
 * Makes an LWKT that runs fn(arg) on a stack of its own of `stack_size` bytes (0: 64 KiB) and
 * ends when fn returns or calls lwkt_exit. `flags`: LWKT_STOPPED. `name` is copied (15 bytes).
 * Returns 0 and sets *tdp, or ENOMEM, EAGAIN (too many LWKTs), EINVAL.
 * *tdp stays valid until lwkt_join or lwkt_detach.
 */
int lwkt_create(void (*fn)(void *), void *arg, thread_t *tdp, size_t stack_size, int flags,
                const char *name);
/* Ends the calling LWKT. Never returns. */
void lwkt_exit(void) __attribute__((noreturn));
/* Waits until `td`, made by lwkt_create, has ended, and frees it. */
void lwkt_join(thread_t td);
/* Frees `td` when it ends; the caller's pointer is void from now on. */
void lwkt_detach(thread_t td);

/*
 * Gives the cpu to the next runnable LWKT. The caller goes on when it is scheduled again; if
 * it has not descheduled itself it must be on a queue or it never runs again: use lwkt_yield
 * for "let others run".
 */
void lwkt_switch(void);
/* Lets the other runnable LWKTs of this cpu run once. Returns at once when there are none. */
void lwkt_yield(void);
/* The caller is no longer runnable: to be followed by lwkt_switch, after the wake-up has been
 * arranged. A lwkt_schedule between the two is not lost. */
void lwkt_deschedule_self(void);
/* Makes `td` runnable. Does nothing when it is running or runnable already. Any cpu. */
void lwkt_schedule(thread_t td);
/* Moves the calling LWKT to cpu `cpuid` (push migration): 0, or EINVAL for no such cpu. */
int lwkt_setcpu_self(int cpuid);
/* The cpu that the caller runs on, and how many there are. Valid until the next switch. */
int lwkt_getcpu(void);
int lwkt_ncpus(void);

/*
 * Critical sections: the calling LWKT is neither preempted nor interrupted by a signal handler
 * of the program until the last one ends. They nest, cost a counter, and must not be held over
 * a function that blocks.
 */
void crit_enter(void);
void crit_exit(void);

/* The thread's own message port (thread backend). */
lwkt_port_t lwkt_threadport(thread_t td);

/*
 * Starts the runtime in a program that links libcr without the preload's start-up having run
 * (it runs by itself as a constructor; calling this again is harmless). Returns 0 or an errno.
 */
int cr_init(void);

#ifdef __cplusplus
}
#endif

#endif /* LIBCR_THREAD_H */

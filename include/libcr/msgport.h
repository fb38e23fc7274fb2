/*
 * Messages and ports: the one way in which parts of libcr, its shims and programs that link
 * it ask each other for work.
 *
 * A message is a request with an owner, a reply port and a result. It is owned by its
 * originator before it is sent and after it was replied, and by the port it was sent to in
 * between: ONLY THE OWNER MAY TOUCH IT. A port is where messages go: a queue, a function, or
 * both.
 *
 * Notes on port processing requirements
 *
 *   mp_beginmsg(port, msg) starts a message. It returns EASYNC when the message is not
 *   finished and a reply will come; anything else (0 or a positive errno) means finished now:
 *   no queue and no lock was touched. The sender's wish (MSGF_SYNC) is a hint, the port
 *   decides; but a port must never block inside a synchronous begin: it queues the message
 *   and answers EASYNC. A port that finishes synchronously leaves MSGF_DONE and
 *   ms_target_port alone; one that answers EASYNC has set ms_target_port.
 *
 *   mp_abortmsg(port, msg) asks the port, once, to end a message early. The message still
 *   gets its one reply; the port need not honour the request.
 *
 *   mp_returnmsg(port, msg) takes a reply on its way to `port`, the message's reply port.
 *   A MSGF_SYNC message's waiter is woken and nothing is queued; any other is queued.
 *
 *   The remaining vectors (get, wait, waitmsg, drop) are the receiving side of a queue port.
 *
 * Thread safety: every function may be called from any LWKT on any cpu unless it says
 * otherwise. Signal safety: none of these may be called from a signal handler that interrupted
 * the same function; handlers of an unmodified program never do. Blocking functions block the
 * calling LWKT only.
 *
 * Source of the semantics: DragonFly BSD's sys/msgport.h of 2003 (the vectors' names) and of
 * 2007-2014 (the rules), and the mails of July 2003.
 */
#ifndef LIBCR_MSGPORT_H
#define LIBCR_MSGPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct lwkt_msg;
struct lwkt_port;
struct thread;
struct lwkt_serialize;

typedef struct lwkt_msg *lwkt_msg_t;
typedef struct lwkt_port *lwkt_port_t;
typedef struct thread *thread_t;

/* mp_beginmsg's answer for "not finished: a reply will come". No Linux errno has this value. */
#define EASYNC 0x7e45

#define MSGF_DONE 0x0001      /* complete; also set on a message that was never sent */
#define MSGF_REPLY 0x0002     /* replied; stays set after retrieval */
#define MSGF_QUEUED 0x0004    /* on a port's queue; valid only under that port's lock */
#define MSGF_SYNC 0x0008      /* the originator waits for this very message */
#define MSGF_INTRANSIT 0x0010 /* inside an IPI between cpus */
#define MSGF_WAITING 0x0020   /* a SYNC waiter sleeps on the message */
#define MSGF_DROPABLE 0x0040  /* may be un-sent by lwkt_dropmsg; may not be waited for */
#define MSGF_ABORTABLE 0x0080 /* ms_abortfn is valid */
#define MSGF_PRIORITY 0x0100  /* served before ordinary messages */
#define MSGF_RECEIPT 0x0200   /* ms_receiptfn is called once the message is queued */
#define MSGF_ABORTED 0x0400   /* an abort was sent; never sent twice */
#define MSGF_USER0 0x00010000 /* the high 16 bits belong to whoever handles the message */
#define MSGF_USER1 0x00020000
#define MSGF_USER2 0x00040000
#define MSGF_USER3 0x00080000

/* Flags of lwkt_domsg, lwkt_waitmsg and lwkt_waitport. */
#define LWKT_PCATCH 0x0001 /* a signal for this LWKT interrupts the wait: one abort is sent */
#define LWKT_PTIMED 0x0002 /* libcr's own, for the vectors: the wait has a deadline */

struct lwkt_msg {
	struct {
		struct lwkt_msg *tqe_next;
		struct lwkt_msg **tqe_prev;
	} ms_node;                       /* the port's queue; the port's while queued */
	struct lwkt_port *ms_target_port; /* where it was sent; set by an EASYNC begin */
	struct lwkt_port *ms_reply_port;  /* where its reply goes */
	void (*ms_abortfn)(struct lwkt_msg *);
	void (*ms_receiptfn)(struct lwkt_msg *, struct lwkt_port *);
	uint32_t ms_flags; /* MSGF_ */
	int32_t ms_error;  /* 0 or a positive errno */
	union {
		void *ms_resultp;
		int ms_result;
		long ms_lresult;
		int ms_fds[2];
		int32_t ms_result32;
		int64_t ms_result64;
		off_t ms_offset;
	} u;
};

struct lwkt_msgqueue {
	struct lwkt_msg *tqh_first;
	struct lwkt_msg **tqh_last;
};

#define MSGPORTF_WAITING 0x0001 /* somebody sleeps on this port */

struct lwkt_port {
	int (*mp_beginmsg)(struct lwkt_port *, struct lwkt_msg *);
	void (*mp_abortmsg)(struct lwkt_port *, struct lwkt_msg *);
	void (*mp_returnmsg)(struct lwkt_port *, struct lwkt_msg *);
	struct lwkt_msg *(*mp_getport)(struct lwkt_port *);
	int (*mp_waitmsg)(struct lwkt_msg *, int flags);
	struct lwkt_msg *(*mp_waitport)(struct lwkt_port *, int flags);
	int (*mp_dropmsg)(struct lwkt_port *, struct lwkt_msg *);
	struct lwkt_msgqueue mp_msgq;
	struct lwkt_msgqueue mp_msgq_prio;
	uint32_t mp_flags; /* MSGPORTF_ */
	uint32_t mp_lock;  /* the backend's lock word */
	union {
		struct thread *td;              /* thread backend: the owner */
		struct lwkt_serialize *slz;     /* serializer backend */
		struct thread *waiters;         /* spin backend: LWKTs that sleep here */
		void *data;                     /* function ports: theirs */
	} mp_u;
	struct lwkt_port *mp_next; /* a shim: the port it forwards to (libcr/shim.h) */
};

/* ---- port initialisation ------------------------------------------------------------- */

/* A queue owned by `td`; only that LWKT may wait on it or get from it. */
void lwkt_initport_thread(lwkt_port_t port, thread_t td);
/* A queue that any number of LWKTs may wait on. */
void lwkt_initport_spin(lwkt_port_t port);
/* A queue under a serializer that the caller of every function already holds. */
void lwkt_initport_serialize(lwkt_port_t port, struct lwkt_serialize *slz);
/* Every use panics: catches misuse of a port that should no longer be reached. */
void lwkt_initport_panic(lwkt_port_t port);
/* A reply port that only marks replies done: for senders that poll lwkt_checkmsg. */
void lwkt_initport_replyonly_null(lwkt_port_t port);
/* A reply port that calls `fn` with each reply; `fn` owns the message from then on. */
void lwkt_initport_replyonly(lwkt_port_t port, void (*fn)(lwkt_port_t, lwkt_msg_t));
/* A target only: `fn` is mp_beginmsg. Shims and servers that answer in the caller's context. */
void lwkt_initport_putonly(lwkt_port_t port, int (*fn)(lwkt_port_t, lwkt_msg_t));

/* ---- message initialisation ---------------------------------------------------------- */

/* `flags` may hold MSGF_DROPABLE, MSGF_PRIORITY and MSGF_USERn. The message starts DONE. */
void lwkt_initmsg(lwkt_msg_t msg, lwkt_port_t reply_port, uint32_t flags);
/* The same, with a function that is called when an abort of the message is asked for. */
void lwkt_initmsg_abortable(lwkt_msg_t msg, lwkt_port_t reply_port, uint32_t flags,
                            void (*abortfn)(lwkt_msg_t));
/* `fn` is called once, when the message has been put on its target's queue. */
void lwkt_setmsg_receipt(lwkt_msg_t msg, void (*fn)(lwkt_msg_t, lwkt_port_t));

/* ---- sending -------------------------------------------------------------------------- */

/*
 * Sends `msg` and does not wait. The reply always arrives on ms_reply_port as a queued
 * message, also when the target finished at once. Needs a DONE, unqueued message with a reply
 * port. The message is indeterminate until the call returns.
 */
void lwkt_sendmsg(lwkt_port_t port, lwkt_msg_t msg);
/*
 * Sends `msg` and waits for its reply. Returns 0 or a positive errno, which is also in
 * ms_error. When the target finishes at once this is no more than a call through a pointer.
 * `flags`: LWKT_PCATCH.
 */
int lwkt_domsg(lwkt_port_t port, lwkt_msg_t msg, int flags);
/* Passes on a message that the caller owns as a target. Not EASYNC: it was replied already. */
int lwkt_forwardmsg(lwkt_port_t port, lwkt_msg_t msg);
/* Ends a message that the caller owns as a target. `error`: 0 or a positive errno. */
void lwkt_replymsg(lwkt_msg_t msg, int error);
/*
 * Asks the message's target to end it early. Does nothing unless it is MSGF_ABORTABLE or its
 * target has mp_abortmsg, and is in flight; asks at most once. The reply still has to be
 * waited for. Only the originator may call it.
 */
void lwkt_abortmsg(lwkt_msg_t msg);
/* Takes an unserved MSGF_DROPABLE message back from the calling LWKT's port: 0 or ENOENT. */
int lwkt_dropmsg(lwkt_msg_t msg);

/* ---- receiving ------------------------------------------------------------------------ */

/* The next request or reply on `port`, NULL if there is none. */
lwkt_msg_t lwkt_getport(lwkt_port_t port);
/* Waits for it. With LWKT_PCATCH: NULL when a signal for this LWKT is pending. */
lwkt_msg_t lwkt_waitport(lwkt_port_t port, int flags);
/*
 * Waits for the reply to `msg` and returns its error. With LWKT_PCATCH a signal aborts the
 * message, once; the wait goes on until the reply is there.
 */
int lwkt_waitmsg(lwkt_msg_t msg, int flags);
/*
 * The same two until `deadline`, ns of CLOCK_MONOTONIC (UINT64_MAX: none), and as much later as the
 * caller's timer slack (prctl(2)) allows, as any sleep.
 * lwkt_waitport_until returns NULL then. lwkt_waitmsg_until returns 0 when the reply is there (its
 * error in ms_error), ETIMEDOUT, or with LWKT_PCATCH EINTR; it sends no abort, and a message whose
 * reply has not come may be waited for again.
 */
lwkt_msg_t lwkt_waitport_until(lwkt_port_t port, int flags, uint64_t deadline);
int lwkt_waitmsg_until(lwkt_msg_t msg, int flags, uint64_t deadline);
/* True when `msg` has been replied or was never sent. */
int lwkt_checkmsg(lwkt_msg_t msg);

#ifdef __cplusplus
}
#endif

#endif /* LIBCR_MSGPORT_H */

/*
 * The system call message. Every call that the program makes is one of these, sent to
 * syscall_port; libcr/sysunion.h (generated from syscalls.master) holds the typed form for
 * each call, e.g. struct read_msg with fd, buf and count.
 *
 * A call's arguments stand in six 8-byte slots in the order of the trap's registers. The
 * result is in sm_lmsg.u.ms_lresult; ms_error is 0 or a positive errno, and then the result
 * has no meaning. The message belongs to the calling LWKT (one in each: td_sysmsg) and so is
 * valid until the reply.
 */
#ifndef LIBCR_SYSMSG_H
#define LIBCR_SYSMSG_H

#include <libcr/msgport.h>

struct sysmsg {
	struct lwkt_msg sm_lmsg;
	uint32_t sm_nr;    /* the call's number on this architecture */
	uint32_t sm_flags; /* SMF_ */
	void *sm_frame;    /* libcr's own: the trap frame the call came by, NULL if none */
};

struct sysmsg_raw {
	struct sysmsg sm;
	uint64_t arg[6];
};

#define sm_result sm_lmsg.u.ms_lresult
#define sm_error sm_lmsg.ms_error

#define SYSARG(type, name)           \
	union {                      \
		type name;           \
		uint64_t name##_slot; \
	}

#ifdef __cplusplus
extern "C" {
#endif

/* Where every system call of the program goes. Shims stand in front of it (libcr/shim.h). */
extern struct lwkt_port syscall_port;

#ifdef __cplusplus
}
#endif

#endif /* LIBCR_SYSMSG_H */

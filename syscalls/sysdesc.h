/*
 * What syscalls.master says of each call, for the hosted tools: `cr syscalls`, the tracer, the tests.
 *
 *     static constexpr cr::SysDesc kCalls[] = {
 *     #include "sysdesc.inc"
 *     };
 *
 * One row for each row of the master, in its order (x86_64 numbers, then what i386 alone has). A name
 * whose arguments differ between the architectures has two rows, each with one number: look a call up
 * by architecture and number, or by architecture and name, never by name alone.
 *
 * The strings make it some 100 KB with pointers that need relocation, which is why code below the
 * boundary uses sysent.inc and takes only Serve from here.
 */
#pragma once

#include <cstdint>

namespace cr {

/* How syscall_port serves a call. syscalls.master defines the words. */
enum class Serve : uint8_t {
	none,  /* the architecture has no such call; a number in no row is trapped as it is */
	trap,  /* a trap that doesn't sleep */
	block, /* a trap that may sleep: hand the cpu off */
	whole, /* the same, and no signal keeps it from being made */
	user,  /* served in userland by sys_NAME */
	quick, /* the same, without a trap frame */
	async, /* quick while there are other LWKTs, else block */
	fold,  /* several calls under one number: the one that is meant takes its place */
	gone,  /* trapped; current kernels answer ENOSYS */
};

struct SysDescArg {
	const char *type; /* "const struct timespec *" */
	const char *name;
};

struct SysDesc {
	const char *name;
	int nr_i386;   /* -1: not on this architecture, and serve_ is none */
	int nr_x86_64;
	Serve serve_i386;
	Serve serve_x86_64;
	uint8_t nargs;
	const char *ret;      /* type of the result */
	const char *proto;    /* "ssize_t read(int fd, void *buf, size_t count)" */
	SysDescArg args[6];   /* in register order; nullptr after nargs */
	const char *wrappers; /* exported symbols that make this call, space-separated; "" if none */
};

} // namespace cr

#pragma once

/* call(), not inlined: what a wrapper seldom does. */
static __attribute__((noinline, cold)) long call_apart(
    long nr, long a1, long a2, long a3, long a4, long a5, long a6);

#if defined(__x86_64__)
#include "x86_64/wrapcall.h"
#else
#include "x86/wrapcall.h"
#endif

static long call_apart(long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
	return call(nr, a1, a2, a3, a4, a5, a6);
}

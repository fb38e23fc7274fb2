/*
 * Serializers: a sleeping lock for one device, one connection, one queue.
 *
 * It is NOT recursive and it is NOT dropped when its holder blocks (that is a token,
 * libcr/token.h): between enter and exit nobody else is inside, whatever the holder waits for.
 * Waiters are served first come, first served, and the lock is handed over: the leaver makes
 * the first waiter the owner before it wakes it, so nobody can overtake.
 *
 * Cost: one compare-and-swap to enter and one to leave without contention (plain instructions
 * while the process has one cpu); two switches when somebody has to wait.
 *
 * Thread safety: any LWKT on any cpu; the LWKT that entered leaves. Signal safety: none. A
 * signal does not end the wait.
 *
 * Source of the semantics: DragonFly BSD's kern/lwkt_serialize.c (2005).
 */
#ifndef LIBCR_SERIALIZE_H
#define LIBCR_SERIALIZE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct lwkt_serialize {
	uintptr_t slz_owner;   /* the holder's thread pointer, bit 0: somebody waits */
	void *slz_waitq;       /* LWKTs that wait to enter */
	void *slz_portwaitq;   /* LWKTs that wait on ports of this serializer */
	uint32_t slz_lock;     /* guards slz_waitq for a few instructions */
	uint32_t slz_reserved;
};

typedef struct lwkt_serialize *lwkt_serialize_t;

void lwkt_serialize_init(lwkt_serialize_t slz);
/* Waits until the caller is the holder. It must not be already. */
void lwkt_serialize_enter(lwkt_serialize_t slz);
/* The same without waiting: 1 when the caller is the holder now, 0 when somebody else is. */
int lwkt_serialize_try(lwkt_serialize_t slz);
/* Only the holder may call it. */
void lwkt_serialize_exit(lwkt_serialize_t slz);
/* 1 when the calling LWKT is the holder. For assertions. */
int lwkt_serialize_held(lwkt_serialize_t slz);

#ifdef __cplusplus
}
#endif

#endif /* LIBCR_SERIALIZE_H */

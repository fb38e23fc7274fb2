/*
 * Tokens: serialisation that lasts while its holder runs.
 *
 * An LWKT that holds tokens is alone with respect to them until it blocks or yields. Then all
 * of them are dropped, others may take them, and before the LWKT goes on the scheduler takes
 * all of them back. So a function that may block may be called with tokens held, the data must
 * be looked at afresh after it, and no order of acquisition can deadlock. A preemption (the
 * time slice is over) is not a block: the tokens stay held.
 *
 *   - recursive: a token may be taken again by its holder, in the same way or shared after
 *     exclusive. Shared first, exclusive then, of one token by one LWKT, is an error.
 *   - released in the reverse order of acquisition.
 *   - shared holders run in parallel. A waiting exclusive request keeps new shared ones out.
 *
 * Cost: one compare-and-swap and a small allocation from the cpu's slab to take one; a
 * switch of a holder costs one compare-and-swap a token on both sides. Not for a lock that must
 * be kept over a blocking call: that is a serializer (libcr/serialize.h).
 *
 * Thread safety: any LWKT on any cpu. Signal safety: none. A signal does not end the wait.
 *
 * Source of the semantics: DragonFly BSD's kern/lwkt_token.c, the third design (t_count with
 * EXCLUSIVE, EXCLREQ and a shared count).
 */
#ifndef LIBCR_TOKEN_H
#define LIBCR_TOKEN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct thread;

struct lwkt_token {
	uint32_t t_count;      /* TOK_EXCLUSIVE | TOK_EXCLREQ | 4 for each shared reference */
	uint32_t t_depth;      /* references of the exclusive holder; the holder's */
	struct thread *t_owner; /* the exclusive holder */
	const char *t_desc;    /* for debuggers; not copied */
	uint64_t t_collisions; /* how often somebody had to wait */
};

typedef struct lwkt_token *lwkt_token_t;

#define TOK_EXCLUSIVE 0x00000001u
#define TOK_EXCLREQ 0x00000002u
#define TOK_SHARED 0x00000004u

void lwkt_token_init(lwkt_token_t tok, const char *desc);
/* Nobody may hold it. */
void lwkt_token_uninit(lwkt_token_t tok);
/* Waits for the token; on the way the caller's other tokens may be dropped and taken again. */
void lwkt_gettoken(lwkt_token_t tok);
void lwkt_gettoken_shared(lwkt_token_t tok);
/* Exclusive without waiting: 1 when the caller holds it now, 0 if not (nothing was dropped). */
int lwkt_trytoken(lwkt_token_t tok);
/* The token that the caller took last. */
void lwkt_reltoken(lwkt_token_t tok);
/* How many references to `tok` the calling LWKT holds. */
int lwkt_cnttoken(lwkt_token_t tok);

#ifdef __cplusplus
}
#endif

#endif /* LIBCR_TOKEN_H */

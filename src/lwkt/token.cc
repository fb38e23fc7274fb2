// Tokens (libcr/token.h).
//
// Why no order of acquisition deadlocks: an LWKT never waits for a token while it holds one.
// lwkt_gettoken that fails drops everything, lets others run, and then takes the whole set,
// all or nothing. Why two such LWKTs don't chase each other for ever: the set is taken in the
// order of addresses, so of two that want the same lowest token one gets it and, with it, the
// rest of the race.
//
// References come from the slab, one for each lwkt_gettoken. DragonFly keeps 32 in every
// struct thread; at a million LWKTs, nearly all of which never hold a token, that would be
// 700 MB.
#include "token.h"

#include "assert.h"
#include "export.h"
#include "sched.h"
#include "slab.h"
#include "waiter.h"

struct lwkt_tokref {
  lwkt_token* tr_tok;
  lwkt_tokref* tr_next;  // the reference taken before this one
  bool tr_exclusive;
  bool tr_held;
};

namespace cr {

namespace {

// Takes `n` references for td, or none. With `announce` a failed exclusive attempt keeps new
// shared holders out.
bool tok_try(lwkt_token* tok, thread* td, bool exclusive, uint32_t n, bool announce) {
  if (load_acquire(&tok->t_owner) == td) {  // only td itself can have written that
    tok->t_depth += n;
    return true;
  }
  for (;;) {
    uint32_t count = load_acquire(&tok->t_count);
    uint32_t in_the_way = exclusive ? ~TOK_EXCLREQ : TOK_EXCLUSIVE | TOK_EXCLREQ;
    if ((count & in_the_way) == 0) {
      uint32_t next = exclusive ? TOK_EXCLUSIVE : count + n * TOK_SHARED;
      if (!atomic_cas(&tok->t_count, count, next)) continue;
      if (exclusive) {
        store_release(&tok->t_owner, td);
        tok->t_depth = n;
      }
      return true;
    }
    if (!exclusive || !announce || (count & TOK_EXCLREQ) != 0) return false;
    if (atomic_cas(&tok->t_count, count, count | TOK_EXCLREQ)) return false;
  }
}

void tok_change(lwkt_token* tok, uint32_t minus) {
  uint32_t count = load_acquire(&tok->t_count);
  while (!atomic_cas(&tok->t_count, count, count - minus)) count = load_acquire(&tok->t_count);
}

void tok_drop(lwkt_token* tok, thread* td, uint32_t n) {
  if (load_acquire(&tok->t_owner) != td) {
    tok_change(tok, n * TOK_SHARED);
    return;
  }
  KASSERT(tok->t_depth >= n);
  tok->t_depth -= n;
  if (tok->t_depth != 0) return;
  store_release(&tok->t_owner, static_cast<thread*>(nullptr));
  tok_change(tok, TOK_EXCLUSIVE);
}

// One token of td's set: how often and in which way td refers to it.
struct Group {
  lwkt_token* tok;
  uint32_t refs;
  bool exclusive;
};

// The token with the next higher address than `after`; tok is null after the last. Quadratic,
// and LWKTs hold two or three.
Group next_group(thread* td, const lwkt_token* after) {
  Group g{nullptr, 0, false};
  for (lwkt_tokref* r = td->td_toks; r != nullptr; r = r->tr_next) {
    if (r->tr_tok > after && (g.tok == nullptr || r->tr_tok < g.tok)) g.tok = r->tr_tok;
  }
  for (lwkt_tokref* r = td->td_toks; r != nullptr; r = r->tr_next) {
    if (r->tr_tok != g.tok) continue;
    g.refs++;
    g.exclusive |= r->tr_exclusive;
  }
  return g;
}

bool all_held(const thread* td) { return td->td_toks == nullptr || td->td_toks->tr_held; }

bool take_all(thread* td) {
  for (Group g = next_group(td, nullptr); g.tok != nullptr; g = next_group(td, g.tok)) {
    if (tok_try(g.tok, td, g.exclusive, g.refs, true)) continue;
    __atomic_fetch_add(&g.tok->t_collisions, 1, __ATOMIC_RELAXED);
    const lwkt_token* failed = g.tok;
    for (Group b = next_group(td, nullptr); b.tok != failed; b = next_group(td, b.tok)) {
      tok_drop(b.tok, td, b.refs);
    }
    return false;
  }
  for (lwkt_tokref* r = td->td_toks; r != nullptr; r = r->tr_next) r->tr_held = true;
  return true;
}

void push_ref(thread* td, lwkt_token* tok, bool exclusive, bool held) {
  auto* ref = static_cast<lwkt_tokref*>(slab_alloc(sizeof(lwkt_tokref)));
  CR_CHECK(ref != nullptr);
  *ref = {.tr_tok = tok, .tr_next = td->td_toks, .tr_exclusive = exclusive, .tr_held = held};
  td->td_toks = ref;
}

// Shared first, exclusive then would wait for oneself.
[[maybe_unused]] bool holds_shared_only(thread* td, const lwkt_token* tok) {
  if (load_acquire(&tok->t_owner) == td) return false;
  for (lwkt_tokref* r = td->td_toks; r != nullptr; r = r->tr_next) {
    if (r->tr_tok == tok) return true;
  }
  return false;
}

void gettoken(lwkt_token* tok, bool exclusive) {
  thread* td = curthread();
  KASSERT(!exclusive || !holds_shared_only(td, tok));
  if (__builtin_expect(tok_try(tok, td, exclusive, 1, true), 1)) {
    push_ref(td, tok, exclusive, true);
    return;
  }
  // Somebody has it: everything is dropped, and taken together with the new one.
  push_ref(td, tok, exclusive, false);
  token_switch_out(td);
  token_resume(td);
}

}  // namespace

void token_switch_out(thread* td) {
  for (lwkt_tokref* r = td->td_toks; r != nullptr; r = r->tr_next) {
    if (!r->tr_held) continue;
    tok_drop(r->tr_tok, td, 1);
    r->tr_held = false;
  }
}

bool token_switch_in(thread* td) { return all_held(td) || take_all(td); }

[[gnu::noinline]] void token_resume(thread* td) {
  for (int n = 1; !token_switch_in(td); n++) {
    if (sched_yield_cpu()) continue;
    spin_round(n);
  }
}

}  // namespace cr

using namespace cr;

extern "C" {

CR_API void lwkt_token_init(lwkt_token_t tok, const char* desc) {
  *tok = lwkt_token{};
  tok->t_desc = desc;
}

CR_API void lwkt_token_uninit(lwkt_token_t tok) {
  KASSERT((tok->t_count & ~TOK_EXCLREQ) == 0);
  tok->t_desc = nullptr;
}

CR_API void lwkt_gettoken(lwkt_token_t tok) { gettoken(tok, true); }

CR_API void lwkt_gettoken_shared(lwkt_token_t tok) { gettoken(tok, false); }

CR_API int lwkt_trytoken(lwkt_token_t tok) {
  thread* td = curthread();
  KASSERT(!holds_shared_only(td, tok));
  if (!tok_try(tok, td, true, 1, false)) return 0;
  push_ref(td, tok, true, true);
  return 1;
}

CR_API void lwkt_reltoken(lwkt_token_t tok) {
  thread* td = curthread();
  lwkt_tokref* ref = td->td_toks;
  CR_CHECK(ref != nullptr && ref->tr_tok == tok);  // reverse order
  KASSERT(ref->tr_held);
  tok_drop(tok, td, 1);
  td->td_toks = ref->tr_next;
  slab_free(ref, sizeof(lwkt_tokref));
}

CR_API int lwkt_cnttoken(lwkt_token_t tok) {
  int n = 0;
  for (lwkt_tokref* r = curthread()->td_toks; r != nullptr; r = r->tr_next) n += r->tr_tok == tok;
  return n;
}

}  // extern "C"

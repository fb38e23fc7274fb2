// struct thread, struct globaldata and struct cpu: what the scheduler is made of.
//
//   thread      an LWKT. Owned by the cpu it runs on; parked, by whoever will wake it.
//   globaldata  the area behind %gs (arch/percpu.h), one for each rfork (kernel thread) for its whole life. It
//               names the LWKT the rfork runs and the cpu it holds.
//   cpu         a run queue, an IPI inbox and a slab front: the right to run LWKTs. An rfork
//               holds at most one; an rfork that blocks in a trap hands its cpu to another
//               one. (DESIGN §4.4 (5) moves "the cpu area"; keeping %gs with the rfork means
//               that a signal that hits an rfork in a blocking trap still finds its own LWKT.)
//
// State machine of an LWKT (td_state):
//
//   RUNNING  --lwkt_deschedule_self-->  BLOCKED  --lwkt_wake (one winner)-->  RUNNABLE
//   RUNNING  --yield, preemption----->  RUNNABLE --picked by a cpu--------->  RUNNING
//   RUNNING  --exit------------------>  DEAD
//
// BLOCKED -> RUNNABLE is a compare-and-swap: of a futex wake, a timeout, a signal and a reply
// that race, exactly one wins, and only the winner queues the LWKT. td_running stays set until
// the LWKT's context is saved; the cpu that picks it waits for that.
#pragma once

#include <libcr/msgport.h>
#include <libcr/sysmsg.h>
#include <stdint.h>

#include "../../arch/frame.h"
#include "../../arch/percpu.h"

namespace cr {

using ::thread;
struct cpu;
struct sigqueue_entry;
struct threadsched;
struct PiWait;
struct PreemptStack;

inline constexpr uint32_t kCacheLine = 64;
inline constexpr uint64_t kDefaultSlack = 50'000;  // ns of timer slack, the kernel's default

enum ThreadState : uint32_t {
  TDS_RUNNING = 0,
  TDS_BLOCKED = 1,
  TDS_RUNNABLE = 2,
  TDS_DEAD = 3,
};

// td_flags
inline constexpr uint32_t TDF_MAIN = 0x0002;      // the process's first thread
inline constexpr uint32_t TDF_NPTL = 0x0004;      // made by clone/clone3: has a tid and a TCB
inline constexpr uint32_t TDF_IDLE = 0x0008;      // an rfork's idle thread
inline constexpr uint32_t TDF_OWNSTACK = 0x0010;  // td_stack is ours to free
inline constexpr uint32_t TDF_DETACHED = 0x0020;
inline constexpr uint32_t TDF_SUSPENDMASK = 0x0080;  // td_savedmask comes back after delivery
inline constexpr uint32_t TDF_PASSTHRU = 0x0200;  // stands for a vfork child
inline constexpr uint32_t TDF_INPORT = 0x0100;    // inside a shim: nested calls go straight down
inline constexpr uint32_t TDF_WORKER = 0x0400;    // carries out calls that were sent as messages
inline constexpr uint32_t TDF_BEGUN = 0x0800;     // its call has slept, or can't be put off: for its next trap
inline constexpr uint32_t TDF_RETIRED = 0x1000;   // its exit is said; what is left is to free it
inline constexpr uint32_t TDF_PREEMPTED = 0x2000; // its context stands on a stack of src/signal/preempt.h

inline constexpr uint32_t TDF_TURNEDDOWN = 0x4000;  // a filter turned its call down: the SIGSYS that comes says so

inline constexpr uint32_t kNoSlot = ~0u;  // td_slot of one without a tid

inline constexpr uint8_t TDP_RESET = 0x80;  // in td_policy

// td_ast: why the way out of the gate must stop
inline constexpr uint32_t AST_SIGNAL = 1;
inline constexpr uint32_t AST_RESCHED = 2;

struct sysunion_storage {  // room for any system call message
  struct sysmsg_raw raw;
};

}  // namespace cr

// In the global namespace because the public C ABI names it.
struct thread {
  // -- offsets known to assembly (frame.h) --
  uint64_t td_sp;      // saved stack pointer while not running
  cr::tlsreg td_tls;   // TLS register while not running
  uint32_t td_ast;     // AST_; set by anyone (atomic or), taken by the LWKT itself
  uint32_t td_flags;   // TDF_; the LWKT's own
  uint32_t td_running; // 1 until the context is saved after a switch away
  uint32_t td_state;   // ThreadState

  // -- scheduling --
  thread* td_qnext;    // run queue, wait queue of a port, or free list
  cr::globaldata* td_gd;  // the rfork it runs on (RUNNING) or ran on last
  int16_t td_critcount;
  uint8_t td_rank;     // above 0: before all those of a lower one (rank.h)
  uint8_t td_external; // it counts in sched_external
  int32_t td_tid;      // Linux's thread id, virtual but for the main thread; 0: none
  int64_t td_wakeval;  // what the winner of the wake says: 0 woken, -errno

  // -- waiting --
  uint64_t td_waddr;    // futex address it sleeps on, 0 if none
  thread* td_wnext;     // futex bucket
  thread** td_wprev;    // null when not in a bucket
  uint32_t td_wmask;    // FUTEX_*_BITSET
  int32_t td_timer;     // its timer in the timer queue, -1 if none
  uint64_t td_deadline; // absolute CLOCK_MONOTONIC, ns: of its timer, or of the wait on a port
  uint64_t td_slack;    // how much later it may be woken, ns (PR_SET_TIMERSLACK)
  struct lwkt_tokref* td_toks;  // tokens held or wanted, newest first; null: none (token.h)

  // -- signals --
  uint64_t td_sigmask;
  uint64_t td_sigpend;
  uint64_t td_savedmask;
  cr::sigqueue_entry* td_sigq;
  uint64_t td_altsp;
  uint64_t td_altsize;
  uint64_t td_sigwait;  // rt_sigtimedwait: the set it waits for

  // -- what NPTL told the kernel --
  uint64_t td_cleartid;
  uint64_t td_robust;
  uint32_t td_altflags;
  uint32_t td_slot;     // index in the tid table, or kNoSlot
  char td_comm[16];

  // -- stack --
  union {
    struct {  // lwkt_create's
      void* td_stack;
      uint64_t td_stacksize;
    };
    struct {  // the others'
      uint64_t td_cputime;  // ns until it was last noted (cputime.h)
      cr::PiWait* td_lenders;  // that lend it their rank (rank.h)
    };
  };
  // -- waiting, what few do --
  uint64_t td_slackdef;  // what PR_SET_TIMERSLACK 0 goes back to: its maker's
  cr::PiWait* td_piwait; // while it waits for a priority-inheritance lock (rank.h)
  // -- life --
  thread* td_joiner;
  union {
    void* td_arg;               // lwkt_create's
    cr::threadsched* td_sched;  // those with a tid: syscalls/threadsched.h; null: as the process
  };

  // -- messages --
  cr::sysunion_storage td_sysmsg;
  struct lwkt_port td_msgport;
  int32_t td_migrate;  // cpu that a migrating LWKT goes to
  uint8_t td_policy;   // SCHED_, and TDP_RESET for SCHED_RESET_ON_FORK (src/sysport/schedclass.h)
  uint8_t td_priority; // of its real-time class, or 0
  uint8_t td_boost;    // the highest rank that it is lent
  uint8_t td_eager;    // its credits (eager.h)
  [[no_unique_address]] cr::userregs td_user;  // registers while not running
};

#ifndef CR_KEEP_GS
// A slab class of whole cache lines, eight to a page: a parked thread's budget counts on it.
static_assert(sizeof(thread) <= 512);
#endif

static_assert(offsetof(thread, td_sp) == TD_SP && offsetof(thread, td_tls) == TD_TLS);
static_assert(offsetof(thread, td_ast) == TD_AST && offsetof(thread, td_flags) == TD_FLAGS);
static_assert(offsetof(thread, td_running) == TD_RUNNING && offsetof(thread, td_slot) == TD_SLOT);
static_assert(offsetof(thread, td_sysmsg) == TD_MSG && GATE_AST_SIGNAL == cr::AST_SIGNAL);
static_assert(GATE_INPORT == cr::TDF_INPORT);
static_assert(offsetof(thread, td_sysmsg.raw.sm.sm_lmsg.u) == TD_MSG_RESULT);
static_assert(offsetof(thread, td_sysmsg.raw.sm.sm_nr) == TD_MSG_NR);
static_assert(offsetof(thread, td_sysmsg.raw.sm.sm_frame) == TD_MSG_FRAME);
static_assert(offsetof(thread, td_sysmsg.raw.arg) == TD_MSG_ARGS);

namespace cr {

// Run queue: a ring with one producer (the cpu's holder) and many consumers (the holder and
// thieves). FIFO: a yield goes behind everybody, a broadcast wakes in order.
inline constexpr uint32_t kRunqSize = 1024;

struct ipiq;
struct slab_cpu;

inline constexpr uint32_t kNoSwitch = ~1u;  // in c_spentrun, c_spentturn, c_wokerun and c_io

// Who holds a cpu, in c_state.
enum CpuState : uint32_t {
  CPU_OFF = 0,     // never started
  CPU_RUN = 1,     // its holder runs LWKTs
  CPU_IDLE = 2,    // its holder sleeps; wake it through c_wake
  CPU_TRAP = 3,    // its holder is in a trap that may block; anyone may take it
};

struct alignas(kCacheLine) cpu {
  // -- the holder's --
  uint32_t c_state;      // CpuState, compare-and-swapped
  int32_t c_id;
  globaldata* c_gd;      // the holder
  uint32_t c_yield;        // the monitor's: others first, after the next trap or wake
  uint32_t c_unsubmitted;  // requests of its ring that wait for the next enter
  uint32_t c_trapseq;    // counts entries into blocking traps: the monitor compares
  uint32_t c_io;         // the last switch whose LWKT then read, wrote or polled what others fill or empty
  // Spent LWKTs, who have used up their slices (sched.cc).
  uint32_t c_over;       // the monitor's: the LWKT of switch c_over - 1 (of c_nswitch) has used up its own,
  uint32_t c_cut;        // and that of c_cut - 1, a spent one, is interrupted before it has: it is to have the rest
  uint32_t c_turn;       // the monitor's: the next one is to be a spent one
  uint32_t c_spentrun;   // the switch that made the last of them run
  uint32_t c_spentturn;  // the same if it was its turn: it has its slice
  uint32_t c_wokerun;    // see c_wokeat
  uint64_t c_spentsince; // when the switch of c_spentrun was, ns of CLOCK_MONOTONIC
  uint64_t c_nswitch;    // switches so far
  uint64_t c_look;       // ... at which sched_pick does more: at c_period, or sooner for cputime.h and eager.h
  uint64_t c_period;     // ... at which the global queue and the timers are looked at next
  slab_cpu* c_slab;
  uint64_t c_ranked_since;  // since when only ranked LWKTs run here though others wait, ns; 0: not so
  uint64_t c_fair_until;    // until then those others go first
  uint64_t c_patience;      // ns that its holder, idle beside the one that sees to timers, leaves these to it
  uint64_t c_wokeat;        // when the LWKT of switch c_wokerun woke one that an idle cpu could run, by the TSC
                            // (eager.h)
  uint64_t c_nmade;      // counters for --stats: LWKTs made here,
  uint64_t c_nsteal;     // taken from other cpus,
  uint64_t c_nhandoff;   // and how often the cpu left a holder that sat in a trap
  // cputime.cc's
  uint32_t c_exact;       // LWKTs' processor times are noted at every switch
  uint32_t c_counted;     // switches so noted,
  uint64_t c_used;        // ns between them
  uint64_t c_tsc;         // the look before, where they are not
  uint32_t c_backoff;     // looks until they may be again
  uint32_t c_backoffnext;
  // -- the run queue --
  alignas(kCacheLine) uint32_t c_head;  // consumers
  alignas(kCacheLine) uint32_t c_tail;  // the holder
  thread* c_ring[kRunqSize];
  // -- other cpus --
  alignas(kCacheLine) uint32_t c_wake;   // futex word the idle holder sleeps on
  uint32_t c_woken;                      // how often rfork_wake_cpu has woken its holder
  uint32_t c_ipipending;                 // an IPI was queued since the last look
  ipiq* c_ipiq;                          // one inbox ring for each sending cpu
};

// The switch that made whoever runs on c, as c_spentrun and others name it.
inline uint32_t run_of(const cpu* c) { return static_cast<uint32_t>(c->c_nswitch); }

// The area behind %gs.
struct globaldata {
  // -- offsets known to assembly (frame.h) --
  globaldata* gd_self;
  thread* gd_curthread;
  void (*gd_gate)();       // where a stub jumps: the gate, or the pass-through of a vfork child
  uintptr_t gd_pt_retpc;   // pass-through area: the program's return address
  globaldata* gd_pt_parent;  // pass-through area: the rfork that lent its stack
  trapframe* gd_pt_frame;
  uintptr_t gd_pt_stack;   // pass-through area: where the parent goes on
  uint32_t gd_ast;         // a signal came while this rfork was inside libcr: look at the way out
  [[no_unique_address]] percpu_arch gd_arch;

  cpu* gd_cpu;             // the cpu it holds, null while it has none
  thread* gd_leaving;      // LWKT that ends or migrates: dealt with once it is switched away from. And kUnsettled
  thread* gd_idle;
  uint32_t gd_flags;       // GDF_
  int32_t gd_ktid;         // the kernel's id of this kernel thread; 0: not yet, -1: never
  uint32_t gd_wake;        // futex word of a spare rfork
  globaldata* gd_next;     // list of all rforks
  globaldata* gd_sparenext;
  void* gd_altstack;       // where the kernel pushes signal frames
  void* gd_idlestack;
  uint64_t gd_xcalls;      // set*id broadcasts already served
  uint32_t gd_deaf;        // blocks all signals: a spare rfork, the monitor
  uint32_t gd_untouchable; // in an exec: gets no signal of libcr's own
  uint32_t gd_senders;     // who is about to send one
  uint32_t gd_interrupt;   // whether one is on its way (rfork_interrupt)
  uint32_t gd_maskseen;    // the number of changes of what all block in the kernel (sig_follow_mask)
  uint32_t gd_class;       // the kernel's scheduling class of it (rank.h), once there are ranks
  uint32_t gd_requests;    // reads and writes on disks that the kernel can finish on this kernel thread alone; a futex
  uint32_t gd_awaits;      // it sleeps until there are none (rfork.cc)
  PreemptStack* gd_preemptleft;  // where it was last when it restored an interrupted context (src/signal/preempt.h)
  uint64_t gd_cpumark;     // its processor time when gd_curthread's was last noted (cputime.h)
};

// In gd_leaving: the rfork's class is higher than that of the LWKT that it switches to (rank.h).
inline constexpr uintptr_t kUnsettled = 1;

inline constexpr uint32_t GDF_PASSTHRU = 1;  // a vfork child's area
inline constexpr uint32_t GDF_MAIN = 2;      // the process's first kernel thread
inline constexpr uint32_t GDF_MASKLENT = 4;  // its kernel's mask is not what all rforks have, for a while

static_assert(offsetof(globaldata, gd_curthread) == GD_CURTHREAD);
static_assert(offsetof(globaldata, gd_gate) == GD_GATE);
static_assert(offsetof(globaldata, gd_pt_retpc) == GD_PT_RETPC);
static_assert(offsetof(globaldata, gd_pt_parent) == GD_PT_PARENT);
static_assert(offsetof(globaldata, gd_pt_frame) == GD_PT_FRAME);
static_assert(offsetof(globaldata, gd_pt_stack) == GD_PT_STACK);
static_assert(offsetof(globaldata, gd_ast) == GD_AST);
#ifdef CR_KEEP_GS
static_assert(offsetof(globaldata, gd_arch.selector) == GD_SELECTOR);
static_assert(offsetof(thread, td_user.gs) == TD_GS);
#endif

inline cpu* mycpu() { return mygd()->gd_cpu; }

}  // namespace cr

/* Random walks (walk.h) through the signal calls: dispositions, masks, pending sets, senders, waits. The other thread, where
 * there is one, blocks everything. */
#include "sending.h"
#include "walk.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

static const int signals[] = {SIGHUP, SIGUSR1, SIGPIPE, SIGTERM, SIGCHLD, SIGCONT, SIGTSTP, SIGURG, SIGWINCH, 34, 35, 60};
enum { N = sizeof signals / sizeof *signals, LOG = 4096 };
static int some_signal(void) { return signals[draw(N)]; }
static sigset_t some_set(void) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < N; i++) {
    if (draw(3) == 0) sigaddset(&set, signals[i]);
  }
  return set;
}

/* What handlers saw, printed after the step. */
static char seen[LOG];
static size_t nseen;
static void note(char kind, long a, long b, long c) {
  if (nseen + 64 < LOG) nseen += (size_t)sprintf(seen + nseen, " %c%ld,%ld,%ld", kind, a, b, c);
}
static long mask_bits(void) {
  sigset_t set;
  long bits = 0;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0);
  for (int i = 0; i < N; i++) bits |= (long)(sigismember(&set, signals[i]) == 1) << i;
  return bits;
}
static void plain(int sig) { note('h', sig, mask_bits(), 0); }
static void with_info(int sig, siginfo_t* info, void* context) {
  long value = info->si_code == SI_QUEUE ? info->si_value.sival_int : info->si_code == SI_USER ? info->si_pid == getpid() : -1;
  CHECK(context != NULL);
  note('i', sig, info->si_code, value);
  note('m', mask_bits(), 0, 0);
}

static const char* print_set(const sigset_t* set) {
  static char text[128];
  size_t n = 0;
  for (int i = 0; i < N; i++) {
    if (sigismember(set, signals[i]) == 1) n += (size_t)sprintf(text + n, "%d ", signals[i]);
  }
  text[n] = '\0';
  return text;
}
static int fatal(int sig) { return sig != SIGCHLD && sig != SIGCONT && sig != SIGURG && sig != SIGWINCH; }
/* Of these libcr leaves more to the kernel while they are ignored: a broken pipe's is the writer's to drop, and what is
 * sent to a parent whose children are not waited for can be had by a signalfd alone. */
static int unsent(int sig) {
  struct sigaction sa;
  CHECK(sigaction(sig, NULL, &sa) == 0);
  return (sig == SIGCHLD || sig == SIGPIPE) && sa.sa_handler == SIG_IGN;
}
/* Those with a default action that ends or stops the process may not become deliverable. */
static int deadly(int sig) {
  struct sigaction sa;
  CHECK(sigaction(sig, NULL, &sa) == 0);
  return fatal(sig) && sa.sa_handler == SIG_DFL;
}
/* It may be sent now. */
static int may_come(int sig) {
  sigset_t now;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
  return !unsent(sig) && (!deadly(sig) || sigismember(&now, sig));
}
/* Whether an ignored signal is still there after a wait that let it through, while some handler's mask did not, is another of
 * libcr's liberties. */
static void keep_ignored_as_they_are(sigset_t* mask) {
  sigset_t now;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
  for (int i = 0; i < N; i++) {
    struct sigaction sa;
    CHECK(sigaction(signals[i], NULL, &sa) == 0);
    int ignored = sa.sa_handler == SIG_IGN || (sa.sa_handler == SIG_DFL && !fatal(signals[i]));
    if (ignored && sigismember(&now, signals[i])) sigaddset(mask, signals[i]);
  }
}
static void keep_deadly_blocked(sigset_t* mask) {
  for (int i = 0; i < N; i++) {
    if (deadly(signals[i])) sigaddset(mask, signals[i]);
  }
}

/* Signals of another process may still be on their way to who takes them. */
static void settle(void) {
  int error = errno;
  if (beside) sleep_ms(4);
  errno = error;
}
static void another_sends(int sig, int queued, int value) {
  fflush(stdout);
  sigset_t all, old;
  sigfillset(&all);
  pid_t parent = getpid();
  /* Its end is a SIGCHLD, too: both are to be pending before either is taken. */
  CHECK(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    int r = queued ? sigqueue(parent, sig, (union sigval){.sival_int = value}) : kill(parent, sig);
    _exit(r == 0 ? 0 : 1);
  }
  int status = 0;
  pid_t got = waitpid(pid, &status, 0);
  CHECK((got == pid && status == 0) || (got == -1 && errno == ECHILD));
  settle();
  CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
}

static int fd = -1;
static void new_signalfd(void) {
  sigset_t set = some_set();
  sigdelset(&set, SIGPIPE); /* its own pending signals and the process's would be one there */
  fd = signalfd(fd, &set, SFD_NONBLOCK);
  CHECK(fd >= 0);
  printf("signalfd %s", print_set(&set));
}
static void read_signalfd(void) {
  struct signalfd_siginfo info;
  printf("read");
  if (fd < 0) return;
  for (;;) {
    ssize_t n = read(fd, &info, sizeof info);
    if (n != (ssize_t)sizeof info) {
      printf(" %zd %d", n, errno);
      return;
    }
    printf(" %u,%d,%d", info.ssi_signo, info.ssi_code, info.ssi_code == SI_QUEUE ? info.ssi_int : -1);
  }
}

static void act(int sig) {
  struct sigaction sa, old;
  memset(&sa, 0, sizeof sa);
  sa.sa_mask = some_set();
  unsigned flags = draw(16);
  sa.sa_flags = (flags & 1 ? SA_NODEFER : 0) | (flags & 2 ? SA_RESTART : 0) | (flags & 4 && draw(2) ? SA_RESETHAND : 0);
  unsigned what = draw(5);
  if (what == 0) {
    sa.sa_handler = SIG_IGN;
  } else if (what == 1) {
    sa.sa_handler = SIG_DFL;
  } else if (what == 2) {
    sa.sa_handler = plain;
  } else {
    sa.sa_sigaction = with_info;
    sa.sa_flags |= SA_SIGINFO;
  }
  if (fatal(sig) && (what == 1 || (sa.sa_flags & SA_RESETHAND) != 0)) {
    if (what == 1) {
      const sigset_t set = only(sig);
      CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    }
    sa.sa_flags &= (int)~(unsigned)SA_RESETHAND;
  }
  CHECK(sigaction(sig, &sa, &old) == 0);
  settle();
  printf("action %d %u %x was %d %x", sig, what, (unsigned)sa.sa_flags, old.sa_handler == SIG_IGN ? 0 : old.sa_handler == SIG_DFL ? 1 : 2,
         (unsigned)old.sa_flags & ~0x04000000u);
}

static void step(void) {
  int sig = some_signal(), value = (int)draw(1000);
  sigset_t set = some_set();
  siginfo_t info;
  struct timespec none = {0, 0};
  switch (draw(17)) {
    case 0:
    case 1:
    case 2: act(sig); break;
    case 3:
    case 4: {
      CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
      printf("block %s", print_set(&set));
      break;
    }
    case 5: {
      for (int i = 0; i < N; i++) {
        if (deadly(signals[i])) sigdelset(&set, signals[i]);
      }
      CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
      printf("unblock %s", print_set(&set));
      break;
    }
    case 6: {
      keep_deadly_blocked(&set);
      CHECK(pthread_sigmask(SIG_SETMASK, &set, NULL) == 0);
      printf("mask %s", print_set(&set));
      break;
    }
    case 7:
    case 8: {
      if (!may_come(sig)) break;
      unsigned way = draw(4);
      printf("send %d %u %d", sig, way, value);
      if (way == 0) CHECK(kill(getpid(), sig) == 0);
      if (way == 1) CHECK(raise(sig) == 0);
      if (way == 2) CHECK(sigqueue(getpid(), sig, (union sigval){.sival_int = value}) == 0);
      if (way == 3) CHECK(pthread_kill(pthread_self(), sig) == 0);
      break;
    }
    case 9:
    case 10: {
      if (!may_come(sig)) break;
      int queued = (int)draw(2);
      printf("another %d %d %d", sig, queued, value);
      another_sends(sig, queued, value);
      break;
    }
    case 11: {
      CHECK(sigpending(&set) == 0);
      printf("pending %s", print_set(&set));
      break;
    }
    case 12:
    case 13: {
      int r = sigtimedwait(&set, &info, &none);
      settle(); /* what else was ignored comes from the kernel now, to some kernel thread */
      printf("wait %s: %d %d", print_set(&set), r, r < 0 ? errno : info.si_code);
      if (r > 0 && info.si_code == SI_QUEUE) printf(" %d", info.si_value.sival_int);
      break;
    }
    case 14: {
      static int events = -1;
      struct epoll_event event;
      if (events < 0) CHECK((events = epoll_create1(0)) >= 0);
      keep_deadly_blocked(&set);
      keep_ignored_as_they_are(&set);
      unsigned how = draw(4);
      int r = how == 0   ? ppoll(NULL, 0, &none, &set)
              : how == 1 ? pselect(0, NULL, NULL, NULL, &none, &set)
                         : epoll_pwait(events, &event, 1, how == 2 ? 0 : 1, &set);
      /* An ignored signal that was blocked ends Linux's epoll_pwait, of the three. Under libcr it ends none. */
      if (how == 3 && nseen == 0) r = 0;
      printf("poll %u %s: %d %d", how, print_set(&set), r, r < 0 ? errno : 0);
      break;
    }
    case 15: {
      if (!may_come(SIGPIPE)) break;
      int ends[2];
      CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
      ssize_t n = write(ends[1], "x", 1);
      printf("broken pipe %zd %d", n, errno);
      CHECK(close(ends[1]) == 0);
      break;
    }
    default:
      /* Where there are several threads, libcr's signalfds read what is sent to any one of them. */
      if (beside) break;
      if (draw(2) == 0) {
        new_signalfd();
      } else {
        read_signalfd();
      }
  }
  sigset_t waiting;
  CHECK(sigpending(&waiting) == 0);
  printf(" |%s | %lx | %s", seen, (unsigned long)mask_bits(), print_set(&waiting));
  nseen = 0;
  seen[0] = '\0';
}

static void* aside(void* p) {
  for (;;) sleep_ms(1000);
  return p;
}
static void begin(void) {
  if (beside) {
    sigset_t all, old;
    pthread_t t;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
    CHECK(pthread_create(&t, NULL, aside, NULL) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
  }
  sigset_t deadly_ones;
  sigemptyset(&deadly_ones);
  keep_deadly_blocked(&deadly_ones);
  CHECK(pthread_sigmask(SIG_BLOCK, &deadly_ones, NULL) == 0);
}

static void walks_alone(void) { walks(0, 1, 60, 120); }
static void walks_beside_a_thread(void) { walks(1, 101, 120, 100); }

static const struct test_case cases[] = {CASE(walks_alone), CASE(walks_beside_a_thread)};
WALK_MAIN(cases)

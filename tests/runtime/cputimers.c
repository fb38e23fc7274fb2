/* Timers and sleeps whose time is the processor time of a thread or of the process. Lower bounds are exact but for
 * the clock's grain; upper ones are no more than that other threads' time does not count. */
#include "case.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { MS = 1000000 };

static int64_t ns_of(clockid_t clock) {
  struct timespec ts;
  CHECK(clock_gettime(clock, &ts) == 0);
  return (int64_t)ts.tv_sec * 1000 * MS + ts.tv_nsec;
}
static struct timespec ts_of(int64_t ns) { return (struct timespec){ns / (1000 * MS), ns % (1000 * MS)}; }
static void use(int64_t ns) {
  for (int64_t end = ns_of(CLOCK_THREAD_CPUTIME_ID) + ns; ns_of(CLOCK_THREAD_CPUTIME_ID) < end;) {
  }
}

static atomic_int stop, fired;
static volatile int64_t used_then;
static clockid_t watched;
static void* spin(void* arg) {
  while (!atomic_load(&stop)) {
  }
  return arg;
}

static void note(int sig, siginfo_t* info, void* context) {
  used_then = ns_of(watched);
  atomic_fetch_add(&fired, 1 + info->si_overrun);
}
static void catch_it(int sig) {
  struct sigaction sa = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESTART};
  CHECK(sigaction(sig, &sa, NULL) == 0);
}
static timer_t new_timer(clockid_t clock, int sig) {
  struct sigevent e = {.sigev_notify = sig != 0 ? SIGEV_SIGNAL : SIGEV_NONE, .sigev_signo = sig};
  timer_t t;
  CHECK(timer_create(clock, &e, &t) == 0);
  return t;
}
static void set(timer_t t, int64_t value, int64_t interval) {
  struct itimerspec it = {ts_of(interval), ts_of(value)};
  CHECK(timer_settime(t, 0, &it, NULL) == 0);
}

/* A thread that uses 200 ms of its own, beside one that computes all the time. */
static sem_t go;
static void* use_200(void* arg) {
  CHECK(sem_wait(&go) == 0);
  use(200 * MS);
  return arg;
}
static void a_timer_counts_another_threads_time_alone(void) {
  pthread_t a, b;
  CHECK(sem_init(&go, 0, 0) == 0);
  CHECK(pthread_create(&a, NULL, use_200, NULL) == 0 && pthread_create(&b, NULL, spin, NULL) == 0);
  catch_it(SIGUSR1);
  CHECK(pthread_getcpuclockid(a, &watched) == 0);
  int64_t before = ns_of(watched);
  timer_t t = new_timer(watched, SIGUSR1);
  set(t, 50 * MS, 0);
  sleep_ms(150); /* the other one uses more than enough */
  printf("%d\n", (int)fired);
  CHECK(sem_post(&go) == 0);
  for (int64_t end = now_ms() + 10000; !fired && now_ms() < end;) sleep_ms(1);
  printf("%d %d\n", (int)fired, used_then - before >= 50 * MS);
  atomic_store(&stop, 1);
  CHECK(pthread_join(a, NULL) == 0 && pthread_join(b, NULL) == 0);
  printf("%d\n", (int)fired);
}

static void* watch_oneself(void* arg) {
  watched = CLOCK_THREAD_CPUTIME_ID; /* the handler may run on any: only the count is looked at */
  timer_t t = new_timer(CLOCK_THREAD_CPUTIME_ID, SIGUSR1);
  set(t, 40 * MS, 0);
  sleep_ms(100);
  printf("%d\n", (int)fired);
  use(20 * MS);
  printf("%d\n", (int)fired);
  use(60 * MS);
  printf("%d\n", (int)fired);
  return arg;
}
static void a_timer_counts_the_callers_time(void) {
  pthread_t a, b;
  catch_it(SIGUSR1);
  CHECK(pthread_create(&b, NULL, spin, NULL) == 0 && pthread_create(&a, NULL, watch_oneself, NULL) == 0);
  CHECK(pthread_join(a, NULL) == 0);
  atomic_store(&stop, 1);
  CHECK(pthread_join(b, NULL) == 0);
}

static void a_timer_of_the_only_thread(void) {
  catch_it(SIGUSR1);
  watched = CLOCK_THREAD_CPUTIME_ID;
  timer_t t = new_timer(CLOCK_THREAD_CPUTIME_ID, SIGUSR1);
  set(t, 20 * MS, 20 * MS);
  use(210 * MS);
  printf("%d\n", fired >= 8 && fired <= 10);
  set(t, 0, 0);
  int so_far = fired;
  use(50 * MS);
  printf("%d\n", fired == so_far);
  CHECK(timer_delete(t) == 0);
}

static void what_is_left_is_the_threads_time(void) {
  pthread_t b;
  CHECK(pthread_create(&b, NULL, spin, NULL) == 0);
  timer_t t = new_timer(CLOCK_THREAD_CPUTIME_ID, 0);
  set(t, 100 * MS, 30 * MS);
  sleep_ms(50);
  struct itimerspec it;
  CHECK(timer_gettime(t, &it) == 0);
  printf("%d %d\n", it.it_value.tv_nsec > 80 * MS, it.it_interval.tv_nsec == 30 * MS);
  use(60 * MS);
  CHECK(timer_gettime(t, &it) == 0);
  printf("%d\n", it.it_value.tv_nsec <= 40 * MS && it.it_value.tv_nsec > 0);
  use(50 * MS); /* over, and on its second time */
  CHECK(timer_gettime(t, &it) == 0);
  printf("%d\n", it.it_value.tv_nsec <= 30 * MS && it.it_value.tv_nsec > 0);
  struct itimerspec off = {{0, 0}, {0, 0}}, old;
  CHECK(timer_settime(t, 0, &off, &old) == 0);
  printf("%d\n", old.it_value.tv_nsec <= 30 * MS && old.it_value.tv_nsec > 0);
  CHECK(timer_gettime(t, &it) == 0);
  printf("%ld %ld\n", (long)it.it_value.tv_sec, (long)it.it_value.tv_nsec);
  atomic_store(&stop, 1);
  CHECK(pthread_join(b, NULL) == 0);
}

static void a_time_that_has_passed_goes_off_at_once(void) {
  pthread_t b;
  atomic_store(&stop, 0);
  CHECK(pthread_create(&b, NULL, spin, NULL) == 0);
  sigset_t set_;
  sigemptyset(&set_);
  sigaddset(&set_, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &set_, NULL) == 0);
  atomic_store(&stop, 1);
  CHECK(pthread_join(b, NULL) == 0);
  use(30 * MS);
  struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
  timer_t t;
  CHECK(timer_create(CLOCK_THREAD_CPUTIME_ID, &e, &t) == 0);
  struct itimerspec it = {{0, 0}, ts_of(10 * MS)};
  CHECK(timer_settime(t, TIMER_ABSTIME, &it, NULL) == 0);
  siginfo_t info;
  struct timespec patience = {5, 0};
  int sig = sigtimedwait(&set_, &info, &patience);
  printf("%d %d %d\n", sig == SIGUSR1, info.si_code == SI_TIMER, info.si_value.sival_int);
}

static void* nothing(void* arg) { return arg; }
static void clocks_of_threads_that_have_ended(void) {
  pthread_t a, b;
  CHECK(sem_init(&go, 0, 0) == 0);
  CHECK(pthread_create(&b, NULL, spin, NULL) == 0);
  CHECK(pthread_create(&a, NULL, use_200, NULL) == 0);
  clockid_t clock;
  CHECK(pthread_getcpuclockid(a, &clock) == 0);
  timer_t t = new_timer(clock, SIGUSR1);
  catch_it(SIGUSR1);
  set(t, 1000 * (int64_t)MS, 0);
  CHECK(sem_post(&go) == 0 && pthread_join(a, NULL) == 0);
  struct itimerspec it;
  printf("%d\n", timer_gettime(t, &it) == 0 && it.it_value.tv_sec == 0 && it.it_value.tv_nsec == 0);
  it = (struct itimerspec){{0, 0}, {1, 0}};
  printf("%s\n", timer_settime(t, 0, &it, NULL) == 0 ? "set" : strerrorname_np(errno));
  printf("%d\n", timer_delete(t));
  struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  printf("%s\n", timer_create(clock, &e, &t) == 0 ? "made" : strerrorname_np(errno));
  struct timespec ts = {1, 0};
  printf("%s\n", strerrorname_np(clock_nanosleep(clock, 0, &ts, NULL)));
  atomic_store(&stop, 1);
  CHECK(pthread_join(b, NULL) == 0);
  CHECK(pthread_create(&a, NULL, nothing, NULL) == 0 && pthread_join(a, NULL) == 0);
}

static void sleeps_on_processor_clocks(void) {
  pthread_t a, b;
  CHECK(sem_init(&go, 0, 0) == 0);
  CHECK(pthread_create(&a, NULL, use_200, NULL) == 0 && pthread_create(&b, NULL, spin, NULL) == 0);
  clockid_t clock, own;
  CHECK(pthread_getcpuclockid(a, &clock) == 0 && pthread_getcpuclockid(pthread_self(), &own) == 0);
  int64_t before = ns_of(clock), process = ns_of(CLOCK_PROCESS_CPUTIME_ID);
  struct timespec ts = ts_of(60 * MS);
  CHECK(sem_post(&go) == 0);
  printf("%d\n", clock_nanosleep(clock, 0, &ts, NULL));
  printf("%d\n", ns_of(clock) - before >= 60 * MS);
  ts = ts_of(before + 120 * MS);
  printf("%d\n", clock_nanosleep(clock, TIMER_ABSTIME, &ts, NULL));
  printf("%d\n", ns_of(clock) - before >= 120 * MS);
  ts = ts_of(process + 150 * MS);
  printf("%d\n", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &ts, NULL));
  printf("%d\n", ns_of(CLOCK_PROCESS_CPUTIME_ID) - process >= 150 * MS);
  printf("%s\n", strerrorname_np(clock_nanosleep(own, 0, &ts, NULL)));
  printf("%s\n", strerrorname_np(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL)));
  ts.tv_nsec = -1;
  printf("%s\n", strerrorname_np(clock_nanosleep(clock, 0, &ts, NULL)));
  CHECK(pthread_join(a, NULL) == 0);
  atomic_store(&stop, 1);
  CHECK(pthread_join(b, NULL) == 0);
}

static void count(int sig) { atomic_fetch_add(&fired, 1); }
static void* interrupt(void* arg) {
  sleep_ms(50);
  CHECK(pthread_kill(*(pthread_t*)arg, SIGUSR2) == 0);
  return arg;
}
static void* interrupt_late(void* arg) {
  sleep_ms(1450);
  return interrupt(arg);
}
static void a_signal_ends_a_sleep_on_a_threads_clock(void) {
  pthread_t self = pthread_self(), a, k;
  struct sigaction sa = {.sa_handler = count};
  CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
  CHECK(sem_init(&go, 0, 0) == 0 && pthread_create(&a, NULL, use_200, NULL) == 0);
  clockid_t clock;
  CHECK(pthread_getcpuclockid(a, &clock) == 0);
  CHECK(pthread_create(&k, NULL, interrupt, &self) == 0);
  struct timespec ts = {1, 0}, rest = {0, 0};
  printf("%s\n", strerrorname_np(clock_nanosleep(clock, 0, &ts, &rest)));
  printf("%d %d\n", (int)fired, rest.tv_sec == 1 || rest.tv_nsec > 900 * MS);
  CHECK(pthread_join(k, NULL) == 0);
  CHECK(sem_post(&go) == 0 && pthread_join(a, NULL) == 0);
}

/* So many seconds that their nanoseconds are not to be had in 64 bits. */
static void a_sleep_for_ages_on_a_threads_clock(void) {
  if (sizeof(time_t) < 8) return;
  pthread_t self = pthread_self(), a, k;
  struct sigaction sa = {.sa_handler = count};
  CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
  CHECK(pthread_create(&a, NULL, spin, NULL) == 0);
  clockid_t clock;
  CHECK(pthread_getcpuclockid(a, &clock) == 0);
  CHECK(pthread_create(&k, NULL, interrupt_late, &self) == 0);
  struct timespec ts = {(time_t)18446744073, 900 * MS};
  printf("%s\n", strerrorname_np(clock_nanosleep(clock, 0, &ts, NULL)));
  CHECK(pthread_join(k, NULL) == 0);
  atomic_store(&stop, 1);
  CHECK(pthread_join(a, NULL) == 0);
}

/* ITIMER_PROF and ITIMER_VIRTUAL: the time of all threads. */
static void interval_timers_of_the_process(void) {
  static const int which[] = {ITIMER_PROF, ITIMER_VIRTUAL}, sigs[] = {SIGPROF, SIGVTALRM};
  pthread_t b;
  CHECK(pthread_create(&b, NULL, spin, NULL) == 0);
  struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART};
  for (int i = 0; i < 2; i++) {
    CHECK(sigaction(sigs[i], &sa, NULL) == 0);
    atomic_store(&fired, 0);
    struct itimerval it = {{0, 20000}, {0, 20000}}, off = {{0, 0}, {0, 0}}, old;
    CHECK(setitimer(which[i], &it, NULL) == 0);
    int64_t begin = ns_of(CLOCK_PROCESS_CPUTIME_ID);
    while (ns_of(CLOCK_PROCESS_CPUTIME_ID) - begin < 300 * MS) sleep_ms(5);
    CHECK(setitimer(which[i], &off, &old) == 0);
    printf("%d %ld\n", fired >= 5, (long)old.it_interval.tv_usec);
  }
  atomic_store(&stop, 1);
  CHECK(pthread_join(b, NULL) == 0);
}

static void the_limit_of_processor_time(void) {
  fflush(stdout);
  for (int caught = 0; caught < 2; caught++) {
    pid_t child = fork();
    if (child == 0) {
      struct sigaction sa = {.sa_handler = caught ? count : SIG_DFL};
      CHECK(sigaction(SIGXCPU, &sa, NULL) == 0);
      struct rlimit soft = {1, 3}, none = {0, 0};
      CHECK(setrlimit(RLIMIT_CPU, &soft) == 0 && setrlimit(RLIMIT_CORE, &none) == 0);
      pthread_t b;
      CHECK(pthread_create(&b, NULL, spin, NULL) == 0);
      for (int64_t end = now_ms() + 20000; !fired && now_ms() < end;) sleep_ms(5);
      _exit(fired > 0 ? 7 : 8);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    printf("%d %d\n", WIFSIGNALED(status) ? WTERMSIG(status) == SIGXCPU : -1, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  }
}

static atomic_int notified;
static void on_thread(union sigval v) { atomic_store(&notified, v.sival_int); }
static void a_thread_is_told_of_anothers_time(void) {
  pthread_t a;
  CHECK(sem_init(&go, 0, 0) == 0 && pthread_create(&a, NULL, use_200, NULL) == 0);
  clockid_t clock;
  CHECK(pthread_getcpuclockid(a, &clock) == 0);
  struct sigevent e = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_thread, .sigev_value.sival_int = 5};
  timer_t t;
  CHECK(timer_create(clock, &e, &t) == 0);
  set(t, 50 * MS, 0);
  sleep_ms(30);
  printf("%d\n", (int)notified);
  CHECK(sem_post(&go) == 0);
  for (int64_t end = now_ms() + 10000; !notified && now_ms() < end;) sleep_ms(1);
  printf("%d\n", (int)notified);
  CHECK(pthread_join(a, NULL) == 0 && timer_delete(t) == 0);
}

static const struct test_case cases[] = {
    CASE(a_timer_counts_another_threads_time_alone),
    CASE(a_timer_counts_the_callers_time),
    CASE(a_timer_of_the_only_thread),
    CASE(what_is_left_is_the_threads_time),
    CASE(a_time_that_has_passed_goes_off_at_once),
    CASE(clocks_of_threads_that_have_ended),
    CASE(sleeps_on_processor_clocks),
    CASE(a_signal_ends_a_sleep_on_a_threads_clock),
    CASE(a_sleep_for_ages_on_a_threads_clock),
    CASE(interval_timers_of_the_process),
    CASE(the_limit_of_processor_time),
    CASE(a_thread_is_told_of_anothers_time),
};
CASE_MAIN(cases)

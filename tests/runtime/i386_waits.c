/* Calls that wait, in the forms that only 32-bit programs have: old select with its arguments in memory,
 * times of 32 and 64 bits, offsets in two registers, sendfile and record locks of both widths, waitpid.
 * Another thread is there all the time, so that libcr serves them. */
#include "blocking.h"

#include <linux/time_types.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* By int $0x80, six arguments and all. */
long int80(long nr, ...);
__asm__(".text\n.globl int80\n.type int80, @function\nint80:\n"
        "pushl %ebx\npushl %esi\npushl %edi\npushl %ebp\n"
        "movl 20(%esp), %eax\nmovl 24(%esp), %ebx\nmovl 28(%esp), %ecx\nmovl 32(%esp), %edx\n"
        "movl 36(%esp), %esi\nmovl 40(%esp), %edi\nmovl 44(%esp), %ebp\nint $0x80\n"
        "popl %ebp\npopl %edi\npopl %esi\npopl %ebx\nret\n.size int80, .-int80\n");

static int ends[2];
static void* feeds(void* arg) {
  sleep_ms(20);
  CHECK(write(ends[1], "x", 1) == 1);
  return arg;
}
static void* stays(void* arg) {
  sleep_ms(100000);
  return arg;
}
static void another_thread(void) {
  CHECK(pipe(ends) == 0);
  pthread_detach(start(stays, NULL));
}
static void drain(void) {
  char c;
  CHECK(read(ends[0], &c, 1) == 1);
}

/* At the end of a page: a set has the words that its descriptors need, and no more. */
static uint32_t* words_before_a_hole(void) {
  char* p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED && mprotect(p + 4096, 4096, PROT_NONE) == 0);
  return (uint32_t*)(p + 4096);
}

static long select_by(int form, uint32_t* set, int ms) {
  int32_t old[2] = {ms / 1000, ms % 1000 * 1000}, narrow[2] = {ms / 1000, ms % 1000 * 1000000};
  struct __kernel_timespec wide = {ms / 1000, ms % 1000 * 1000000};
  uint32_t packed[5] = {ends[0] + 1, (uint32_t)(uintptr_t)set, 0, 0, (uint32_t)(uintptr_t)old};
  switch (form) {
    case 0: return int80(82, packed);
    case 1: return int80(SYS__newselect, ends[0] + 1, set, 0, 0, old, 0);
    case 2: return int80(SYS_pselect6, ends[0] + 1, set, 0, 0, narrow, 0);
    default: return int80(SYS_pselect6_time64, ends[0] + 1, set, 0, 0, &wide, 0);
  }
}
static void select_of_every_form(void) {
  another_thread();
  CHECK(ends[0] < 32);
  uint32_t* set = words_before_a_hole() - 1;
  for (int form = 0; form < 4; form++) {
    *set = 1u << ends[0];
    long none = select_by(form, set, 15);
    printf("%ld %d ", none, *set == 0);
    *set = 1u << ends[0];
    pthread_t t = start(feeds, NULL);
    long one = select_by(form, set, 5000);
    printf("%ld %d\n", one, *set == 1u << ends[0]);
    finish(t);
    drain();
  }
  *set = 1;
  printf("%ld %ld\n", int80(SYS__newselect, 33, set, 0, 0, 0, 0), int80(82, 0L));
}

static void time_is_counted_down(void) {
  another_thread();
  int32_t narrow[2] = {2, 0};
  struct __kernel_timespec wide = {2, 0};
  struct pollfd p = {ends[0], POLLIN, 0};
  pthread_t t = start(feeds, NULL);
  CHECK(int80(SYS_ppoll, &p, 1, narrow, 0, 8, 0) == 1);
  finish(t);
  printf("%d %d\n", narrow[0], narrow[1] > 0);
  drain();
  t = start(feeds, NULL);
  CHECK(int80(SYS_ppoll_time64, &p, 1, &wide, 0, 8, 0) == 1);
  finish(t);
  printf("%d %d\n", (int)wide.tv_sec, wide.tv_nsec > 0);
  int bad[2] = {0, 1000000000};
  printf("%ld %ld\n", int80(SYS_ppoll, &p, 1, bad, 0, 8, 0), int80(SYS_ppoll, &p, 1, (void*)16, 0, 8, 0));
}

static void epoll_waits(void) {
  another_thread();
  int e = epoll_create1(0);
  struct epoll_event ev[3] = {{EPOLLIN, {.u64 = 0x1122334455667788}}};
  CHECK(epoll_ctl(e, EPOLL_CTL_ADD, ends[0], ev) == 0);
  memset(ev, 0, sizeof ev);
  struct __kernel_timespec soon = {0, 10000000}, late = {5, 0};
  printf("%ld\n", int80(SYS_epoll_pwait2, e, ev, 3, &soon, 0, 0));
  pthread_t t = start(feeds, NULL);
  printf("%ld ", int80(SYS_epoll_pwait2, e, ev, 3, &late, 0, 0));
  printf("%d\n", ev[0].data.u64 == 0x1122334455667788);
  finish(t);
}

static int large_file(void) {
  char path[] = "/tmp/libcr-i386-XXXXXX";
  int fd = mkstemp64(path);
  CHECK(fd >= 0 && unlink(path) == 0);
  return fd;
}
static void offsets_beyond_4_gb(void) {
  another_thread();
  char buf[8] = "";
  int fd = large_file();
  const uint32_t low = 0x10, high = 1; /* 4 GB and 16 */
  printf("%ld ", int80(SYS_pwrite64, fd, "abcdefgh", 8, low, high, 0));
  printf("%ld %.4s ", int80(SYS_pread64, fd, buf, 4, low + 4, high, 0), buf);
  struct iovec two[2] = {{buf, 3}, {buf + 3, 3}};
  printf("%ld %.6s ", int80(SYS_preadv, fd, two, 2, low, high, 0), buf);
  printf("%ld %.6s ", int80(SYS_preadv2, fd, two, 2, low + 2, high, 0), buf);
  printf("%ld ", int80(SYS_pwritev, fd, two, 2, low + 8, high, 0));
  printf("%ld %ld\n", int80(SYS_pread64, fd, buf, 4, 0, 0x80000000, 0),
         int80(SYS_pread64, fd, buf, 4, 0, 0x7fffffff, 0));
  /* The position is the file's own: -1 in both halves. */
  CHECK(lseek64(fd, 0x10000000all, SEEK_SET) == 0x10000000all && read(fd, buf, 4) == 4);
  printf("%.4s %ld ", buf, int80(SYS_preadv2, fd, two, 1, -1, -1, 0));
  printf("%.3s\n", buf);
}

static int stream[2];
static void* takes(void* arg) {
  char buf[65536];
  long total = 0, n;
  while (total < (long)arg && (n = read(stream[1], buf, sizeof buf)) > 0) {
    total += n;
    sleep_ms(1);
  }
  return (void*)total;
}
static void sendfile_of_both_widths(void) {
  enum { SIZE = 2 << 20 };
  another_thread();
  int fd = large_file();
  CHECK(ftruncate64(fd, 0x100000000ll + SIZE) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
  int32_t narrow = 100;
  int64_t wide = 0x100000064ll;
  for (int form = 0; form < 3; form++) {
    pthread_t t = start(takes, (void*)(SIZE - 100));
    CHECK(lseek64(fd, 0x100000064ll, SEEK_SET) > 0);
    long n = form == 0   ? int80(SYS_sendfile, stream[0], fd, &narrow, SIZE - 100, 0, 0)
             : form == 1 ? int80(SYS_sendfile64, stream[0], fd, &wide, SIZE - 100, 0, 0)
                         : int80(SYS_sendfile, stream[0], fd, 0, SIZE - 100, 0, 0);
    printf("%ld %d\n", n, finish(t) == (void*)(SIZE - 100));
  }
  printf("%d %d %d\n", (int)narrow, wide == 0x100000000ll + SIZE, lseek64(fd, 0, SEEK_CUR) == 0x100000000ll + SIZE);
}

static void record_locks_of_both_widths(void) {
  another_thread();
  char c;
  int fd = large_file(), done[2], tried[2];
  CHECK(pipe(done) == 0 && pipe(tried) == 0);
  for (int form = 0; form < 2; form++) {
    pid_t pid = fork();
    if (pid == 0) {
      struct flock64 all = {F_WRLCK, SEEK_SET, 0, 0, 0};
      CHECK(fcntl64(fd, F_SETLKW64, &all) == 0 && write(done[1], "x", 1) == 1);
      CHECK(read(tried[0], &c, 1) == 1);
      sleep_ms(60);
      _exit(4);
    }
    CHECK(read(done[0], &c, 1) == 1);
    struct {
      short type, whence;
      int32_t start, len, pid;
    } narrow = {F_WRLCK, SEEK_SET, 0, 0, 0};
    struct flock64 wide = {F_WRLCK, SEEK_SET, 0, 0, 0};
    printf("%ld ", form == 0 ? int80(55, fd, 6, &narrow) : int80(SYS_fcntl64, fd, F_SETLK64, &wide));
    CHECK(write(tried[1], "x", 1) == 1);
    printf("%ld ", form == 0 ? int80(55, fd, 7, &narrow) : int80(SYS_fcntl64, fd, F_SETLKW64, &wide));
    int status = 0;
    printf("%d ", int80(SYS_waitpid, pid, &status, 0) == pid);
    printf("%d\n", WEXITSTATUS(status));
    struct flock64 none = {F_UNLCK, SEEK_SET, 0, 0, 0};
    CHECK(fcntl64(fd, F_SETLK64, &none) == 0);
  }
}

static void messages_at_once(void) {
  another_thread();
  int s[2];
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
  char text[2][4];
  struct iovec iov[2] = {{text[0], 4}, {text[1], 4}};
  struct mmsghdr m[2] = {{{0}, 0}, {{0}, 0}};
  for (int i = 0; i < 2; i++) m[i].msg_hdr.msg_iov = &iov[i], m[i].msg_hdr.msg_iovlen = 1;
  for (int form = 0; form < 2; form++) {
    memcpy(text, "abcdefg", 8);
    printf("%ld ", int80(SYS_sendmmsg, s[0], m, 2, 0, 0, 0));
    memset(text, 0, 8);
    struct __kernel_timespec wide = {1, 0};
    printf("%ld %.4s %.3s ", int80(form == 0 ? SYS_recvmmsg : SYS_recvmmsg_time64, s[1], m, 2, 0, 0, 0), text[0],
           text[1]);
    CHECK(send(s[0], "zz", 2, 0) == 2);
    printf("%ld ", int80(SYS_recvmmsg_time64, s[1], m, 1, 0, &wide, 0));
    printf("%u\n", m[0].msg_len);
  }
}

static const struct test_case cases[] = {
    CASE(select_of_every_form),    CASE(time_is_counted_down),        CASE(epoll_waits),      CASE(offsets_beyond_4_gb),
    CASE(sendfile_of_both_widths), CASE(record_locks_of_both_widths), CASE(messages_at_once),
};
CASE_MAIN(cases)

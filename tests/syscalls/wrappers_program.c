/*
 * Calls the wrappers that do more than pass their arguments on, and some that don't, and prints result
 * and errno of each. Linked with plain libc. test_wrappers.py runs it with and without the wrappers
 * interposed: the output must not differ. So it prints nothing that changes from run to run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SHOW(expression)                                                  \
	do {                                                              \
		errno = 0;                                                \
		long result_ = (long)(expression);                        \
		printf("%s = %ld, errno %d\n", #expression, result_, errno); \
	} while (0)
#define SHOW_OK(expression)                                               \
	do {                                                              \
		errno = 0;                                                \
		long result_ = (long)(expression);                        \
		printf("%s ok %d, errno %d\n", #expression, result_ != -1, errno); \
	} while (0)

static void files(void)
{
	char path[] = "/tmp/cr-wrappers-XXXXXX", buf[8] = "";
	struct stat st;
	int fd = mkstemp(path);

	umask(022);
	SHOW(fchmod(fd, 0600));
	SHOW(write(fd, "abcdef", 6));
	SHOW(pread(fd, buf, 3, 2));
	printf("%s\n", buf);
	SHOW(pwrite64(fd, "Z", 1, 1));
	SHOW(lseek(fd, -2, SEEK_END));
	SHOW(lseek(fd, -20, SEEK_SET));
	struct iovec iov = {buf, 4};
	SHOW(preadv(fd, &iov, 1, 1));
	SHOW(preadv2(fd, &iov, 1, -1, 0));
	SHOW(preadv2(fd, &iov, 1, 0, 0x40000000));
	SHOW(fallocate(fd, 0, 0, -1));
	SHOW(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	SHOW(posix_fadvise(-1, 0, 0, POSIX_FADV_RANDOM));
	SHOW(posix_fadvise(fd, 0, 0, 999));
	SHOW(fstat(fd, &st));
	printf("mode %o size %ld\n", st.st_mode, (long)st.st_size);
	SHOW(fstat(AT_FDCWD, &st));
	SHOW(stat("/nonexistent", &st));
	SHOW(lstat("/dev/fd", &st));
	printf("link %d\n", S_ISLNK(st.st_mode));
	SHOW(fstatat(AT_FDCWD, "/dev/fd", &st, 0));
	SHOW(utimensat(AT_FDCWD, NULL, NULL, 0));
	SHOW(futimens(fd, NULL));
	SHOW(futimens(AT_FDCWD, NULL));
	SHOW(fcntl(fd, F_GETFL) & O_ACCMODE);
	SHOW(fcntl(fd, F_SETFD, FD_CLOEXEC));
	SHOW(fcntl(fd, F_GETFD));
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	SHOW(fcntl(fd, F_SETLKW, &lock));
	SHOW(fcntl(fd, 9999));
	SHOW(tcdrain(fd));
	SHOW(unlink(path));
	SHOW(close(fd));
	SHOW(close(fd));
	SHOW_OK(fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0640));
	SHOW(fstat(fd, &st));
	printf("mode %o\n", st.st_mode);
	SHOW(close(fd));
	SHOW(openat(AT_FDCWD, path, O_CREAT | O_EXCL | O_RDWR, 0640));
	SHOW(unlink(path));
	SHOW_OK(fd = open("/tmp", O_TMPFILE | O_RDWR, 0604));
	SHOW(fstat(fd, &st));
	printf("mode %o\n", st.st_mode);
	SHOW(close(fd));
	SHOW(open64("/nonexistent", O_RDONLY));
	SHOW(mq_close(-1));
}

static void sockets(void)
{
	int sv[2];
	char buf[8] = "";

	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	SHOW(fcntl(sv[0], F_SETOWN, getpid()));
	SHOW(fcntl(sv[0], F_GETOWN) == getpid());
	SHOW(fcntl(sv[0], F_SETOWN, -getpgrp()));
	SHOW(fcntl(sv[0], F_GETOWN) == -getpgrp());
	SHOW(send(sv[0], "ping", 4, 0));
	SHOW(recv(sv[1], buf, sizeof(buf), MSG_PEEK));
	SHOW(recv(sv[1], buf, sizeof(buf), 0));
	printf("%s\n", buf);
	SHOW(recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT));

	struct timeval tv = {0, 1500};
	fd_set set;
	FD_ZERO(&set);
	FD_SET(sv[0], &set);
	SHOW(select(sv[0] + 1, NULL, &set, NULL, NULL));
	FD_ZERO(&set);
	FD_SET(sv[0], &set);
	SHOW(select(sv[0] + 1, &set, NULL, NULL, &tv));
	printf("left %ld.%ld\n", (long)tv.tv_sec, (long)tv.tv_usec);
	tv = (struct timeval){0, -1};
	SHOW(select(0, NULL, NULL, NULL, &tv));
	struct timespec ts = {0, 1000};
	sigset_t mask;
	sigemptyset(&mask);
	SHOW(pselect(0, NULL, NULL, NULL, &ts, &mask));
	struct pollfd pfd = {sv[0], POLLOUT, 0};
	SHOW(ppoll(&pfd, 1, &ts, &mask));
	SHOW(poll(&pfd, 1, 0));
	SHOW(ppoll(NULL, 0, &ts, &mask));
	printf("timeout still %ld\n", ts.tv_nsec);
	struct epoll_event event;
	SHOW(epoll_pwait(-1, &event, 1, 0, &mask));
	int efd;
	SHOW_OK(efd = eventfd(3, EFD_NONBLOCK));
	uint64_t count;
	SHOW(read(efd, &count, sizeof(count)));
	SHOW(read(efd, &count, sizeof(count)));
	close(efd);
	close(sv[0]);
	close(sv[1]);
}

static void memory_and_limits(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *place = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SHOW(mremap(page, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
	SHOW(mremap(place, 8192, 4096, 0) == place);
	SHOW(mremap(place, 4096, 4096, 64) == MAP_FAILED);
	SHOW(mmap(NULL, 0, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, -1, 7));
	SHOW(munmap(place, 4096));
	struct rlimit limit, again;
	SHOW(getrlimit(RLIMIT_NOFILE, &limit));
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
	SHOW(prlimit(0, RLIMIT_NOFILE, NULL, &again));
	SHOW(memcmp(&limit, &again, sizeof(limit)));
	SHOW(getrlimit(999, &limit));
	SHOW(setpriority(PRIO_PROCESS, 0, 0));
	SHOW(prctl(PR_SET_NAME, "renamed"));
	char name[16];
	SHOW(prctl(PR_GET_NAME, name));
	printf("%s\n", name);
	SHOW(prctl(-1));
	cpu_set_t cpus;
	memset(&cpus, 0xff, sizeof(cpus));
	SHOW(sched_getaffinity(0, sizeof(cpus), &cpus));
	SHOW(CPU_COUNT(&cpus));
	SHOW(sched_getaffinity(0, 1, &cpus));
	SHOW(sched_setaffinity(0, sizeof(cpus), &cpus));
	SHOW(syscall(SYS_getpid) == getpid());
	SHOW(syscall(100000));
	SHOW_OK(getrandom(name, 4, 0));
#ifdef __x86_64__ /* i386's converts what it points to */
	SHOW(adjtimex(NULL));
#endif
	struct timex time_state = {.modes = 0};
	SHOW_OK(adjtimex(&time_state));
}

static void times_and_signals(void)
{
	struct timespec ts = {0, 1000}, bad = {0, -1};
	SHOW(nanosleep(&ts, NULL));
	SHOW(nanosleep(&bad, NULL));
	SHOW(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL));
	SHOW(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL));
	SHOW(clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &ts, NULL));
	SHOW(clock_nanosleep(12345, 0, &ts, NULL));

	sigset_t set, pending;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	SHOW(sigtimedwait(&set, &info, &ts));
	SHOW(tgkill(getpid(), gettid(), SIGUSR1));
	SHOW(sigpending(&pending));
	SHOW(sigismember(&pending, SIGUSR1));
	SHOW(sigwaitinfo(&set, &info));
	printf("si_code %d\n", info.si_code);
	SHOW(kill(getpid(), 0));
	SHOW(alarm(0));

	pid_t child = fork();
	if (child == 0)
		_exit(7);
	int status;
	SHOW(waitpid(child, &status, 0) == child);
	SHOW(WEXITSTATUS(status));
	SHOW(wait(&status));
	SHOW(waitid(P_ALL, 0, &info, WEXITED));
}

static int cleanups;

static void count_cleanup(void *unused)
{
	cleanups++;
}

static void *read_forever(void *fd)
{
	char c;
	pthread_cleanup_push(count_cleanup, NULL);
	(void)!read(*(int *)fd, &c, 1);
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancellation(void)
{
	int fds[2];
	pthread_t thread;
	void *result;

	SHOW(pipe(fds));
	pthread_create(&thread, NULL, read_forever, fds);
	usleep(20000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("cancelled %d, cleanups %d\n", result == PTHREAD_CANCELED, cleanups);
}

int main(void)
{
	files();
	sockets();
	memory_and_limits();
	times_and_signals();
	cancellation();
	fflush(stdout);
	_exit(3);
}

/* Linked with the wrappers before libc.a: no duplicate symbols, and ours are the ones that are called. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern long cr_calls;

#define EXPECT_OURS(expression)                                           \
	do {                                                              \
		long before = cr_calls;                                   \
		if ((expression) < 0 || cr_calls != before + 1) {         \
			printf("not ours: %s\n", #expression);            \
			failures++;                                       \
		}                                                         \
	} while (0)

int main(void)
{
	int failures = 0, fd = -1;
	char buf[4];
#ifdef __x86_64__ /* i386's is made of a statx */
	struct stat st;
#endif

	EXPECT_OURS(fd = open("/dev/zero", O_RDONLY));
	EXPECT_OURS(read(fd, buf, sizeof(buf)));
#ifdef __x86_64__
	EXPECT_OURS(fstat(fd, &st));
#endif
	EXPECT_OURS(fcntl(fd, F_GETFD));
	EXPECT_OURS(syscall(SYS_getpid));
	EXPECT_OURS(close(fd));
	return failures != 0;
}

/* Linked with the wrappers before libc.a: no duplicate symbols, and ours are the ones that are called. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
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
	struct stat st;

	EXPECT_OURS(fd = open("/dev/zero", O_RDONLY));
	EXPECT_OURS(read(fd, buf, sizeof(buf)));
	EXPECT_OURS(fstat(fd, &st));
	EXPECT_OURS(fcntl(fd, F_GETFD));
	EXPECT_OURS(syscall(39));
	EXPECT_OURS(close(fd));
	return failures != 0;
}

/* libcr/sysunion.h is C++ too, next to the libc headers whose names it must not collide with. */
#include <libcr/sysunion.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static_assert(CR_SYS_futex == 202);

uint64_t first_slot(const union sysunion &m)
{
	struct stat st;
	(void)st;
	return m.futex_.uaddr_slot + m.stat_.path_slot;
}

/* libcr/sysunion.h is C, alone, and holds read() of the 2003 mail. Compiling is the test. */
#include <libcr/sysunion.h>

static_assert(CR_SYS_read == 0 && CR_SYS_max >= 469, "numbers of x86_64");
static_assert(offsetof(struct read_msg, buf) == offsetof(struct sysmsg_raw, arg[1]), "slots in register order");

void fill_read(union sysunion *m, int fd, void *buf, size_t count);

void fill_read(union sysunion *m, int fd, void *buf, size_t count)
{
	m->sm.sm_nr = CR_SYS_read;
	m->read_.fd = fd;
	m->read_.buf = buf;
	m->read_.count = count;
}

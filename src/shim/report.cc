#include "report.h"

#include <libcr/shim.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/export.h"

namespace cr {

namespace {

inline constexpr long kDupfdCloexec = 1030;  // F_DUPFD_CLOEXEC
inline constexpr long kGetfd = 1;            // F_GETFD
inline constexpr long kLowest = 1000;        // out of the program's sight
inline constexpr long kLowestOfFew = 100;    // under a small RLIMIT_NOFILE

int fd = 2;

}  // namespace

void report_open() {
  long r = raw3(SYS_fcntl, 2, kDupfdCloexec, kLowest);
  if (raw_failed(r)) r = raw3(SYS_fcntl, 2, kDupfdCloexec, kLowestOfFew);
  if (!raw_failed(r)) fd = static_cast<int>(r);
}

int report_fd() {
  // A program that closed every descriptor closed this one too.
  return raw_failed(raw2(SYS_fcntl, fd, kGetfd)) ? 2 : fd;
}

}  // namespace cr

extern "C" CR_API int cr_shim_report_fd(void) { return cr::report_fd(); }

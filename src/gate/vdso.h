// The clocks that libc reads through the vdso.
//
// The vdso traps by itself for the clocks that it can't read without the kernel, and its text is no
// file's and may be sealed. Of those only the processor times of threads are other ones under libcr.
// So the words by which glibc calls the vdso (in ld.so, read-only after relocation) point here, and
// everything but those clocks goes on to the vdso: two instructions more.
#pragma once

namespace cr {

void vdso_redirect();

}  // namespace cr

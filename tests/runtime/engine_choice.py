#!/usr/bin/env python3
"""Which engine a program gets, where io_uring is allowed and where a seccomp filter forbids it.

engine_choice.py PROGRAM: runtime_files. The preload is $CR_TEST_PRELOAD.
"""
import ctypes
import errno
import os
import re
import struct
import subprocess
import sys
import unittest

PROGRAM = sys.argv[1]
SYS_IO_URING_SETUP = 425
with open(PROGRAM, "rb") as program:  # of which class it is
    SYS_EPOLL_CREATE1 = {1: 329, 2: 291}[program.read(5)[4]]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def io_uring_works():
    fd = LIBC.syscall(SYS_IO_URING_SETUP, 4, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def forbid(numbers, error):
    """In a child to be: the calls fail with `error`, as a container's filter has it."""
    program = [(0x20, 0, 0, 0)]  # load the number
    for i, number in enumerate(numbers):
        program.append((0x15, len(numbers) - i, 0, number))
    program += [(0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x00050000 | error)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError("no_new_privs")
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header)) != 0:
        raise OSError("seccomp")


class EngineChoice(unittest.TestCase):
    def engine_of(self, engine=None, forbidden=(), error=errno.EPERM):
        env = {k: v for k, v in os.environ.items() if not k.startswith("LIBCR_") or k == "LIBCR_CACHE"}
        env.update(LD_PRELOAD=os.environ["CR_TEST_PRELOAD"], LIBCR_STATS="1", LIBCR_CPUS="2")
        if engine is not None:
            env["LIBCR_ENGINE"] = engine
        filtered = (lambda: forbid(forbidden, error)) if forbidden else None
        result = subprocess.run([PROGRAM, "threads_read_what_is_not_cached"], env=env, text=True,
                                capture_output=True, timeout=120, check=False, preexec_fn=filtered)
        self.assertEqual((result.returncode, result.stdout), (0, "ok\n"), result.stderr)
        return re.search(r"libcr: +(\w+)  engine for calls that wait", result.stderr).group(1)

    @unittest.skipUnless(io_uring_works(), "io_uring is not allowed here")
    def test_auto_takes_io_uring_where_it_is_allowed(self):
        for wish in (None, "", "auto", "uring"):
            self.assertEqual(self.engine_of(wish), "uring")

    def test_a_forbidden_io_uring_makes_it_epoll(self):
        for error in (errno.EPERM, errno.ENOSYS):
            self.assertEqual(self.engine_of(None, [SYS_IO_URING_SETUP], error), "epoll")
        self.assertEqual(self.engine_of("uring", [SYS_IO_URING_SETUP]), "epoll")

    def test_nothing_allowed_makes_it_none(self):
        both = [SYS_IO_URING_SETUP, SYS_EPOLL_CREATE1]
        self.assertEqual(self.engine_of("auto", both), "none")
        self.assertEqual(self.engine_of("epoll", both), "none")

    def test_what_is_asked_for_is_taken(self):
        self.assertEqual(self.engine_of("epoll"), "epoll")
        self.assertEqual(self.engine_of("none"), "none")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

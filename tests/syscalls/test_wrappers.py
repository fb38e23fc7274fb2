"""The generated wrappers against the installed libc.

  test_wrappers.py ARCH WRAPPERS_SO PROGRAM...

WRAPPERS_SO is wrappers.c over a bare trap, linked with wrappers.map. Each PROGRAM prints results and errnos;
the i386 ones differ in the widths of offsets and times.
"""

import os
import re
import subprocess
import sys
import unittest

ARCH, SO, *PROGRAMS = sys.argv[1:]
del sys.argv[1:]

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.environ["CR_MAKESYSCALLS"]))
import makesyscalls  # noqa: E402


def libc_path():
    trace = subprocess.run([PROGRAMS[0]], env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True)
    return re.search(r"/\S+/libc\.so\.6", trace.stdout)[0]


def functions(path):
    """Default versions of the functions that an ELF file exports: name -> version."""
    out = subprocess.run(["readelf", "-W", "--dyn-syms", path], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r" (?:I?FUNC)\s+(?:GLOBAL|WEAK)\s+DEFAULT\s+\d+ (\w+)@@(\S+)", out))


class Exports(unittest.TestCase):
    def setUp(self):
        self.ours, self.libc = functions(SO), functions(libc_path())
        self.master = makesyscalls.Master(os.environ["CR_MASTER"])

    def test_every_wrapper_has_the_version_that_libc_gives_it(self):
        self.assertGreater(len(self.ours), 300)
        wrong = {n: (v, self.libc.get(n)) for n, v in self.ours.items() if self.libc.get(n) != v}
        self.assertEqual(wrong, {})

    def test_the_library_exports_exactly_what_the_table_lists(self):
        listed = {name for _, _, exports in self.master.wrappers(ARCH) for name, _ in exports}
        self.assertEqual(listed, set(self.ours))

    def test_every_libc_function_named_as_a_call_is_wrapped_or_says_why_not(self):
        calls = {r.name for r in self.master.rows if r.nr[ARCH] is not None}
        silent = (calls & set(self.libc)) - set(self.ours) - set(self.master.nowrap[ARCH])
        self.assertEqual(silent, set())


class Behaviour(unittest.TestCase):
    def run_program(self, program, **env):
        return subprocess.run([program], env={**os.environ, **env}, capture_output=True, text=True, timeout=60)

    def test_results_errnos_and_cancellation_are_libcs(self):
        for program in PROGRAMS:
            plain, ours = self.run_program(program), self.run_program(program, LD_PRELOAD=SO)
            self.assertEqual(plain.returncode, 3, plain.stderr)
            self.assertEqual(ours.returncode, 3, ours.stderr)
            self.assertEqual(ours.stdout.splitlines(), plain.stdout.splitlines())
            self.assertGreater(len(plain.stdout.splitlines()), 90)

    def test_an_unmodified_program_binds_to_the_wrappers(self):
        narrow = "read", "open", "select", "clock_nanosleep", "_exit"
        wide = "read", "open64", "lseek64", "__select64", "__clock_nanosleep_time64", "_exit"
        for program, symbols in zip(PROGRAMS, (narrow, wide)):
            bindings = self.run_program(program, LD_PRELOAD=SO, LD_DEBUG="bindings").stderr
            for symbol in symbols:
                self.assertRegex(
                    bindings, rf"{re.escape(program)} \[0\] to {re.escape(SO)} \[0\]: normal symbol `{symbol}'")


if __name__ == "__main__":
    unittest.main()

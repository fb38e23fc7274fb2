#!/usr/bin/env python3
"""cr run --small-tls: what it gains, that it says no more than it must, and what it costs.

small_tls.py CR PROGRAM LIBRARY_OF_64 LIBRARY_OF_1024
"""
import os
import subprocess
import sys
import unittest

CR, PROGRAM, SMALL, LARGE = sys.argv[1:5]
with open(PROGRAM, "rb") as program:
    WIDE = program.read(5)[4] == 2  # 64 bits


def output(*command, tunables=None):
    env = {key: value for key, value in os.environ.items()
           if key not in ("LD_PRELOAD", "LIBCR_CPUS", "GLIBC_TUNABLES")}
    if tunables is not None:
        env["GLIBC_TUNABLES"] = tunables
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"{command}: status {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


class SmallTls(unittest.TestCase):
    def test_a_waiting_thread_takes_one_page(self):
        lines = output(CR, "run", "--small-tls", "--", PROGRAM, "pages").splitlines()
        self.assertEqual(lines, ["cond 1", "timed cond 1", "sem 1", "sleep 1"])

    def test_a_waiting_thread_takes_two_pages_without_it(self):
        lines = output(CR, "run", "--", PROGRAM, "pages").splitlines()
        if WIDE:
            self.assertEqual(lines, ["cond 2", "timed cond 2", "sem 2", "sleep 2"])
        else:  # what a 32-bit thread has on its stack ends about where its thread block's page does
            self.assertRegex(" ".join(lines), r"^cond [12] timed cond [12] sem [12] sleep [12]$")

    def test_it_holds_beside_tunables_of_the_users_own(self):
        lines = output(CR, "run", "--small-tls", "--", PROGRAM, "pages",
                       tunables="glibc.malloc.arena_max=1:glibc.rtld.nns=9").splitlines()
        self.assertEqual(lines[0], "cond 1")

    def test_a_library_with_little_fixed_data_is_loaded(self):
        self.assertEqual(output(CR, "run", "--small-tls", "--", PROGRAM, SMALL), "loaded\n")

    def test_a_library_with_much_fixed_data_is_not(self):
        self.assertIn("static TLS", output(CR, "run", "--small-tls", "--", PROGRAM, LARGE))

    def test_libraries_are_loaded_as_natively_without_it(self):
        for library in SMALL, LARGE:
            self.assertEqual(output(PROGRAM, library), "loaded\n")
            self.assertEqual(output(CR, "run", "--", PROGRAM, library), "loaded\n")


unittest.main(argv=sys.argv[:1], verbosity=2)

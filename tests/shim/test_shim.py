"""Shims in unmodified programs: by `cr run --shim` and by LIBCR_SHIM, alone and stacked."""

import os
import re
import subprocess
import sys
import unittest

CR = os.environ["CR_TEST_COMMAND"]
PRELOAD = os.environ["CR_TEST_PRELOAD"]
SHIMS = os.environ["CR_TEST_SHIMS"]
PROGRAM = os.path.join(SHIMS, "shim_program")
CPUS = ["1", "2"]


def shim(name):
    return os.path.join(SHIMS, f"shim_{name}.so")


def run(argv, **environment):
    env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "LIBCR_SHIM")}
    env.update(environment)
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30)


def run_shims(names, *arguments, cpus="1"):
    """Both ways; they must say the same."""
    options = [word for name in names for word in ("--shim", shim(name))]
    by_cr = run([CR, "run", "--cpus", cpus, *options, "--", PROGRAM, *arguments])
    by_env = run([PROGRAM, *arguments], LD_PRELOAD=PRELOAD, LIBCR_CPUS=cpus,
                 LIBCR_SHIM=":".join(shim(name) for name in names))
    assert (by_cr.returncode, by_cr.stdout) == (by_env.returncode, by_env.stdout), (by_cr, by_env)
    assert by_cr.stderr == "", by_cr
    return by_cr.stdout


def count(what, cpus):
    done = run([CR, "run", "--cpus", cpus, "--shim", "count", "--", PROGRAM, what])
    lists, calls = [], {}
    for line in done.stderr.splitlines():
        found = re.fullmatch(r" *(\d+)  (\w+)", line)
        assert found, done.stderr
        calls[found[2]] = int(found[1])
        if found[2] == "total":
            lists.append(calls)
            calls = {}
    assert not calls, done.stderr
    return done.returncode, lists


class Shims(unittest.TestCase):
    def test_answer(self):
        self.assertEqual(run_shims(["answer"], "parent"), "1000 1000\n64\n")
        self.assertEqual(run_shims(["answer"], "chdir"), "EXDEV\n")

    def test_change(self):
        parent = os.getpid()
        self.assertEqual(run_shims(["add"], "parent"), f"{parent + 1} {parent + 1}\n10\n")
        self.assertEqual(run_shims(["add"], "chdir"), "changed\n")

    def test_first_is_nearest_the_program(self):
        self.assertEqual(run_shims(["add", "double", "answer"], "parent"), "2001 2001\n10\n")
        self.assertEqual(run_shims(["double", "add", "answer"], "parent"), "2002 2002\n10\n")
        self.assertEqual(run_shims(["double", "answer", "add"], "parent"), "2000 2000\n10\n")

    def test_own_calls_pass_no_shim(self):
        for names in (["own_calls"], ["own_calls", "answer", "add"], ["add", "own_calls", "answer"]):
            self.assertEqual(run_shims(names, "chdir"), "EDOM\n", names)
        self.assertEqual(run_shims(["answer", "own_calls"], "chdir"), "EXDEV\n")

    def test_answer_later(self):
        for cpus in CPUS:
            for names in (["delay"], ["add", "delay"]):
                self.assertEqual(run_shims(names, "delay", cpus=cpus),
                                 "77 -1 1 others ran\n308 77 1 1\n")

    def test_threads_of_a_shim_are_there_before_the_gate_opens(self):
        for cpus in CPUS:
            self.assertEqual(run_shims(["delay"], "tids", cpus=cpus), "0\n")

    def test_one_that_refuses(self):
        done = run([CR, "run", "--shim", shim("refuses"), "--", PROGRAM, "parent"])
        self.assertEqual((done.returncode, done.stdout), (126, ""))
        self.assertIn("it refused to start: No such device", done.stderr)
        done = run([PROGRAM, "parent"], LD_PRELOAD=PRELOAD, LIBCR_SHIM="/no/such/shim.so")
        self.assertEqual(done.returncode, 126)
        self.assertIn("/no/such/shim.so", done.stderr)


class Count(unittest.TestCase):
    def test_every_way_to_end(self):
        for cpus in CPUS:
            for what, status, parents in (("return", 7, 3), ("_exit", 7, 3), ("exit_in_thread", 7, 3),
                                          ("pthread_exit", 0, 4)):
                with self.subTest(what=what, cpus=cpus):
                    code, lists = count(what, cpus)
                    self.assertEqual(code, status)
                    self.assertEqual(len(lists), 1)
                    self.assertEqual(lists[0]["getppid"], parents)
                    self.assertEqual(lists[0]["total"],
                                     sum(v for k, v in lists[0].items() if k != "total"))

    def test_fork_starts_from_zero(self):
        for cpus in CPUS:
            code, lists = count("fork", cpus)
            self.assertEqual(code, 7)
            self.assertEqual([calls["getppid"] for calls in lists], [2, 3])

    def test_unmodified_program(self):
        done = run([CR, "run", "--shim", "count", "--", "sh", "-c", "echo hello; :"])
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n"))
        self.assertRegex(done.stderr, r"(?m)^ +\d+  write$")

    def test_program_that_closes_its_standard_error_is_reported_too(self):
        done = run([CR, "run", "--shim", "count", "--", "echo", "hello"])  # coreutils do at exit
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n"))
        self.assertRegex(done.stderr, r"(?m)^ +\d+  exit_group$")
        done = run([CR, "run", "--stats", "--", "true"])
        self.assertIn("sites rewritten", done.stderr)


class Stats(unittest.TestCase):
    def test_counters(self):
        done = run([CR, "run", "--cpus", "2", "--stats", "--", PROGRAM, "many"])
        self.assertEqual(done.returncode, 7)
        found = dict(reversed(m.groups()) for m in re.finditer(r"(?m)^libcr: +(\d+)  (.*)$", done.stderr))
        self.assertEqual(found["cpus"], "2")
        self.assertEqual(found["LWKTs made"], "20")
        self.assertGreaterEqual(int(found["switches"]), 20)
        self.assertGreater(int(found["sites rewritten"]), int(os.environ["CR_TEST_SITES"]))
        self.assertIn("LWKTs stolen by an idle cpu", found)
        self.assertIn("cpus handed off while their holder sat in a trap", found)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))

#!/usr/bin/env python3
"""tools/ltp on a made-up installation of the Linux Test Project: what it selects, and how it judges."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools"
# A `cr` that runs its program with a word more in the environment.
FAKE_CR = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
UNDER_CR=1 exec "$@"
"""
LIST = """# a comment
same true
other test -z "$UNDER_CR" || { echo told; exit 1; }
never exit 3
skips exit 32
killed test -z "$UNDER_CR" || kill -SEGV $$
hangs test -z "$UNDER_CR" || { set -m; sleep 71.25 & sleep 60; }
helper helper one
clock_settime01 true
"""


class Ltp(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="cr-ltp-")
        self.addCleanup(holder.cleanup)
        self.prefix = pathlib.Path(holder.name)
        for directory in ("testcases/bin", "runtest"):
            (self.prefix / directory).mkdir(parents=True)
        (self.prefix / "runtest/syscalls").write_text(LIST)
        for path, text in (("testcases/bin/helper", '#!/bin/sh\ntest "$1$LTPROOT" = "one$PWD" && exit 9\nexit 0\n'), ("cr", FAKE_CR)):
            (self.prefix / path).write_text(text)
            (self.prefix / path).chmod(0o755)

    def ltp(self, *arguments):
        return subprocess.run([TOOLS / "ltp", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL, timeout=100, env={**os.environ, "LTP_CR": str(self.prefix / "cr")})

    def judged(self, *names):
        out = self.prefix / "out.json"
        words = [word for name in names for word in ("--only", name)]
        result = self.ltp(self.prefix, *words, "--timeout", "5", "--again", "1", "--out", out)
        self.assertEqual(result.stderr.count("Traceback"), 0, result.stderr)
        return result, json.loads(out.read_text())

    def test_the_machine_is_left_alone_unless_asked_for(self):
        names = ["same", "other", "never", "skips", "killed", "hangs", "helper"]
        self.assertEqual(self.ltp(self.prefix, "--list").stdout.split(), names)
        self.assertEqual(self.ltp(self.prefix, "--list", "--any").stdout.split(), [*names, "clock_settime01"])

    def test_what_is_the_same_is_no_failure(self):
        result, out = self.judged("same", "never", "skips", "helper")
        self.assertEqual((result.returncode, out["differences"]), (0, []), result.stdout)
        verdicts = {name: test["native"]["verdict"] for name, test in out["tests"].items()}
        self.assertEqual(verdicts, {"same": "pass", "never": "FAIL broken", "skips": "unsupported", "helper": "pass"})

    def test_what_only_libcr_does_is_one(self):
        result, out = self.judged("same", "other", "killed", "hangs")
        self.assertEqual(result.returncode, 1)
        found = {d["test"]: (d["is"], set(d["native"]), set(d["libcr"])) for d in out["differences"]}
        self.assertEqual(found, {"other": ("FAILURE", {"pass"}, {"FAIL"}), "killed": ("FAILURE", {"pass"}, {"SIGSEGV"}),
                                 "hangs": ("FAILURE", {"pass"}, {"HUNG"})})
        self.assertIn("told", result.stdout)
        left = subprocess.run(["pgrep", "-f", "sleep 71.25"], stdout=subprocess.PIPE, text=True).stdout
        self.assertEqual(left, "", "a group of the hanging test's own")

    def test_bad_arguments_are_refused_before_anything_runs(self):
        for arguments, word in (([self.prefix / "runtest"], "testcases/bin"), ([self.prefix, "--runtest", "no-such"], "no-such"),
                                ([self.prefix, "--cpus", "x"], "--cpus"), ([self.prefix, "--engine", "steam"], "steam"),
                                ([self.prefix, "--part", "3/2"], "--part"), ([self.prefix, "--only", "no-such"], "no test")):
            result = self.ltp(*arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            self.assertIn(word, result.stderr)


if __name__ == "__main__":
    unittest.main()

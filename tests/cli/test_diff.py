"""cr diff compares a native run with one under the (made-up) preload."""
import cli

QUIET = {"FAKE_PRELOAD_QUIET": "1"}


class Diff(cli.Case):
    def diff(self, *arguments, env=None, **keywords):
        return self.run_cr("diff", *arguments, env={**QUIET, **(env or {})}, **keywords)

    def test_same(self):
        result = self.diff("--", "/bin/echo", "hello")
        self.assertEqual((result.returncode, result.stdout, result.stderr),
                         (0, "same: 1 run, native and libcr\n", ""))

    def test_more_runs(self):
        self.assertEqual(self.diff("--runs", "3", "echo", "-n").stdout, "same: 3 runs, native and libcr\n")

    def test_same_failure_is_same(self):
        self.assertEqual(self.diff("--", "sh", "-c", "echo no >&2; exit 3").returncode, 0)
        self.assertEqual(self.diff("--", "sh", "-c", "kill -SEGV $$").returncode, 0)

    def test_standard_output_differs(self):
        result = self.diff("echo", "hello", env={"FAKE_PRELOAD_LINE": "extra"})
        self.assertEqual(result.returncode, 1)
        self.assertIn("--- stdout native\n+++ stdout libcr\n", result.stdout)
        self.assertIn("\n+extra\n hello\n", result.stdout)
        self.assertNotIn("end:", result.stdout)

    def test_standard_error_differs(self):
        result = self.run_cr("diff", "echo", "hello")
        self.assertEqual(result.returncode, 1)
        self.assertIn("+++ stderr libcr\n", result.stdout)
        self.assertIn("\n+fake libcr loaded\n", result.stdout)

    def test_exit_status_differs(self):
        result = self.diff("true", env={"FAKE_PRELOAD_EXIT": "9"})
        self.assertEqual(result.returncode, 1)
        self.assertIn("end: native exit status 0, libcr exit status 9\n", result.stdout)

    def test_signal_differs(self):
        result = self.diff("true", env={"FAKE_PRELOAD_ABORT": "1"})
        self.assertEqual(result.returncode, 1)
        self.assertIn("end: native exit status 0, libcr signal 6 (Aborted)\n", result.stdout)

    def test_difference_on_a_later_run(self):
        self.file("counter", "#!/bin/sh\nn=$(wc -l < log)\necho x >> log\n"
                  "[ -n \"$LD_PRELOAD\" ] && [ $n -gt 2 ] && exit 1\nexit 0\n")
        self.file("log", "")
        result = self.diff("--runs", "5", "./counter")
        self.assertEqual(result.returncode, 1)
        self.assertIn("run 2 of 5 differs\n", result.stdout)
        self.assertNotIn("note:", result.stdout)

    def test_program_that_differs_from_itself(self):
        result = self.diff("--", "sh", "-c", "echo $$")
        self.assertEqual(result.returncode, 1)
        self.assertIn("note: two native runs differ from each other too\n", result.stdout)

    def test_both_runs_read_standard_input_from_its_start(self):
        path = self.file("input", "one\ntwo\n")
        with open(path, encoding="ascii") as file:
            self.assertEqual(self.diff("--", "sh", "-c", "read x; [ $x = one ]; echo $?", stdin=file).returncode, 0)
        result = self.diff("--stdin", path, "cat", env={"FAKE_PRELOAD_LINE": "extra"})
        self.assertIn("+extra\n one\n two\n", result.stdout)

    def test_a_pipe_is_not_consumed(self):
        self.assertEqual(self.diff("cat", input="data").returncode, 0)

    def test_native_run_has_neither_preload_nor_variables(self):
        self.file("look", "#!/bin/sh\necho \"$LD_PRELOAD$LIBCR_CPUS\" | tr ':' '\\n' | grep -c . >&2\ntrue\n")
        result = self.diff("--cpus", "2", "./look",
                           env={"LD_PRELOAD": str(self.preload), "LIBCR_CPUS": "5"})
        self.assertIn("-0\n", result.stdout)

    def test_timeouts(self):
        result = self.diff("--timeout", "1", "sleep", "30")
        self.assertEqual(result.returncode, 124)
        self.assertIn("native run timed out after 1 s; raise --timeout", result.stderr)
        self.file("hang", "#!/bin/sh\n[ -z \"$LD_PRELOAD\" ] || exec sleep 30\n")
        result = self.diff("--timeout", "1", "./hang")
        self.assertEqual(result.returncode, 1)
        self.assertIn("end: native exit status 0, libcr timed out\n", result.stdout)

    def test_program_that_can_not_be_run(self):
        self.assert_refused(self.diff("no-such-program"), 127, "no-such-program", "no such program")
        self.assert_refused(self.diff("/usr"), 126, "/usr", "is a directory")
        self.assert_refused(self.diff(), 2, "diff", "no program given")

    def test_preload_missing(self):
        self.preload.unlink()
        self.assert_refused(self.diff("true"), 125, self.preload, "build it")

    def test_bad_options(self):
        for option in ("--runs", "--timeout", "--cpus"):
            result = self.diff(option, "0", "true")
            self.assertEqual(result.returncode, 2, option)
            self.assertIn(option, result.stderr)


if __name__ == "__main__":
    cli.main()

#!/usr/bin/env python3
"""What libcr says of programs whose threads all wait on locks, and that it says nothing of others.

deadlock.py CR PROGRAM   (the preload is $CR_TEST_PRELOAD)
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from compare import environment

CR, PROGRAM = sys.argv[1:3]
PRELOAD = os.environ["CR_TEST_PRELOAD"]
SAID = "libcr: deadlock: "
SILENCE = 2.5  # the runtime waits a second before it says anything


class Started:
    """A case of the program under libcr, in a session of its own, that has said that it waits."""

    def __init__(self, case, cpus=2, **variables):
        env = environment(PRELOAD, cpus)
        env.setdefault("LIBCR_ANALYSER", CR)
        env.update(variables)
        self.err = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([PROGRAM, case], env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.err, text=True,
                                        start_new_session=True)
        line = self.process.stdout.readline()
        assert line == "waiting\n", (case, line, self.text())

    def text(self):
        # Of a copy of the descriptor: the program writes where the file's position is.
        return os.pread(self.err.fileno(), 1 << 20, 0).decode()

    def report(self, threads, timeout=30):
        """The text once all threads are in it and no more comes."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.text().count("libcr:   thread ") >= threads:
                break
            time.sleep(0.05)
        time.sleep(0.2)
        return self.text()

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()
        self.err.close()


class Deadlock(unittest.TestCase):
    def start(self, case, **options):
        started = Started(case, **options)
        self.addCleanup(started.end)
        return started

    def check_goes_on_waiting(self, started):
        time.sleep(SILENCE)
        self.assertIsNone(started.process.poll())
        self.assertEqual(started.text().count(SAID), 1, started.text())

    def test_two_locks(self):
        for started in [self.start("two_locks", cpus=cpus) for cpus in (1, 2, 8)]:
            text = started.report(2)
            pid = started.process.pid
            self.assertIn(f"{SAID}all threads wait on locks of process {pid} (", text)
            self.assertIn("going on waiting", text)
            self.assertRegex(text, rf'thread {pid} "runtime_deadloc" waits on the mutex at 0x[0-9a-f]+, held by thread \d+')
            self.assertRegex(text, rf'thread \d+ "taker" waits on the mutex at 0x[0-9a-f]+, held by thread {pid}')
            # Through the gate into the program.
            for frame in ("wants_b", "takes_b_then_a", r"pthread_mutex_lock", "main", r"\(libc.so.6\)"):
                self.assertRegex(text, frame)
            self.assertNotIn("(libcr.so)", text)
        self.check_goes_on_waiting(started)

    def test_join(self):
        started = self.start("joins_a_waiter")
        text = started.report(2)
        taker = re.search(r'thread (\d+) "taker"', text)
        self.assertIsNotNone(taker, text)
        self.assertIn(f"waits for the end of thread {taker[1]}", text)

    def test_a_crowd_at_one_place(self):
        text = self.start("crowd").report(21)
        self.assertEqual(text.count("at the same place"), 19, text)
        self.assertIn("pthread_cond_wait", text)

    def test_last_thread(self):
        text = self.start("last_one_waits").report(1)
        self.assertIn(f"{SAID}the only thread waits on a lock of process", text)
        self.assertIn("last_one_waits", text)

    def test_a_program_without_threads(self):
        started = self.start("alone")
        text = started.report(1)
        self.assertIn("held by itself", text)
        self.assertIn("locks_twice", text)
        self.check_goes_on_waiting(started)

    def test_main_thread_has_left(self):
        text = self.start("main_has_left").report(1)
        self.assertIn('"taker" waits on', text)

    def test_abort(self):
        for started in [self.start(case, LIBCR_ON_DEADLOCK="abort") for case in ("two_locks", "alone")]:
            self.assertEqual(started.process.wait(30), -signal.SIGABRT)
            self.assertIn("aborted", started.text())

    def test_ignore(self):
        both = [self.start(case, LIBCR_ON_DEADLOCK="ignore") for case in ("two_locks", "alone")]
        time.sleep(SILENCE)
        for started in both:
            self.assertEqual(started.text(), "")

    def test_without_the_helper(self):
        for case, threads in (("two_locks", 2), ("alone", 1)):
            with tempfile.TemporaryDirectory() as scratch:
                other = pathlib.Path(scratch) / "cr"
                other.write_text("#!/bin/sh\nexit 1\n")
                other.chmod(0o755)
                text = self.start(case, LIBCR_ANALYSER=str(other)).report(threads)
                self.assertIn("no backtraces", text)
                self.assertEqual(len(re.findall(r"thread \d+.* waits on the word at 0x", text)), threads, text)

    def test_what_can_still_go_on_is_none(self):
        """All at once: each is silent for some seconds and then ends by itself or by a signal."""
        cases = {"waits_for_a_handler": signal.SIGUSR1, "alone_waits_for_a_handler": signal.SIGUSR1,
                 "waits_in_sigwait": signal.SIGUSR1, "waits_for_another_process": None,
                 "waits_for_a_sleeper": None, "waits_for_a_timeout": None,
                 "waits_on_a_shared_lock": None, "alarm_will_end_it": None,
                 "waits_for_one_that_computes": None}
        started = {case: self.start(case, cpus=1 + i % 2) for i, case in enumerate(cases)}
        time.sleep(SILENCE)
        for case, sig in cases.items():
            if sig is not None:
                started[case].process.send_signal(sig)
        for case, one in started.items():
            with self.subTest(case):
                out, _ = one.process.communicate(timeout=60)
                self.assertEqual(one.text(), "")
                if case == "alarm_will_end_it":
                    self.assertEqual(one.process.returncode, -signal.SIGALRM)
                else:
                    self.assertEqual((one.process.returncode, out), (0, "woken\n"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)

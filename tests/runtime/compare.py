#!/usr/bin/env python3
"""Runs every case of a test program natively and under libcr and compares what comes out.

compare.py PROGRAM [-k WORD] [--cpus 1,2,8] [--engines epoll,none] [--set NAME=VALUE]... [--repeat N] [--timeout S]

The preload is $CR_TEST_PRELOAD. A case passes if stdout and the exit status (or the signal
that ended it) are equal to a native run's, for each number of cpus and engine (without --engines the
one that libcr chooses), and libcr attached. The native result is taken once; where it is no expectation
(a CHECK of it failed), or libcr's is another, natively it is run up to three times more, and any result that
passes is as good: a machine that stands still for 20 ms can be seen on either side. A case that outlives the
timeout is killed and fails, and where its threads were then is printed; nothing is left behind: each runs in a
session of its own. --set is for libcr's runs alone.
"""
import argparse
import difflib
import os
import signal
import subprocess
import sys
import tempfile


def told(path):
    try:
        with open(path, errors="replace") as f:
            return " ".join(f.read().replace("\0", " ").split())
    except OSError as e:
        return e.strerror


def whereabouts(session):
    """Of each kernel thread of a session: its state, what it waits for, the call it is in and from where."""
    lines = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            if os.getsid(pid) != session:
                continue
            tasks = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
        except OSError:
            continue
        lines.append(f"{pid}: {told(f'/proc/{pid}/cmdline')}")
        for tid in tasks:
            at = f"/proc/{pid}/task/{tid}"
            state = told(f"{at}/stat").rpartition(")")[2].split()[:1]
            lines.append(f"  {tid} {told(f'{at}/comm')} {' '.join(state)} {told(f'{at}/wchan')}: {told(f'{at}/syscall')}")
    return "\n".join(lines).encode()


def run(argv, env, timeout):
    """(stdout, status, stderr): status is negative for a signal, None for a timeout."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 start_new_session=True)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
            err.seek(0, os.SEEK_END)
            err.write(whereabouts(child.pid))
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        out.seek(0)
        err.seek(0)
        return out.read(), status, err.read()


def environment(preload=None, cpus=None, engine=None, settings=()):
    env = {k: v for k, v in os.environ.items() if not k.startswith("LIBCR_") and k != "LD_PRELOAD"}
    for keep in ("LIBCR_CACHE", "LIBCR_ANALYSER"):
        if keep in os.environ:
            env[keep] = os.environ[keep]
    if preload:
        env["LD_PRELOAD"] = preload
        env["LIBCR_CPUS"] = str(cpus)
        if engine:
            env["LIBCR_ENGINE"] = engine
    env.update(setting.split("=", 1) for setting in settings)
    return env


class Native:
    """What a case does natively: the results so far that are expectations."""

    def __init__(self, argv, timeout):
        self.argv, self.timeout, self.left, self.results = argv, timeout, 4, []
        self.last = None
        while self.left and not self.results:
            self.again()

    def again(self):
        self.left -= 1
        self.last = run(self.argv, environment(), self.timeout)
        if self.last[1] is not None and b"CHECK failed" not in self.last[0]:
            self.results.append(self.last)

    def shows(self, outcome):
        while all(r[:2] != outcome[:2] for r in self.results):
            if not self.left:
                return False
            self.again()
        return True


def describe(result):
    out, status, err = result
    how = "timeout" if status is None else f"status {status}"
    text = f"    {how}; stdout:\n"
    text += "".join(f"      {line}\n" for line in out.decode(errors="replace").splitlines()[-12:])
    if err:
        text += "    stderr:\n"
        text += "".join(f"      {line}\n" for line in err.decode(errors="replace").splitlines()[-60:])
    return text


def differing(native, under):
    """Both results, and where their stdout differs; what is said of a long one may leave that out."""
    lines = [r[0].decode(errors="replace").splitlines() for r in (native, under)]
    diff = list(difflib.unified_diff(*lines, "native", "libcr", lineterm="", n=1))
    text = f"  native:\n{describe(native)}  libcr:\n{describe(under)}"
    return text + "".join(f"  {line}\n" for line in diff[:40])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("-k", default="", help="only cases whose name contains this")
    parser.add_argument("--cpus", default="1,2,8")
    parser.add_argument("--engines", default="")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=60)
    args = parser.parse_args()
    preload = os.environ["CR_TEST_PRELOAD"]
    names = subprocess.run([args.program, "--list"], check=True, stdout=subprocess.PIPE,
                           text=True, env=environment()).stdout.split()
    names = [n for n in names if args.k in n]
    bad = runs = 0
    for name in names:
        argv = [args.program, name]
        native = Native(argv, args.timeout)
        if not native.results:
            print(f"FAIL {name}: the native run does not pass\n" + describe(native.last))
            bad += 1
            continue
        ways = [(c, e) for e in args.engines.split(",") for c in args.cpus.split(",")]
        for cpus, engine in ways:
            for _ in range(args.repeat):
                under = run(argv, environment(preload, cpus, engine, args.set), args.timeout)
                runs += 1
                attached = b"libcr: no system call site" not in under[2]
                if not attached or not native.shows(under):
                    bad += 1
                    seen = differing(native.results[0], under)
                    print(f"FAIL {name} with {cpus} cpus {engine}\n{seen}", flush=True)
    print(f"{len(names)} cases, {runs} runs under libcr, {bad} failed")
    return 1 if bad or not names else 0


if __name__ == "__main__":
    sys.exit(main())

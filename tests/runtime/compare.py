#!/usr/bin/env python3
"""Runs every case of a test program natively and under libcr and compares what comes out.

compare.py PROGRAM [-k WORD] [--cpus 1,2,8] [--engines epoll,none] [--repeat N] [--timeout S]

The preload is $CR_TEST_PRELOAD. A case passes if stdout and the exit status (or the signal
that ended it) are equal to the native run's, for each number of cpus and engine (without --engines the
one that libcr chooses), and libcr attached. The
native result is taken once. A case that outlives the timeout is killed and fails; nothing is left behind: each
runs in a session of its own.
"""
import argparse
import difflib
import os
import signal
import subprocess
import sys
import tempfile


def run(argv, env, timeout):
    """(stdout, status, stderr): status is negative for a signal, None for a timeout."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 start_new_session=True)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        out.seek(0)
        err.seek(0)
        return out.read(), status, err.read()


def environment(preload=None, cpus=None, engine=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith("LIBCR_") and k != "LD_PRELOAD"}
    for keep in ("LIBCR_CACHE", "LIBCR_ANALYSER"):
        if keep in os.environ:
            env[keep] = os.environ[keep]
    if preload:
        env["LD_PRELOAD"] = preload
        env["LIBCR_CPUS"] = str(cpus)
        if engine:
            env["LIBCR_ENGINE"] = engine
    return env


def describe(result):
    out, status, err = result
    how = "timeout" if status is None else f"status {status}"
    text = f"    {how}; stdout:\n"
    text += "".join(f"      {line}\n" for line in out.decode(errors="replace").splitlines()[-12:])
    if err:
        text += "    stderr:\n"
        text += "".join(f"      {line}\n" for line in err.decode(errors="replace").splitlines()[-12:])
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
        native = run(argv, environment(), args.timeout)
        if native[1] is None or b"CHECK failed" in native[0]:
            print(f"FAIL {name}: the native run does not pass\n" + describe(native))
            bad += 1
            continue
        ways = [(c, e) for e in args.engines.split(",") for c in args.cpus.split(",")]
        for cpus, engine in ways:
            for _ in range(args.repeat):
                under = run(argv, environment(preload, cpus, engine), args.timeout)
                runs += 1
                attached = b"libcr: no system call site" not in under[2]
                if under[:2] != native[:2] or not attached:
                    bad += 1
                    print(f"FAIL {name} with {cpus} cpus {engine}\n{differing(native, under)}", flush=True)
    print(f"{len(names)} cases, {runs} runs under libcr, {bad} failed")
    return 1 if bad or not names else 0


if __name__ == "__main__":
    sys.exit(main())

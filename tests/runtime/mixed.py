#!/usr/bin/env python3
"""Programs of both classes under one `cr run`: mixed.py CR PROGRAM PROGRAM32

Each program of a chain says of which class it is and whether libcr runs it, and executes the next.
"""
import os
import subprocess
import sys


def chain(cr, options, programs, env=None):
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment.update(env or {})
    result = subprocess.run([cr, "run", *options, "--", *programs], env=environment, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stdout.split("\n")[:-1], result.stderr


def main():
    cr, program, program32 = sys.argv[1:]
    bad = 0
    both = ["64 libcr", "32 libcr"]
    for options, programs, want in (
            ([], [program32], ["32 libcr"]),
            ([], [program, program32, program], [both[0], both[1], both[0]]),
            ([], [program32, program, program32], [both[1], both[0], both[1]]),
            (["--shim", "count"], [program, program32, program], [both[0], both[1], both[0]])):
        status, lines, errors = chain(cr, options, programs)
        if (status, lines) != (0, want) or "ERROR: ld.so" in errors:
            bad += 1
            print(f"FAIL {options} {programs}: {status} {lines}\n{errors}")
    # A shim of one's own is of one class: programs of the other run natively.
    shim = os.path.join(os.path.dirname(os.path.dirname(cr)), "lib/x86_64-linux-gnu/libcr-shim-count.so")
    status, lines, errors = chain(cr, ["--shim", shim], [program, program32])
    if (status, lines) != (0, ["64 libcr", "32 native"]):
        bad += 1
        print(f"FAIL a 64-bit shim: {status} {lines}\n{errors}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

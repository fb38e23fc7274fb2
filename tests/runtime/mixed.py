#!/usr/bin/env python3
"""Programs of both classes under one `cr run`: mixed.py CR PROGRAM PROGRAM32 BESIDE BESIDE32

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


def blocks_are_told_apart(cr, besides):
    """Processes of both classes enter the blocks of their threads' ids at the same places of the users' table
    (src/sysport/peers.h): what is wrong with the entries of some that live at once."""
    first_tid, per_block, header = 4194305, 1 << 16, 4104
    bad = []
    running = [subprocess.Popen([cr, "run", "--", besides[i % 2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for i in range(6)]
    said = [[int(word) for word in process.stdout.readline().split()] for process in running]
    namespace = os.stat("/proc/self/ns/pid").st_ino
    with open(f"/dev/shm/libcr-2-{os.geteuid()}-{namespace}", "rb") as table:
        for pid, tid in said:
            table.seek(header + 8 * ((tid - first_tid) // per_block))
            claim = int.from_bytes(table.read(8), "little")
            if claim >> 32 != pid:
                bad.append(f"the block of thread {tid} of {pid} is {claim >> 32}'s")
    for process in running:
        process.communicate()
    return bad


def main():
    cr, program, program32, *besides = sys.argv[1:]
    wrong = blocks_are_told_apart(cr, besides)
    bad = len(wrong)
    print("".join(f"FAIL {line}\n" for line in wrong), end="")
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

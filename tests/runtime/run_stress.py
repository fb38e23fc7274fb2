#!/usr/bin/env python3
"""The stress program natively and under libcr with 1, 2 and 8 cpus.

run_stress.py PROGRAM [--seconds 15] [--seed N] [--threads N] [--cpus 1,2,8]

The seconds are shared out over the four runs. Without --seed a fresh one is drawn and printed,
so that a failure can be tried again.
"""
import argparse
import os
import random
import sys

from compare import describe, environment, run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31))
    parser.add_argument("--threads", type=int, default=2000)
    parser.add_argument("--cpus", default="1,2,8")
    args = parser.parse_args()
    preload = os.environ["CR_TEST_PRELOAD"]
    kinds = [("natively", environment())]
    kinds += [(f"with {c} cpus", environment(preload, c)) for c in args.cpus.split(",")]
    share = args.seconds / len(kinds)
    bad = 0
    for name, env in kinds:
        threads = args.threads if "LD_PRELOAD" in env else min(args.threads, 200)
        argv = [args.program, f"{share:.2f}", str(args.seed), str(threads)]
        result = run(argv, env, share + 150)
        ok = result[1] == 0 and result[0] == b"held\n"
        bad += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {' '.join(argv[1:])}\n{describe(result)}",
              flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

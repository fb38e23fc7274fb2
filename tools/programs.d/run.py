"""Runs the suites, natively and on libcr in turn, and prints the tests whose results differ.

A test that differs is run again on both sides, twice at most: one that fails natively too, now and then, is called
unsteady and no difference. Exit status 0: no difference; 1: differences; 2: usage; 130: interrupted.
"""
import argparse
import fnmatch
import pathlib
import sys
import tempfile
import time

import suites
from suite import CR, run_case

AGAIN = 2  # more runs of a case that differs


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/programs", description=__doc__.partition("\n")[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="only these (default: all that --list names)")
    parser.add_argument("-k", default="", metavar="WORD", help="only cases whose name contains this; =WORD: only the case WORD")
    parser.add_argument("--cpus", type=int, metavar="N", help="libcr's number of cpus (default: its own)")
    parser.add_argument("--engine", choices=("auto", "uring", "epoll", "none"), help="libcr's engine for calls that block")
    parser.add_argument("--timeout", type=float, metavar="S", help="for each case, instead of its own")
    parser.add_argument("--log", metavar="DIR", help="keep what the cases write, a file for each run")
    parser.add_argument("--list", action="store_true", help="names, packages and cases; runs nothing")
    parser.add_argument("--packages", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    known = {suite.name: suite for suite in suites.SUITES}
    for name in options.suites:
        if name not in known:
            parser.error(f"no such suite: {name} (there are: {', '.join(known)})")
    options.suites = [known[name] for name in options.suites or known]
    return options


def chosen(options, suite):
    if options.k.startswith("="):
        return [case for case in suite.cases() if case.name == options.k[1:]]
    return [case for case in suite.cases() if options.k in case.name]


def prefix(options):
    words = [str(CR), "run"]
    if options.cpus:
        words += ["--cpus", str(options.cpus)]
    if options.engine:
        words += ["--engine", options.engine]
    return [*words, "--"]


def differences(case, native, under):
    """{test: (native result, libcr's)} of the tests whose results differ and have to be equal."""
    return {test: (native.get(test, "not there"), under.get(test, "not there"))
            for test in sorted({*native, *under})
            if native.get(test) != under.get(test) and not any(fnmatch.fnmatchcase(test, p) for p, _ in case.unlike)}


def keep(options, suite, case, side, number, run):
    if options.log:
        path = pathlib.Path(options.log)
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{suite.name}.{case.name}.{side}.{number}".replace("/", "_")).write_text(
            f"status {run.status}\n{run.out}\n-- stderr:\n{run.err}")


def compare(options, suite, case, root):
    """(tests, differences, unsteady tests) of a case."""
    if options.timeout:
        case.timeout = options.timeout
    seen = {}  # test -> results natively, in any run
    differ = {}
    for number in range(1 + AGAIN):
        native_run, native = run_case(case, [], root)
        keep(options, suite, case, "native", number, native_run)
        under_run, under = run_case(case, prefix(options), root)
        keep(options, suite, case, "libcr", number, under_run)
        for test, result in native.items():
            seen.setdefault(test, set()).add(result)
        now = differences(case, native, under)
        if "libcr: no system call site" in under_run.err:
            now["(the whole)"] = ("", "libcr did not attach")
        differ = now if number == 0 else {test: pair for test, pair in differ.items() if test in now}
        unsteady = {test: pair for test, pair in now.items() if test not in differ or pair[1] in seen.get(test, ())}
        differ = {test: pair for test, pair in differ.items() if test not in unsteady}
        if not differ:
            break
    return len(native), differ, unsteady


def main(arguments):
    options = parse(arguments)
    if options.packages:
        print(" ".join(sorted({p for suite in options.suites for p in suite.packages})))
        return 0
    if options.list:
        for suite in options.suites:
            print(f"{suite.name}: {suite.title}\n  packages: {' '.join(suite.packages)}")
            print("  cases: " + " ".join(case.name for case in chosen(options, suite)))
        return 0
    if not CR.exists():
        print(f"tools/programs: {CR} is missing: build libcr first", file=sys.stderr)
        return 2
    bad = 0
    with tempfile.TemporaryDirectory(prefix="cr-programs-") as root:
        for suite in options.suites:
            lacks = suite.lacks()
            if lacks:
                print(f"{suite.name}: skipped: {lacks}", flush=True)
                continue
            for case in chosen(options, suite):
                start = time.monotonic()
                tests, differ, unsteady = compare(options, suite, case, root)
                bad += len(differ)
                word = "DIFFERS" if differ else "ok"
                print(f"{word:8}{suite.name} {case.name}: {tests} results, {len(differ)} differ"
                      + (f", {len(unsteady)} unsteady" if unsteady else "")
                      + f" ({time.monotonic() - start:.0f} s)", flush=True)
                for kind, table in (("", differ), ("unsteady ", unsteady)):
                    for test, (native, under) in table.items():
                        print(f"    {kind}{test}\n      native: {native!r:.400}\n      libcr:  {under!r:.400}", flush=True)
    print(f"{bad} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

"""Runs the demonstration's programs natively and on libcr in turn; prints a table at the end.

Each program is the same file on both sides and knows nothing of libcr. The times are medians of
the rounds: of the whole program for real programs, of one operation for the small ones, which
measure that themselves. What has no business being equal (times) is left out of the comparison.

Exit status 0: on libcr everything worked, with the native output; 1: not.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build/release"
CR = BUILD / "bin/cr"
PYTHON = "/usr/bin/python3"
TIMEOUT = 180  # seconds; a run takes a few
PARKED = 100_000
PARKED_I386 = 60_000  # in 4 GB, with stacks of 16 KB


@dataclasses.dataclass
class Result:
    """One run: seconds (of the program, or of one operation) and the output to compare."""
    seconds: float = 0.0
    output: bytes = b""
    failed: str = ""  # why there is no result
    limit: str = ""   # what the program could not reach


@dataclasses.dataclass
class Program:
    title: str
    command: list
    read: Callable = None  # (output bytes) -> Result; without it the whole run is timed
    rounds: int = 0        # 0: what the command line says


def operation(output):
    """A program of tests/bench: one JSON object, which has its own time for one operation."""
    report = json.loads(output)
    facts = {key: report[key] for key in ("bench", "ops") if key in report}
    return Result(report["ns_per_op"] / 1e9, json.dumps(facts).encode())


def parked(output):
    report = json.loads(output)
    reached = report["reached"]
    limit = "" if reached == report["threads"] else f"stops at {reached:,}: {report['error']}"
    return Result(report["ns_per_op"] / 1e9, str(reached).encode(), limit=limit)


def generate(path, size):
    """Text that compresses like text: the same bytes each time, without a random number."""
    state = 1
    with open(path, "wb") as file:
        for line in range(size // 40):
            state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
            file.write(b"%8d %016x %8d words\n" % (line, state >> (state >> 59), line * line % 9973))


def pinned(*command):
    """On one cpu: across cpus a native hand-over measures how an idle core wakes up."""
    return ["taskset", "-c", str(max(os.sched_getaffinity(0))), *map(str, command)]


def programs(directory):
    text = directory / "text"
    generate(text, 24 << 20)
    bench = BUILD / "bench"
    return [
        Program("python3, 8 producers, 8 consumers", [PYTHON, HERE / "queue_threads.py"]),
        Program("python3, 80,000 lock hand-overs", [PYTHON, HERE / "lock_handover.py"]),
        Program("xz -T4 of 24 MB", ["xz", "-T4", "-2", "--block-size=1MiB", "-c", text]),
        Program("condition variable, one hand-over*", pinned(bench / "bench_pingpong", 200000),
                operation),
        Program("pthread_create + join*", pinned(bench / "bench_create_join", 20000), operation),
        Program(f"{PARKED:,} live threads, each", [bench / "bench_parked", PARKED, 64], parked, 1),
        Program("32-bit program: one hand-over*", pinned(bench / "i386/bench_pingpong", 200000), operation),
        Program(f"32-bit program: {PARKED_I386:,} live threads, each",
                [bench / "i386/bench_parked", PARKED_I386, 16], parked, 1),
    ]


def run(program, on_libcr):
    command = [str(part) for part in program.command]
    if on_libcr:
        command = [str(CR), "run", "--", *command]
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=TIMEOUT)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as why:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(why, KeyboardInterrupt):
            raise
        return Result(failed=f"killed after {TIMEOUT} s")
    seconds = time.monotonic() - start
    if process.returncode != 0:
        status = (f"signal {-process.returncode}" if process.returncode < 0
                  else f"status {process.returncode}")
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        return Result(failed=f"{status} {last}".strip())
    return program.read(output) if program.read else Result(seconds, output)


class Progress:
    """One line that changes on a terminal, a line for each step elsewhere."""

    def __init__(self, steps):
        self.steps, self.step = steps, 0
        self.terminal = sys.stderr.isatty()

    def show(self, what):
        self.step += 1
        line = f"[{self.step}/{self.steps}] {what}"
        print(f"\r\033[K{line}" if self.terminal else line, end="" if self.terminal else "\n",
              file=sys.stderr, flush=True)

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def median(results):
    """The results of the rounds as one; the first that failed, if one did."""
    for result in results:
        if result.failed:
            return result
    middle = dataclasses.replace(results[0])
    middle.seconds = statistics.median(result.seconds for result in results)
    return middle


def amount(result):
    if result.failed:
        return "failed"
    seconds = result.seconds
    for unit, size in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def compare(native, libcr):
    """The last two columns, notes to print below, and whether all is well."""
    notes = [f"{side}: {text}" for side, result in (("native", native), ("libcr", libcr))
             for text in (result.failed, result.limit) if text]
    if native.failed or libcr.failed:
        return "", "no", notes, False
    ratio = f"{native.seconds / libcr.seconds:.2f}x" if libcr.seconds else ""
    if native.limit:
        return ratio, "beyond native", notes, not libcr.limit
    same = native.output == libcr.output
    return ratio, "yes" if same else "NO", notes, same and not libcr.limit


def print_table(rows):
    head = ("program", "native", "libcr", "faster", "output equal")
    widths = [max(len(row[i]) for row in [head, *(row for row, _ in rows)]) for i in range(5)]
    def line(cells):
        first, *middle, last = cells
        print("  ".join([first.ljust(widths[0]),
                         *(cell.rjust(width) for cell, width in zip(middle, widths[1:])), last]))
    line(head)
    print("-" * (sum(widths) + 8))
    for cells, notes in rows:
        line(cells)
        for note in notes:
            print(f"    {note}")
    print("* pinned to one cpu, on both sides. Times vary with the machine; the ratios say more.")


def main():
    parser = argparse.ArgumentParser(prog="tools/demo")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program (default 3)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    for variable in list(os.environ):
        if variable == "LD_PRELOAD" or variable.startswith("LIBCR_"):
            del os.environ[variable]

    with tempfile.TemporaryDirectory(prefix="cr-demo-") as name:
        todo = programs(pathlib.Path(name))
        progress = Progress(2 * sum(program.rounds or arguments.rounds for program in todo))
        # Each object's trap sites are looked for once; that is no part of any program's time.
        subprocess.run([CR, "run", "--", PYTHON, "-c", "import threading, queue"], check=False,
                       timeout=TIMEOUT, stderr=subprocess.DEVNULL)
        rows, good = [], True
        for program in todo:
            results = {False: [], True: []}
            for number in range(program.rounds or arguments.rounds):
                for on_libcr in (False, True):
                    progress.show(f"{program.title.rstrip('*')}: round {number + 1}, "
                                  f"{'libcr' if on_libcr else 'native'}")
                    results[on_libcr].append(run(program, on_libcr))
            native, libcr = median(results[False]), median(results[True])
            ratio, equal, notes, fine = compare(native, libcr)
            # Every round must have said the same, not only the first.
            if equal == "yes" and any(r.output != native.output for r in results[True]):
                equal, fine = "NO, not in every round", False
            rows.append(((program.title, amount(native), amount(libcr), ratio, equal), notes))
            good = good and fine
        progress.end()
    print_table(rows)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

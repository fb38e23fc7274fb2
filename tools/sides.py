"""What tools/open-posix and tools/ltp share: tests of a suite run natively and on libcr, and what differs."""
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
NATIVE = "native"


def add_options(parser, timeout):
    parser.add_argument("--only", action="append", metavar="PATTERN",
                        help="only tests whose name contains this, or matches it as a shell pattern (may be repeated)")
    parser.add_argument("--cpus", default="2", metavar="LIST", help="libcr's cpus, such as 1,2,8 (default 2)")
    parser.add_argument("--engine", default="auto", metavar="LIST", help="libcr's engines: auto, uring, epoll, none")
    parser.add_argument("--jobs", type=int, default=2 * len(os.sched_getaffinity(0)), metavar="N",
                        help="tests at a time (default: twice the cpus; most tests sleep)")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="the I-th of N parts of the tests, to spread a run")
    parser.add_argument("--timeout", type=float, default=timeout, metavar="S", help=f"then a test hangs (default {timeout})")
    parser.add_argument("--again", type=int, default=3, metavar="N", help="runs alone before a difference is judged")
    parser.add_argument("--out", metavar="FILE", help="the verdicts as JSON")
    parser.add_argument("--list", action="store_true", help="names of the tests; runs nothing")


def check_options(parser, options):
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", options.cpus):
        parser.error(f"--cpus must be a list of numbers: {options.cpus}")
    for engine in options.engine.split(","):
        if engine not in ("auto", "uring", "epoll", "none"):
            parser.error(f"no such engine: {engine} (auto, uring, epoll, none)")
    part = re.fullmatch(r"(\d+)/(\d+)", options.part)
    if not part or not 1 <= int(part[1]) <= int(part[2]):
        parser.error(f"--part must be I/N: {options.part}")
    options.part = int(part[1]), int(part[2])
    if min(options.jobs, options.again, options.timeout) <= 0:
        parser.error("--jobs, --again and --timeout must be positive")
    # (cpus, engine) of each way a test is run on libcr, by the name it has in the output.
    options.ways = {f"cpus {n}" + ("" if engine == "auto" else f", {engine}"): (n, engine)
                    for engine in options.engine.split(",") for n in options.cpus.split(",")}


def selected(options, names):
    names = [name for name in names if not options.only or any(
        only in name or fnmatch.fnmatchcase(name, only) for only in options.only)]
    index, count = options.part
    return names[index - 1::count]


class Progress:
    """One line that changes on a terminal; elsewhere a line now and then."""

    def __init__(self, what, steps):
        self.what, self.steps, self.step, self.said = what, steps, 0, time.monotonic()
        self.terminal, self.lock = sys.stderr.isatty(), threading.Lock()

    def show(self, name):
        with self.lock:
            self.step += 1
            line = f"[{self.step}/{self.steps}] {self.what} {name}"
            if self.terminal:
                end = "" if self.step < self.steps else "\r\033[K"
                print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
            elif time.monotonic() - self.said > 15 or self.step == self.steps:
                self.said = time.monotonic()
                print(line, file=sys.stderr, flush=True)


def each(jobs, what, function, names):
    """{name: function(name)}, so many at a time."""
    progress = Progress(what, len(names))

    def step(name):
        result = function(name)
        progress.show(name)
        return name, result

    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        return dict(pool.map(step, names))
    finally:
        pool.shutdown(cancel_futures=True)


class Suite:
    """A suite's tests by name, and how they run and are judged.

    name          the suite's, in the names of directories
    options       from check_options
    cr            path of `cr`
    command(test) the words that run it
    verdict(n)    what the suite calls an exit status; "pass" is what is compared
    environment   variables that the tests need
    """

    def __init__(self, name, options, cr, command, verdict, environment=None):
        self.name, self.options, self.cr = name, options, cr
        self.command, self.verdict, self.environment = command, verdict, environment or {}

    def run(self, test, way):
        """(verdict, the end of its output, seconds). Of its session nothing is left behind."""
        command = self.command(test)
        if way != NATIVE:
            cpus, engine = self.options.ways[way]
            command = [str(self.cr), "run", "--cpus", cpus, "--engine", engine, "--", *command]
        kept = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and (not k.startswith("LIBCR_") or k == "LIBCR_CACHE")}
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{self.name}.", ignore_cleanup_errors=True) as directory, \
                tempfile.TemporaryFile() as output:
            os.chmod(directory, 0o777)  # tests become another user
            child = subprocess.Popen(command, cwd=directory, env={**kept, "TMPDIR": directory, **self.environment},
                                     stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
            try:
                status = child.wait(self.options.timeout)
            except subprocess.TimeoutExpired:
                status = None
            end_session(child.pid)
            child.wait()
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - 4000))
            text = output.read().decode(errors="replace")
        if status is None:
            verdict = "HUNG"
        elif status < 0:
            verdict = signal.Signals(-status).name if -status < signal.SIGRTMIN else f"signal {-status}"
        else:
            verdict = self.verdict(status)
        if "libcr: no system call site" in text:
            verdict = "NOT ATTACHED"
        return verdict, text[-1500:], round(time.monotonic() - begun, 2)

    def judge(self, test, way, native, libcr):
        """What a difference is called, after both sides have been run again alone; and the last output of libcr's."""
        text = libcr[1]
        natives, libcrs = [native[0]], []
        for _ in range(self.options.again):
            natives.append(self.run(test, NATIVE)[0])
            again = self.run(test, way)
            libcrs.append(again[0])
            if again[0] != "pass":
                text = again[1]
            if natives[-1] != "pass":
                return "unsteady", natives, [libcr[0], *libcrs], text
        bad = [verdict for verdict in libcrs if verdict != "pass"]
        return "FAILURE" if bad else "load", natives, [libcr[0], *libcrs], text

    def compare(self, tests, alone=(), unbuilt=None):
        """Runs all of them, prints what differs and a table. True: whatever passes natively passes on libcr."""
        options, unbuilt = self.options, unbuilt or {}
        # The sides of one test one after the other: tests have fixed names for what they share.
        sides = [NATIVE, *options.ways]
        results = {}
        for jobs, names in ((options.jobs, [name for name in tests if name not in alone]), (1, alone)):
            results |= each(jobs, "running", lambda name: {way: self.run(name, way) for way in sides}, names)

        different = [(name, way) for name in tests for way in options.ways
                     if results[name][NATIVE][0] == "pass" != results[name][way][0]]
        progress = Progress("again", len(different))
        judged = {}
        for name, way in different:
            judged[name, way] = self.judge(name, way, results[name][NATIVE], results[name][way])
            progress.show(name)
        self.report(tests, sides, results, judged, unbuilt)
        if options.out:
            path = pathlib.Path(options.out)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({
                "tests": {name: {side: {"verdict": r[0], "seconds": r[2]} for side, r in sorted(results[name].items())}
                          for name in tests},
                "differences": [{"test": name, "way": way, "is": j[0], "native": j[1], "libcr": j[2], "output": j[3]}
                                for (name, way), j in judged.items()],
                "unbuilt": unbuilt}, indent=1))
        return not any(j[0] == "FAILURE" for j in judged.values())

    def report(self, tests, sides, results, judged, unbuilt):
        for (name, way), (word, natives, libcrs, text) in judged.items():
            print(f"{word}: {name}, {way}\n  native: {', '.join(natives)}\n  libcr: {', '.join(libcrs)}\n{tail(text)}", end="")
        for name in tests:  # no failures: natively these don't pass
            for way in self.options.ways:
                if results[name][NATIVE][0] not in ("pass", results[name][way][0]):
                    print(f"otherwise: {name}, {way}: native {results[name][NATIVE][0]}, libcr {results[name][way][0]}")
        if unbuilt:
            print(f"not built ({len(unbuilt)}): {' '.join(unbuilt)}")
        verdicts = sorted({results[name][side][0] for name in tests for side in sides}, key=lambda v: (v != "pass", v))
        print(f"\n{'verdict':<16}" + "".join(f"{side:>16}" for side in sides))
        for verdict in verdicts:
            print(f"{verdict:<16}" + "".join(f"{sum(results[n][side][0] == verdict for n in tests):>16}" for side in sides))
        for word in ("FAILURE", "load", "unsteady"):
            counts = [sum(way == w and j[0] == word for (_, w), j in judged.items()) for way in self.options.ways]
            print(f"{word:<16}{'':>16}" + "".join(f"{count:>16}" for count in counts))


def end_session(leader):
    """Kills a test with the process groups that it has made."""
    for _ in range(10):
        left = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text(errors="replace").rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue  # it has just ended
            if int(session) == leader and state not in "ZX":
                left.append(int(stat.parent.name))
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not left:
            return


def tail(text, lines=8):
    return "".join(f"      {line}\n" for line in text.strip().splitlines()[-lines:])


def main_of(main):
    """Runs main(), which returns an exit status."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

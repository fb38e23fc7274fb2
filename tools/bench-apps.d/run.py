"""Measures the servers, natively and on libcr in turn; table on stdout, JSON and a chart in files.

Throughput is what the load tool counts. CPU is the user and system time of the server and all that it
forked, divided by the requests: with the load on a cpu of its own it says more than throughput, which the load
tool may bound. Of several rounds each figure is the median.

Exit status 0: every program worked on libcr as it does natively; 1: not; 2: usage; 130: interrupted.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time

import apps
import chart
import servers
from servers import Failure

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
CR = pathlib.Path(os.environ.get("BENCH_APPS_CR") or TOP / "build/release/bin/cr")
SIDES = ("native", "libcr")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/bench-apps", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="only this program (may be repeated)")
    parser.add_argument("--seconds", type=int, default=5, metavar="S", help="load for so long (default 5)")
    parser.add_argument("--connections", type=int, metavar="N", help="instead of each program's own list")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="runs on each side (default 2)")
    parser.add_argument("--engine", metavar="NAME", help="libcr's engine for calls that block: auto, uring, epoll, none")
    parser.add_argument("--out", default=str(TOP / "build/bench-apps"), metavar="DIR",
                        help="where bench-apps.json and bench-apps.svg go (default build/bench-apps)")
    parser.add_argument("--list", action="store_true", help="names, connections and packages; runs nothing")
    parser.add_argument("--packages", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    names = [app.name for app in apps.APPS]
    for name in options.only or []:
        if name not in names:
            parser.error(f"no such program: {name} (there are: {', '.join(names)})")
    for option, least, most in (("seconds", 1, 3600), ("rounds", 1, 100), ("connections", 1, 1000)):
        value = getattr(options, option)
        if value is not None and not least <= value <= most:
            parser.error(f"--{option} must be {least} to {most}")
    if options.engine not in (None, "auto", "uring", "epoll", "none"):
        parser.error(f"no such engine: {options.engine} (auto, uring, epoll, none)")
    options.apps = [app for app in apps.APPS if not options.only or app.name in options.only]
    return options


def cpus():
    """(server's, load's): two different ones if there are."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[0], mine[-1]


class Progress:
    """One line that changes on a terminal, a line for each step elsewhere."""

    def __init__(self, steps):
        self.steps, self.step, self.terminal = steps, 0, sys.stderr.isatty()

    def show(self, what):
        self.step += 1
        line = f"[{self.step}/{self.steps}] {what}"
        print(f"\r\033[K{line}" if self.terminal else line, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def environment(options, on_libcr):
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and (not k.startswith("LIBCR_") or k == "LIBCR_CACHE")}
    if on_libcr and options.engine:
        env["LIBCR_ENGINE"] = options.engine
    return env


def one_run(kind, connections, shared, options, on_libcr):
    """(Load, CPU seconds, what check() saw) of one start of the program."""
    server_cpu, load_cpu = cpus()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=shared.parent))
    directory.chmod(0o755)
    try:
        app = kind(directory, connections, shared)
        command = [*([CR, "run", "--"] if on_libcr else []), *app.command()]
        if issubclass(kind, apps.Copy):
            copies, seconds, before = 0, 0.0, os.times()
            while seconds < options.seconds:
                app.remove()
                start = time.monotonic()
                servers.run(servers.pinned(server_cpu, command), 120, environment(options, on_libcr))
                seconds += time.monotonic() - start
                servers.wait_for_orphans(10)  # sshd's processes end by themselves, and their time counts
                copies += 1
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            return apps.Load(copies * app.megabytes(), seconds), cpu, app.check()
        server = servers.Server(servers.pinned(server_cpu, command), directory / "log", environment(options, on_libcr))
        try:
            server.wait_ready(app.ready)
            if on_libcr and not server.has_mapped("libcr.so"):
                raise Failure("libcr did not attach")
            seen = app.check()
            before = server.cpu_seconds()
            load = app.load(load_cpu, options.seconds)
            cpu = server.cpu_seconds() - before
            server.check_alive()
            if (status := server.stop()) not in app.stop_status:
                raise Failure(f"ended with status {status} on SIGTERM")
            return load, cpu, seen
        except Failure as why:
            if server.process.poll() not in (None, 0):
                raise Failure(f"{why} (the server is gone: status {server.process.poll()})") from None
            raise
        finally:
            server.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure(kind, connections, shared, options, progress):
    """The row of one program and one number of connections."""
    row = {"name": kind.name, "title": f"{kind.title}, {connections}" if connections > 1 else kind.title,
           "connections": connections, "unit": kind.unit, "rounds": {side: [] for side in SIDES}}
    seen = {}
    for number in range(options.rounds):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            progress.show(f"{row['title']}: round {number + 1}, {side}")
            if row.get("failed"):
                continue
            try:
                load, cpu, said = one_run(kind, connections, shared, options, side == "libcr")
                if seen.setdefault("said", said) != said:
                    raise Failure(f"answers differ: {said} instead of {seen['said']}")
                if load.requests <= 0:
                    raise Failure("no request was served")
            except Failure as why:
                row["failed"], row["failed_on"] = str(why), side
                continue
            row["rounds"][side].append({"per_second": load.requests / load.seconds,
                                        "cpu_us": cpu / load.requests * 1e6, "p99_ms": load.p99_ms})
    if not row.get("failed"):
        for field, source in (("throughput", "per_second"), ("cpu", "cpu_us"), ("p99_ms", "p99_ms")):
            values = [[r[source] for r in row["rounds"][side]] for side in SIDES]
            row[field] = None if values[0][0] is None else [statistics.median(v) for v in values]
    return row


def amount(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(pair):
    return f"{pair[1] / pair[0]:.2f}" if pair and pair[0] else ""


def print_table(rows):
    head = ["program, connections", "native/s", "libcr/s", "ratio", "cpu us", "libcr", "ratio", "p99 ms", "libcr"]
    lines = [head]
    for row in rows:
        cells = [row["title"]]
        for field, with_ratio in (("throughput", True), ("cpu", True), ("p99_ms", False)):
            pair = row.get(field)
            cells += [amount(v) for v in pair] if pair else ["", ""]
            cells += [ratio(pair)] if with_ratio else []
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, cells in enumerate(lines):
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))).rstrip())
        if number == 0:
            print("-" * (sum(widths) + 2 * len(widths) - 2))
        elif failed := rows[number - 1].get("failed"):
            print(f"    {rows[number - 1]['failed_on']}: {failed}")
    print("/s: requests (copies: megabytes) in a second; cpu us: the server's cpu time for one. Ratios are libcr to native.")


def write_files(rows, options):
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    machine = {"kernel": platform.release(), "cpus": len(os.sched_getaffinity(0)), "server_cpu": cpus()[0], "load_cpu": cpus()[1],
               "engine": options.engine or "default", "seconds": options.seconds, "rounds": options.rounds}
    (out / "bench-apps.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    (out / "bench-apps.svg").write_text(chart.svg(
        rows, f"Linux {machine['kernel']}, server and load on one cpu each, engine {machine['engine']}, "
              f"median of {options.rounds} x {options.seconds} s"))
    print(f"{out}/bench-apps.json {out}/bench-apps.svg")


def measure_all(options):
    servers.adopt_orphans()
    steps = [(kind, n) for kind in options.apps
             for n in ((options.connections,) if options.connections and kind.unit != "megabytes" else kind.connections)]
    progress = Progress(2 * options.rounds * len(steps))
    rows = []
    with tempfile.TemporaryDirectory(prefix="cr-apps-", ignore_cleanup_errors=True) as name:
        top = pathlib.Path(name)
        top.chmod(0o755)
        prepared = {}
        try:
            for kind, connections in steps:
                shared = top / f"shared-{kind.name}"
                if kind not in prepared:
                    shared.mkdir()
                    prepared[kind] = None
                    try:
                        kind.prepare_once(shared)
                    except Failure as why:
                        prepared[kind] = str(why)
                if prepared[kind]:
                    rows.append({"name": kind.name, "title": kind.title, "failed": prepared[kind], "failed_on": "preparing"})
                    continue
                rows.append(measure(kind, connections, shared, options, progress))
        finally:
            servers.kill_everything()
            progress.end()
    return rows


def main():
    options = parse(sys.argv[1:])
    if options.list:
        for kind in options.apps:
            print(f"{kind.name:14} {'/'.join(map(str, kind.connections)):9} {' '.join(kind.packages)}")
        return 0
    if options.packages:
        print(" ".join(sorted({package for kind in options.apps for package in kind.packages})))
        return 0
    if not CR.exists():
        print(f"tools/bench-apps: {CR} is not there", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    rows = measure_all(options)
    print_table(rows)
    write_files(rows, options)
    return 1 if any(row.get("failed") for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

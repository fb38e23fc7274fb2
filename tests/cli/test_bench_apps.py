#!/usr/bin/env python3
"""tools/bench-apps as far as it goes without its servers: arguments, and what it writes."""
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools"


def bench_apps(*arguments):
    return subprocess.run([TOOLS / "bench-apps", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, timeout=60, cwd="/")


class Arguments(unittest.TestCase):
    def test_list_runs_nothing(self):
        result = bench_apps("--list")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        names = [line.split()[0] for line in result.stdout.splitlines()]
        for name in ("memcached", "mariadb", "apache-worker", "nginx", "redis", "rsync"):
            self.assertIn(name, names)

    def test_only_selects(self):
        result = bench_apps("--list", "--only", "nginx", "--only", "redis")
        self.assertEqual([line.split()[0] for line in result.stdout.splitlines()], ["nginx", "redis"])

    def test_help(self):
        result = bench_apps("--help")
        self.assertEqual(result.returncode, 0)
        for option in ("--only", "--seconds", "--connections", "--rounds", "--engine", "--out", "--list"):
            self.assertIn(option, result.stdout)
        self.assertNotIn("--packages", result.stdout)

    def test_bad_arguments_are_refused_before_anything_is_done(self):
        for arguments, word in ((["--only", "no-such"], "no-such"), (["--seconds", "0"], "--seconds"),
                                (["--seconds", "x"], "--seconds"), (["--rounds", "0"], "--rounds"),
                                (["--connections", "1001"], "--connections"), (["--engine", "steam"], "steam"),
                                (["extra"], "extra")):
            result = bench_apps(*arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            self.assertIn(word, result.stderr)
            self.assertNotIn("building", result.stderr)


class Results(unittest.TestCase):
    ROWS = [
        {"name": "a", "title": "A & B, 64", "unit": "requests", "throughput": [100.0, 150.0], "cpu": [10.0, 5.0],
         "p99_ms": [3.0, 2.5]},
        {"name": "b", "title": "copies", "unit": "megabytes", "throughput": [12.5, 12.0], "cpu": [900.0, 910.0],
         "p99_ms": None},
        {"name": "c", "title": "broken", "failed": "it <crashed>", "failed_on": "libcr"},
    ]

    def setUp(self):
        sys.path.insert(0, str(TOOLS / "bench-apps.d"))
        self.addCleanup(sys.path.remove, str(TOOLS / "bench-apps.d"))
        sys.dont_write_bytecode = True
        self.run_py = importlib.import_module("run")

    def test_chart_and_json(self):
        with tempfile.TemporaryDirectory() as out:
            options = self.run_py.parse(["--out", out, "--engine", "epoll"])
            self.run_py.write_files(self.ROWS, options)
            saved = json.loads(pathlib.Path(out, "bench-apps.json").read_text())
            self.assertEqual(saved["rows"], self.ROWS)
            self.assertEqual(saved["machine"]["engine"], "epoll")
            chart = xml.dom.minidom.parse(os.path.join(out, "bench-apps.svg"))
            said = [node.firstChild.data for node in chart.getElementsByTagName("text")]
            for text in ("A & B, 64", "1.50", "0.50", "it <crashed>"):
                self.assertIn(text, said)

    def test_percentiles_are_read_from_their_own_line(self):
        apps = sys.modules["apps"]
        wrk = ("  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.2ms    3.0ms  40.0ms   95.99%\n"
               "    Req/Sec    10.0k     1.0k    12.0k    71.99%\n  Latency Distribution\n     50%    1.00ms\n"
               "     99%  250.00us\n  20000 requests in 2.00s, 80MB read\n")
        match = apps.find(r"^\s+99%\s+([\d.]+[mu]?s)$", wrk, "wrk")
        self.assertEqual(apps.milliseconds(match[1]), 0.25)


if __name__ == "__main__":
    unittest.main()

"""docs/examples/countlines.c does what it says, in every form in which libcr is linked.

example.py PROGRAM...: each is run with few and with many files at a time, with 1 and 2 cpus, and once
with a file that is never read."""

import os
import subprocess
import sys
import tempfile


def start(argv, cpus):
    return subprocess.Popen(argv, env=dict(os.environ, LIBCR_CPUS=cpus), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def check(child, expect):
    said, _ = child.communicate(timeout=60)
    assert sorted(said.splitlines()) == sorted(expect), (child.args, said)
    assert child.returncode == 1, child.args


def main():
    with tempfile.TemporaryDirectory() as folder:
        names, expect, lines, size = [], [], 0, 0
        for i in range(100):
            name, text = f"{folder}/{i}", "line\n" * (i * 97 % 9000) + "end"
            with open(name, "w") as f:
                f.write(text)
            names.append(name)
            expect.append(f"{text.count(chr(10))} {len(text)} {name}")
            lines, size = lines + text.count("\n"), size + len(text)
        names.append(f"{folder}/none")
        expect += [f"{folder}/none: No such file or directory", f"{lines} {size} total"]
        for program in sys.argv[1:]:
            for cpus in "12":
                for n in ("1", "7", "200"):
                    check(start([program, "-n", n, "-t", "60000", *names], cpus), expect)
        os.mkfifo(f"{folder}/fifo")  # its open waits for a writer: for ever
        names.insert(50, f"{folder}/fifo")
        expect.append(f"{folder}/fifo: Connection timed out")
        waiting = [start([program, "-t", "3000", *names], "1") for program in sys.argv[1:]]
        for child in waiting:
            check(child, expect)


main()

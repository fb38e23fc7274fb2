"""Perl's own tests of processes, signals, threads, sockets and files, with Debian's perl.

Debian ships no copy of them: $PERL_SOURCE names a checked-out source of the same version (v5.36.0).
"""
import atexit
import functools
import glob
import os
import re
import shutil
import subprocess
import tempfile

from suite import Case, Suite

CORE = """op/alarm op/die_exit op/die_unwind op/exec op/fork op/getpid op/getppid op/glob op/kill0 op/magic op/readline op/require_errors
    op/select op/sigdispatch op/sigsystem op/sleep op/srand op/sselect op/stat op/taint op/threads op/threads-dirh op/time op/tie_fetch_count
    op/closure op/local op/sort op/sprintf op/study op/substr op/utf8cache op/write io/argv io/dup io/eintr io/errno io/fs io/inplace
    io/nargv io/openpid io/open io/perlio io/perlio_leaks io/pipe io/print io/read io/say io/sem io/shm io/msg io/socket io/socketpair io/tell
    io/through re/pat_thr re/regexp_unicode_prop_thr re/subst re/substT""".split()
BESIDE = ("dist/threads", "dist/threads-shared", "dist/Thread-Queue", "dist/Thread-Semaphore", "ext/IPC-Open3",
          "cpan/IPC-SysV", "dist/IO")
LIBRARIES = ("/usr/share/perl/5.36", "/usr/lib/x86_64-linux-gnu/perl/5.36", "/usr/lib/x86_64-linux-gnu/perl-base")


def source():
    return os.environ.get("PERL_SOURCE", "")


def lacks():
    if not os.path.exists(f"{source()}/t/test.pl"):
        return "$PERL_SOURCE names no checked-out source of perl 5.36"
    return ""


def results(run):
    """TAP: each test by its number and what it says."""
    table = {"(the whole)": f"status {run.status}"}
    for ok, number, said in re.findall(r"^(not ok|ok) (\d+)(.*)$", run.out, re.M):
        word = "failed" if ok == "not ok" else "ok"
        if re.search(r"# *skip", said, re.I):
            word = "skipped"
        elif re.search(r"# *todo", said, re.I):
            word = "to do"
        table[number] = word
    return table


@functools.cache
def tree():
    """As core tests want it: t, where they run, and ../lib with the modules of the perl that is tested."""
    directory = tempfile.mkdtemp(prefix="cr-perl-")
    atexit.register(shutil.rmtree, directory, True)
    shutil.copytree(f"{source()}/t", f"{directory}/t", symlinks=True)
    for part in BESIDE:
        shutil.copytree(f"{source()}/{part}", f"{directory}/{part}")
    os.mkdir(f"{directory}/lib")
    for library in LIBRARIES:
        subprocess.run(["cp", "-rsn", f"{library}/.", f"{directory}/lib"], check=False, stderr=subprocess.DEVNULL)
    return directory


def command(path, run):
    """The test with the switches that its first line asks for."""
    with open(path, errors="replace") as file:
        switches = re.findall(r" (-[tTw]+)\b", file.readline())
    return ["sh", "-c", f"cd -P {{d}}/x && exec perl {' '.join(switches)} {run}"]


def place(part):
    """A prepare function: {d}/x is the directory where the test runs."""
    return lambda directory: os.symlink(f"{tree()}/{part}", f"{directory}/x")


def cases():
    for name in CORE:
        if os.path.exists(f"{source()}/t/{name}.t"):
            yield Case(name, command(f"{source()}/t/{name}.t", f"{name}.t"), results, place("t"))
    for part in BESIDE:
        for path in sorted(glob.glob(f"{source()}/{part}/t/*.t")):
            name = os.path.basename(path)[:-2]
            yield Case(f"{part}/{name}", command(path, f"t/{name}.t"), results, place(part),
                       {"PERL_CORE": "1"})


PERL_SUITE = Suite("perl", "Perl's tests of processes, signals, threads and sockets ($PERL_SOURCE: its source)",
                   ("perl",), lambda: list(cases()), lacks)

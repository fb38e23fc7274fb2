"""What a suite of tools/programs is: cases, each a command whose output tells its tests' results.

A case runs in a fresh directory, in a session of its own, under a timeout; nothing it started outlives it. Its result
is a table from a test's name to how it ended ("ok", "failed", "skipped", or any text that must be equal on both
sides).
"""
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
CR = pathlib.Path(os.environ.get("PROGRAMS_CR") or TOP / "build/release/bin/cr")
PYTHON = "/usr/bin/python3"


@dataclasses.dataclass
class Run:
    """How a command ended: what it wrote to each stream, its status (None: the timeout), its directory."""
    out: str
    err: str
    status: int
    directory: str


def whole_output(run):
    """The command is one test: all that it writes to stdout, and how it ends."""
    return {"output": run.out, "status": str(run.status)}


@dataclasses.dataclass
class Case:
    name: str
    command: list                       # "{d}" is replaced by the case's directory
    results: Callable = whole_output    # Run -> {test: result}
    prepare: Callable = None            # (directory) -> None: files, natively
    environment: dict = dataclasses.field(default_factory=dict)
    timeout: float = 120
    unlike: tuple = ()                  # (fnmatch of a test's name, why it can't be equal)...


@dataclasses.dataclass
class Suite:
    name: str
    title: str
    packages: tuple
    cases: Callable                     # () -> [Case]
    lacks: Callable = lambda: ""        # why it can't run here, or ""


def environment(extra=None):
    """The user's, without what changes libcr's behaviour."""
    env = {k: v for k, v in os.environ.items()
           if k != "LD_PRELOAD" and (not k.startswith("LIBCR_") or k in ("LIBCR_CACHE", "LIBCR_ANALYSER"))}
    env.update(LC_ALL="C.UTF-8", TERM="dumb", PYTHONDONTWRITEBYTECODE="1")
    env.update(extra or {})
    return env


def processes_of(session):
    """Pids whose session is this one."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                yield int(entry)


def run_case(case, prefix, root):
    """One run of a case, its command behind `prefix`, in a new directory under `root`."""
    directory = tempfile.mkdtemp(dir=root)
    try:
        if case.prepare:
            case.prepare(directory)
        command = [part.replace("{d}", directory) for part in case.command]
        own = {name: value.replace("{d}", directory) for name, value in case.environment.items()}
        env = environment({"HOME": directory, "TMPDIR": directory, **own})
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen([*prefix, *command], cwd=directory, env=env, stdin=subprocess.DEVNULL,
                                     stdout=out, stderr=err, start_new_session=True)
            try:
                status = child.wait(case.timeout)
            except subprocess.TimeoutExpired:
                status = None
            for pid in processes_of(child.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            child.wait()
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode(errors="replace"))
        run = Run(*texts, status, directory)
        results = case.results(run)
        if status is None:
            results["(the whole)"] = "does not end"
        return run, results
    finally:
        shutil.rmtree(directory, ignore_errors=True)

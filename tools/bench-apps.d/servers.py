"""Processes of a measurement: started, watched, and ended with everything that they made.

Each is the head of a session of its own, and this process adopts what its children leave behind, so that
ending means: the tree below us, and nothing else.
"""
import ctypes
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """What went wrong with a run, for the user."""


def adopt_orphans():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat_fields(pid):
    """/proc/PID/stat from the third field on, or None."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def descendants(root):
    """Every process below root, root itself not."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat_fields(name)):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def limits():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pinned(cpu, command):
    return ["taskset", "-c", str(cpu), *map(str, command)]


def start(command, log, env=None, cwd=None):
    with open(log, "wb") as out:
        return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT, start_new_session=True, env=env, cwd=cwd,
                                preexec_fn=limits)


def run(command, timeout, env=None, input_bytes=b""):
    """Output of a command that has to succeed; killed with its children after timeout seconds."""
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                               start_new_session=True, preexec_fn=limits)
    try:
        output, _ = process.communicate(input_bytes, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failure(f"{name_of(command)} did not end within {timeout:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise Failure(f"{name_of(command)}: status {process.returncode}: {last_line(output)}")
    return output.decode(errors="replace")


def name_of(command):
    return pathlib.Path(next(str(p) for p in command if p not in ("taskset", "-c") and not str(p).isdigit())).name


def last_line(output):
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"


class Server:
    """A running server and all that it forks."""

    def __init__(self, command, log, env=None, cwd=None):
        self.log = log
        self.process = start(command, log, env, cwd)

    def pids(self):
        return [self.process.pid, *descendants(self.process.pid)]

    def cpu_seconds(self):
        """User and system time of the whole tree, ended children included."""
        total = 0
        for pid in self.pids():
            if fields := stat_fields(pid):
                total += sum(int(ticks) for ticks in fields[11:15])
        return total / TICK

    def has_mapped(self, name):
        try:
            return name in pathlib.Path(f"/proc/{self.process.pid}/maps").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure(f"ended with status {self.process.returncode}: {last_line(pathlib.Path(self.log).read_bytes())}")

    def wait_ready(self, probe, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            self.check_alive()
            try:
                if probe():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise Failure(f"not ready after {timeout} s: {last_line(pathlib.Path(self.log).read_bytes())}")
            time.sleep(0.05)

    def stop(self, timeout=30):
        """The status with which it ends on SIGTERM, which has to be its own choice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failure(f"did not end within {timeout} s of SIGTERM") from None
        self.kill()
        return self.process.returncode

    def kill(self):
        if self.process.poll() is None:
            for pid in reversed(self.pids()):
                kill(pid)
            self.process.wait()
        reap()


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_everything():
    for pid in reversed(descendants(os.getpid())):
        kill(pid)
    reap()


def wait_for_orphans(timeout):
    deadline = time.monotonic() + timeout
    reap()
    while descendants(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.01)
        reap()


def reap():
    """Adopted children that ended. To be called when no child is waited for elsewhere."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

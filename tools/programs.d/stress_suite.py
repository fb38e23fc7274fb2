"""stress-ng's stressors of threads, signals, processes, timers and the calls that block, each with --verify."""
import re

from suite import Case, Suite

# Name and bogo operations: about a second each.
STRESSORS = """
    affinity 200, aio 500, aiol 200, alarm 1, atomic 20, bad-altstack 200, brk 2000, clock 100, clone 300, context 200, cpu 20, cyclic 500,
    daemon 100, dekker 5000, dup 200, epoll 2000, eventfd 2000, exec 60, exit-group 30, fault 2000, fcntl 500, fifo 2000, flock 2000,
    fork 300, forkheavy 200, fp-error 200, futex 2000, getrandom 200, hrtimers 2000, io-uring 500, itimer 500, kcmp 50, key 20, kill 5000, landlock 20, lease 200,
    locka 500, lockf 500, lockofd 500, longjmp 5000, malloc 5000, membarrier 200, memfd 20, mincore 100, mlock 50, mmap 20, mmapfork 2, mprotect 200, mq 5000,
    mremap 20, msg 2000, msync 50, munmap 20, mutex 5000, nanosleep 200, nice 20, nop 100, null 2000, peterson 5000, personality 50, pidfd 500, pipe 5000,
    pipeherd 2000, poll 500, prctl 50, priv-instr 500, procfs 2, pthread 1000, ptrace 2000, pty 2, qsort 5, race-sched 50, randlist 1, readahead 500, resched 500, resources 20, revio 200,
    ring-pipe 500, rlimit 50, rseq 50, schedpolicy 200, seal 50, seccomp 100, seek 500, sem 2000, sem-sysv 2000, sendfile 200, session 50, set 200, shm 20,
    shm-sysv 20, sigabrt 200, sigchld 200, sigfd 2000, sigfpe 1000, sigio 500, signal 5000, signest 200, sigpending 5000, sigpipe 200, sigq 5000, sigrt 2000, sigsegv 1000,
    sigsuspend 2000, sigtrap 2000, sleep 50, sock 100, sockabuse 5, sockfd 500, sockmany 5, sockpair 500, spawn 50, splice 500, stack 20, stackmmap 5, switch 5000, sysbadaddr 200,
    sysinfo 50, sysinval 2, tee 500, timer 2000, timerfd 500, tlb-shootdown 50, touch 200, udp 500, unshare 20, urandom 50, userfaultfd 200, vdso 2000, vfork 500, vforkmany 50, vm-segv 50,
    vm-splice 500, wait 200, waitcpu 50, yield 5000, zombie 200"""


def stressors():
    for entry in STRESSORS.replace("\n", " ").split(","):
        name, operations = entry.split()
        yield name, operations


def results(run):
    """How the stressor says it went: passed, failed or skipped, and each kind of failure."""
    table = {"status": str(run.status)}
    text = re.sub(r"stress-ng: (\w+): +\[\d+\] ?", r"\1: ", run.out + run.err)
    for line in text.splitlines():
        word = line.split(":")[0]
        if word == "fail" or "skipped" in line or "terminated on signal" in line or "not implemented" in line:
            table[re.sub(r"0x[0-9a-f]+|\d+", "N", line)] = "said"
    return table


def cases():
    for name, operations in stressors():
        yield Case(name, ["stress-ng", f"--{name}", "2", f"--{name}-ops", operations, "--timeout", "20", "--verify", "--no-rand-seed",
                          "--temp-path", "{d}", "--oomable"], results, timeout=60)


STRESS_SUITE = Suite("stress-ng", "stress-ng's stressors with --verify", ("stress-ng",), lambda: list(cases()))

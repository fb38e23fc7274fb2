#!/usr/bin/env python3
"""Real programs natively and under libcr: output and exit status must be equal.

run.py [-k WORD] [--cpus 2] [--repeat N] [--timeout S] [--list]

The preload is $CR_TEST_PRELOAD. Each case is a shell script (run by bash -c in a fresh directory
beside `data`, a file that is the same for all) and the programs it needs; a case whose programs
are not installed is skipped and named so. Python's own test suites print times and order, so
of those only the exit status and the result line count.
"""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "runtime"))
from compare import environment, run  # noqa: E402

PY = "/usr/bin/python3"

PY_THREADS = r"""
import threading, queue
q = queue.Queue(); done = []
def work():
    while True:
        n = q.get()
        if n is None: return
        done.append(n * n)
ts = [threading.Thread(target=work) for _ in range(16)]
for t in ts: t.start()
for i in range(2000): q.put(i)
for t in ts: q.put(None)
for t in ts: t.join()
print(sum(done), len(done))
e = threading.Event(); print(e.wait(0.02))
b = threading.Barrier(4); out = []
def meet(): out.append(b.wait())
ts = [threading.Thread(target=meet) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]; print(sorted(out))
"""
PY_POOL = r"""
from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor
import hashlib
def h(n): return hashlib.sha256(str(n).encode() * 5000).hexdigest()[:8]
if __name__ == "__main__":
    with ThreadPoolExecutor(8) as p: print("".join(p.map(h, range(64))))
    with ProcessPoolExecutor(3) as p: print("".join(p.map(h, range(16))))
"""
PY_SUBPROCESS = r"""
import subprocess, threading
def one(i): out[i] = subprocess.run(["sh", "-c", f"echo {i}; cat"], input=b"x" * 1000, stdout=subprocess.PIPE).stdout
out = {}
ts = [threading.Thread(target=one, args=(i,)) for i in range(12)]
[t.start() for t in ts]; [t.join() for t in ts]
print([(i, len(out[i])) for i in sorted(out)])
print(subprocess.run("exit 7", shell=True).returncode, subprocess.run(["false"]).returncode)
try: subprocess.run(["sleep", "100"], timeout=0.2)
except subprocess.TimeoutExpired: print("timeout")
p = subprocess.Popen(["sleep", "100"]); p.terminate(); print(p.wait())
"""
PY_MULTIPROCESSING = r"""
import multiprocessing as mp
def f(x): return x * x
def child(q): q.put("from child")
if __name__ == "__main__":
    for how in "fork", "spawn", "forkserver":
        c = mp.get_context(how)
        with c.Pool(2) as p: print(how, sum(p.map(f, range(200))))
        q = c.Queue(); p = c.Process(target=child, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)
"""
PY_ASYNCIO = r"""
import asyncio
async def tick(i): await asyncio.sleep(0.001 * (i % 5)); return i
async def main():
    print(sum(await asyncio.gather(*(tick(i) for i in range(200)))))
    p = await asyncio.create_subprocess_exec("echo", "sub", stdout=asyncio.subprocess.PIPE)
    print(await p.stdout.read(), await p.wait())
    print(await asyncio.to_thread(sum, range(100)))
    async def serve(r, w): w.write(await r.readline()); await w.drain(); w.close()
    s = await asyncio.start_server(serve, "127.0.0.1", 0); port = s.sockets[0].getsockname()[1]
    async def ask(i):
        r, w = await asyncio.open_connection("127.0.0.1", port); w.write(b"%d\n" % i); x = await r.readline(); w.close(); return int(x)
    print(sum(await asyncio.gather(*(ask(i) for i in range(50)))))
asyncio.run(main())
"""
PY_SOCKETS = r"""
import socketserver, socket, threading
class H(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line.upper())
class S(socketserver.ThreadingTCPServer): daemon_threads = True; request_queue_size = 64
s = S(("127.0.0.1", 0), H); threading.Thread(target=s.serve_forever, daemon=True).start()
out = []
def ask(i):
    with socket.create_connection(s.server_address) as c:
        f = c.makefile("rwb")
        for k in range(20): f.write(b"line %d\n" % k); f.flush(); out.append(f.readline())
ts = [threading.Thread(target=ask, args=(i,)) for i in range(30)]
[t.start() for t in ts]; [t.join() for t in ts]; s.shutdown(); print(len(out), out.count(b"LINE 7\n"))
"""
PERL = r"""
use strict; my %h; open(my $f, "<", "../data") or die; binmode $f; local $/ = \4096;
while (my $b = <$f>) { $h{ord(substr($b, 0, 1)) % 16}++ } print join(",", map {"$_=$h{$_}"} sort { $a <=> $b } keys %h), "\n";
my $p = fork; if (!$p) { exit 9 } waitpid $p, 0; print $? >> 8, "\n"; print `echo sub`; $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; sleep 5;
"""
SQL = """create table t(a integer primary key, b text);
with recursive c(x) as (select 1 union all select x+1 from c where x < 20000) insert into t select x, hex(x*x) from c;
create index i on t(b); select count(*), sum(length(b)) from t; select b from t order by b desc limit 3; delete from t where a % 3 = 0;
select count(*) from t; pragma integrity_check; vacuum;"""
MAKEFILE = "all: $(addsuffix .o,$(shell seq 40))\n\tcat $(sort $^) | sort -n | sha256sum\n" \
           "%.o:\n\t@sh -c 'head -c $*000 ../data | sha256sum | cut -c1-8 > $@'\n"
RUST = r"""
use std::sync::{mpsc, Arc, Mutex, Condvar, RwLock}; use std::thread;
fn main() {
    let n = Arc::new(Mutex::new(0u64)); let (tx, rx) = mpsc::channel();
    let ts: Vec<_> = (0..16u64).map(|i| { let n = n.clone(); let tx = tx.clone(); thread::spawn(move || { for k in 0..1000 { *n.lock().unwrap() += k; } tx.send(i).unwrap(); i }) }).collect();
    drop(tx); let got: u64 = rx.iter().sum(); let joined: u64 = ts.into_iter().map(|t| t.join().unwrap()).sum();
    println!("{} {} {}", n.lock().unwrap(), got, joined);
    let r = thread::spawn(|| { if true { panic!("inside") } }).join(); println!("{}", r.is_err());
    let pair = Arc::new((Mutex::new(false), Condvar::new())); let p2 = pair.clone();
    let t = thread::spawn(move || { *p2.0.lock().unwrap() = true; p2.1.notify_all(); });
    let mut g = pair.0.lock().unwrap(); while !*g { g = pair.1.wait(g).unwrap(); } drop(g); t.join().unwrap();
    let rw = RwLock::new(5); let mut v = vec![1, 2, 3];
    thread::scope(|s| { s.spawn(|| { let _x = *rw.read().unwrap(); }); s.spawn(|| v.push(4)); }); println!("{:?}", v);
    thread::park_timeout(std::time::Duration::from_millis(5));
    println!("{}", std::process::Command::new("sh").args(["-c", "exit 4"]).status().unwrap().code().unwrap());
}
"""

# name, programs it needs, script, files to make
CASES = [
    ("bash_subshells", ["bash"], "for i in 1 2 3; do (echo $i | (cat; echo sub) | tr a-z A-Z); done; "
     "x=$(seq 1000 | sort -rn | head -3 | tac); echo $x; (exit 5); echo $?; "
     "seq 20000 | grep 7 | wc -l | { read n; echo got $n; }; diff <(seq 5) <(seq 6); echo $?; "
     "sleep 0.05 & wait $!; echo $?; trap 'echo trapped' USR1; kill -USR1 $$; set -o pipefail; false | true; echo $?", {}),
    ("bash_jobs", ["bash"], "for i in 1 2 3 4 5 6 7 8; do (sleep 0.0$i; exit $i) & done; s=0; "
     "for p in $(jobs -p); do wait $p; s=$((s+$?)); done; echo $s; timeout 0.2 sleep 10; echo $?; "
     "timeout -s KILL 0.2 sh -c 'while :; do :; done'; echo $?; cat < ../data | head -c 10 | od -c | head -1", {}),
    ("xz_T4", ["xz"], "xz -T4 --block-size=256KiB -c ../data | sha256sum; xz -T4 --block-size=256KiB -c ../data | xz -dc -T4 | cmp - ../data && echo same", {}),
    ("zstd_T4", ["zstd"], "zstd -q -T4 -B128K -c ../data | sha256sum; zstd -q -T4 -c ../data | zstd -q -dc | cmp - ../data && echo same", {}),
    ("pigz", ["pigz"], "pigz -p4 -n -c ../data | sha256sum; pigz -p4 -c ../data | pigz -dc | cmp - ../data && echo same", {}),
    ("python_threads", [PY], f"{PY} prog.py", {"prog.py": PY_THREADS}),
    ("python_pools", [PY], f"{PY} prog.py", {"prog.py": PY_POOL}),
    ("python_subprocess", [PY], f"{PY} prog.py", {"prog.py": PY_SUBPROCESS}),
    ("python_multiprocessing", [PY], f"{PY} prog.py", {"prog.py": PY_MULTIPROCESSING}),
    ("python_asyncio", [PY], f"{PY} prog.py", {"prog.py": PY_ASYNCIO}),
    ("python_sockets", [PY], f"{PY} prog.py", {"prog.py": PY_SOCKETS}),
    ("git_clone", ["git"], "export HOME=$PWD GIT_CONFIG_NOSYSTEM=1; git init -q -b main a && cd a && git config user.email a@b && git config user.name n && "
     "for i in 1 2 3 4 5; do head -c ${i}0000 ../../data > f$i; git add f$i; GIT_AUTHOR_DATE=@$i GIT_COMMITTER_DATE=@$i git commit -qm c$i; done; "
     "cd .. && git clone -q a b && git clone -q --no-local a c && git -C b log --format=%H && git -C c fsck 2>/dev/null && cmp a/f5 c/f5 && git -C c repack -qad && git -C c grep -c . -- f1 | wc -l", {}),
    ("make_j8", ["make"], "make -s -j8; ls | wc -l; make -s -j8", {"Makefile": MAKEFILE}),
    ("sqlite3", ["sqlite3"], "sqlite3 db < q.sql; sqlite3 :memory: < q.sql; sqlite3 db 'select count(*) from t'", {"q.sql": SQL}),
    ("perl", ["perl"], "perl prog.pl", {"prog.pl": PERL}),
    ("rust_threads", ["rustc"], "./prog 2>/dev/null", {"prog.rs": RUST}),
    ("tar_sort_find", ["tar", "sort", "find"], "mkdir d; for i in $(seq 30); do head -c ${i}00 ../data > d/$i; done; tar cf - d | tar tf - | sort | sha256sum; "
     "tar czf x.tgz d && tar xzf x.tgz -O d/7 | sha256sum; seq 200000 | sort --parallel=4 -S 1M -R --random-source=../data | sort -n --parallel=4 | sha256sum; find d -type f -print0 | sort -z | xargs -0 -P4 -n5 cat | wc -c", {}),
    ("python_test_threading", [PY, "@test_threading"], f"{PY} -m test test_threading", {}),
    ("python_test_subprocess", [PY, "@test_subprocess"], f"{PY} -m test test_subprocess", {}),
]


def missing(needs):
    for n in needs:
        if n.startswith("@"):
            if subprocess.run([PY, "-c", f"import test.{n[1:]}"], stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, env=environment()).returncode != 0:
                return f"Python's test.{n[1:]} (Debian: libpython3-testsuite)"
        elif shutil.which(n) is None:
            return n
    return None


def suite_result(result):
    """Of a regrtest run only how it ended counts."""
    out, status, err = result
    lines = re.findall(rb"^(?:Tests? result: .*|== Tests result: .*|Result: .*|test_\w+ failed.*)$", out, re.M)
    return b"\n".join(l.removeprefix(b"== ") for l in lines), status


def one(case, env, root, timeout):
    name, _, script, files = case
    with tempfile.TemporaryDirectory(dir=root) as d:
        for file, text in files.items():
            with open(os.path.join(d, file), "w") as f:
                f.write(text)
        if "prog.rs" in files:
            subprocess.run(["rustc", "-O", "prog.rs"], cwd=d, check=True, env=environment(),
                           stderr=subprocess.DEVNULL)
        return run(["/bin/bash", "-c", f"cd {d}; {script}"], env, timeout)


def tail(result):
    text = (result[0] + b"\n-- stderr:\n" + result[2]).decode(errors="replace")
    lines = text.splitlines()
    return f"    status {result[1]}\n" + "".join(f"      {line}\n" for line in lines[-25:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", default="")
    parser.add_argument("--cpus", default="2")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=240)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        print("\n".join(c[0] for c in CASES))
        return 0
    preload = os.environ["CR_TEST_PRELOAD"]
    bad = skipped = ran = 0
    with tempfile.TemporaryDirectory(prefix="cr-programs-") as root:
        with open(os.path.join(root, "data"), "wb") as f:
            rng = random.Random(7)
            words = [rng.randbytes(rng.randrange(2, 9)) for _ in range(500)]
            f.write(b"".join(rng.choice(words) for _ in range(800000)))
        for case in CASES:
            name = case[0]
            if args.k not in name:
                continue
            lacks = missing(case[1])
            if lacks:
                skipped += 1
                print(f"skip {name}: {lacks} is not installed", flush=True)
                continue
            key = suite_result if "_test_" in name else (lambda r: r[:2])
            native = one(case, environment(), root, args.timeout)
            if native[1] is None:
                print(f"FAIL {name}: the native run does not end\n{tail(native)}")
                bad += 1
                continue
            for cpus in args.cpus.split(","):
                for _ in range(args.repeat):
                    under = one(case, environment(preload, cpus), root, args.timeout)
                    ran += 1
                    attached = b"libcr: no system call site" not in under[2]
                    if key(under) == key(native) and attached:
                        print(f"ok   {name} ({cpus} cpus)", flush=True)
                    else:
                        bad += 1
                        print(f"FAIL {name} ({cpus} cpus)\n  native:\n{tail(native)}  libcr:\n{tail(under)}", flush=True)
    print(f"{ran} runs under libcr, {bad} failed, {skipped} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

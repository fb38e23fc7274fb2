"""Programs of Debian's i386 packages. Nothing is installed: the packages, with all that they need but libc, which
the compiler's 32-bit one is, are fetched by apt once and unpacked under build/."""
import os
import shutil
import subprocess

from suite import Case, Suite, TOP

NAMES = ("bash", "python3", "xz-utils", "sqlite3", "memcached", "perl")
PLACE = TOP / "build/i386-packages"
ROOT = PLACE / "root"
LIBRARIES = ("lib/i386-linux-gnu", "usr/lib/i386-linux-gnu")


def fetch():
    """Unpacks the packages into ROOT; done before if that is there."""
    state = PLACE / "apt"
    for directory in ("lists/partial", "archives/partial"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {"APT::Architecture": "i386", "APT::Architectures::": "i386", "Dir::State": state,
                "Dir::State::status": state / "status", "Dir::Cache": state, "APT::Install-Recommends": "0",
                "Debug::NoLocking": "1"}
    apt = ["apt-get", "-q", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    # A source of somebody else's that can't be reached is no reason to stop.
    subprocess.run([*apt, "update"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([*apt, "install", "-y", "--download-only", *NAMES], check=True, stdout=subprocess.DEVNULL)
    half = PLACE / "half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    for package in sorted((state / "archives").glob("*.deb")):
        if not package.name.startswith(("libc6_", "libc-bin_")):
            subprocess.run(["dpkg-deb", "-x", package, half], check=True)
    half.rename(ROOT)
    shutil.rmtree(state)


def lacks():
    if not os.path.exists("/lib/ld-linux.so.2"):
        return "there is no 32-bit libc"
    if ROOT.exists():
        return ""
    try:
        fetch()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"the packages can't be fetched: {error}"
    return ""


def environment():
    return {"LD_LIBRARY_PATH": ":".join(str(ROOT / d) for d in LIBRARIES),
            "PATH": f"{ROOT}/usr/bin:{ROOT}/bin:{os.environ['PATH']}", "PYTHONHOME": str(ROOT / "usr"),
            "PERL5LIB": ":".join(str(path) for pattern in ("usr/lib/i386-linux-gnu/perl*/5*", "usr/share/perl*/5*",
                                                           "usr/lib/i386-linux-gnu/perl-base", "usr/share/perl5")
                                 for path in sorted(ROOT.glob(pattern)))}


BASH = r"""echo $MACHTYPE; f() { for i in $(seq 40); do echo $(($1 * i)); done; }
    for j in 1 2 3 4; do f $j & done | sort -n | cksum; wait; seq 1000 | while read n; do echo $((n % 7)); done | sort | uniq -c
    coproc cat; echo through >&${COPROC[1]}; read -r line <&${COPROC[0]}; echo $line; kill $COPROC_PID; wait $COPROC_PID; echo $?
    trap 'echo got' USR1; kill -USR1 $$; sleep 0.01; (exit 5); echo $?; exec -a name bash -c 'echo $0; ulimit -s >/dev/null'"""

PYTHON = r"""
import asyncio, concurrent.futures, hashlib, queue, socket, struct, subprocess, threading
print(struct.calcsize("P"))
q, done = queue.Queue(), []
def work():
    while (n := q.get()) is not None: done.append(n * n)
ts = [threading.Thread(target=work) for _ in range(16)]
[t.start() for t in ts]; [q.put(n) for n in [*range(2000)] + [None] * 16]; [t.join() for t in ts]
print(sum(done), len(done))
s = socket.create_server(("127.0.0.1", 0))
def serve():
    for _ in range(40): threading.Thread(target=echo, args=(s.accept()[0],)).start()
def echo(c):
    with c:
        while data := c.recv(4096): c.sendall(data)
def client(i):
    with socket.create_connection(s.getsockname()) as c:
        got = b""
        for k in range(20): c.sendall(b"%d " % (i * k)); got += c.recv(64)
        return hashlib.sha256(got).hexdigest()[:6]
threading.Thread(target=serve).start()
with concurrent.futures.ThreadPoolExecutor(8) as p: print(*p.map(client, range(40)))
print([subprocess.run(["sh", "-c", f"exit {i}"]).returncode for i in range(5)])
with concurrent.futures.ProcessPoolExecutor(3) as p: print(sum(p.map(abs, range(-50, 50))))
async def main():
    print(sum(await asyncio.gather(*(asyncio.sleep(0.001 * (i % 5), i) for i in range(200)))))
    print(await asyncio.to_thread(sum, range(10)))
    p = await asyncio.create_subprocess_exec("echo", "sub", stdout=subprocess.PIPE); print(await p.communicate())
asyncio.run(main())
with open("f", "w+b") as f:
    f.seek(5 << 30); f.write(b"far"); f.flush(); f.seek(5 << 30); print(f.read())
"""

XZ = r"""seq 900000 >f; xz -T4 -1 --block-size=500KiB -k f; xz -t f.xz && xz -dc f.xz | cmp - f && echo same; cksum <f.xz
    xz -T4 -dc f.xz | cksum"""

SQLITE = r"""sqlite3 d 'pragma journal_mode=wal; create table t(x)'; for i in 1 2 3 4; do (for k in 1 2 3 4 5 6; do
    sqlite3 -cmd '.timeout 20000' d "insert into t values($i*100+$k)"; done) & done; wait; sqlite3 d 'select count(*), sum(x) from t'
    sqlite3 d 'pragma threads=4; with recursive n(i) as (select 1 union all select i+1 from n where i<100000)
    select sum(h) from (select i*7919%10007 as h from n order by h)'"""

MEMCACHED = r"""
import socket, subprocess, sys, threading, time
server = subprocess.Popen(["memcached", "-u", "root", "-s", "socket", "-t", "4"])
def talk(c, text, end):
    c.sendall(text); got = b""
    while not got.endswith(end): got += c.recv(65536)
    return got
def client(i):
    with socket.socket(socket.AF_UNIX) as c:
        c.connect("socket")
        for k in range(200): talk(c, b"set %d.%d 0 0 6\r\nv%05d\r\n" % (i, k, k), b"STORED\r\n")
        good[i] = all(b"v%05d" % k in talk(c, b"get %d.%d\r\n" % (i, k), b"END\r\n") for k in range(200))
for _ in range(500):
    try:
        with socket.socket(socket.AF_UNIX) as c: c.connect("socket")
        break
    except OSError: time.sleep(0.01)
good = {}
ts = [threading.Thread(target=client, args=(i,)) for i in range(16)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sorted(good.items()))
with socket.socket(socket.AF_UNIX) as c:
    c.connect("socket")
    print(*[line for line in talk(c, b"stats\r\n", b"END\r\n").decode().split("\r\n")
            if line.split(" ")[1:2] in (["cmd_get"], ["cmd_set"], ["get_hits"], ["threads"], ["pointer_size"])])
server.terminate(); print(server.wait())
"""

PERL = r"""
use strict; use threads; use threads::shared; use Thread::Queue; use Config; use IO::Select; use Socket;
print "$Config{archname} $Config{ptrsize}\n";
my $q = Thread::Queue->new; my $sum :shared = 0;
my @t = map { threads->create(sub { while (defined(my $n = $q->dequeue)) { lock $sum; $sum += $n } }) } 1 .. 4;
$q->enqueue(1 .. 2000); $q->end; $_->join for @t; print "$sum\n";
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0); my $pid = fork;
if (!$pid) { close $a; while (sysread $b, my $x, 100) { syswrite $b, uc $x } exit 3 }
close $b; for (1 .. 50) { syswrite $a, "line $_"; IO::Select->new($a)->can_read(5); sysread $a, my $x, 100; print "$x " }
close $a; waitpid $pid, 0; print $? >> 8, "\n";
local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; sleep 5; print `echo child`, join(",", sort { $b <=> $a } map { $_ * 37 % 101 } 1 .. 50), "\n";
"""


def cases():
    def case(name, *command):
        return Case(name, [str(part) for part in command], environment=environment())
    python = ROOT / "usr/bin/python3"
    bash = ROOT / "bin/bash"
    return [case("bash", bash, "-c", BASH), case("python3", python, "-c", PYTHON), case("xz", bash, "-c", XZ),
            case("sqlite3", bash, "-c", SQLITE), case("memcached", python, "-c", MEMCACHED),
            case("perl", ROOT / "usr/bin/perl", "-e", PERL)]


I386_SUITE = Suite("i386", "programs of Debian's i386 packages", ("gcc-multilib",), cases, lacks)

"""What a user runs first: a shell with job control at a terminal, PostgreSQL, and everyday tools."""
import os
import shutil

from suite import Case, HERE, PYTHON, Suite

DATA = HERE / "data"


def script(text, **more):
    return lambda name: Case(name, ["bash", "-c", text], **more)


def jobs_case():
    return Case("terminal", [PYTHON, "-B", str(DATA / "jobs.py"), "bash", "--norc", "--noediting", "-i"])


POSTGRESQL = r"""
set -e
bin=$(echo /usr/lib/postgresql/*/bin); here=$PWD
$bin/initdb -D data -A trust --no-sync >/dev/null
$bin/pg_ctl -D data -o "-k $here -c listen_addresses='' -c fsync=off" -l log -w start >/dev/null
$bin/createdb -h $here t
$bin/pgbench -h $here -i -q t 2>/dev/null
$bin/pgbench -h $here -c 8 -j 4 -t 200 t 2>/dev/null | grep -E 'processed|failed'
$bin/psql -h $here t -Atc 'select count(*) from pgbench_history; select sum(delta) = (select sum(abalance) from
  pgbench_accounts) from pgbench_history; set max_parallel_workers_per_gather=4; set min_parallel_table_scan_size=0;
  set parallel_setup_cost=0; set parallel_tuple_cost=0; select count(*) from pgbench_accounts; select pg_sleep(0.1)'
$bin/psql -h $here t -Atc 'set statement_timeout=100; select pg_sleep(5)' 2>&1 || echo "status $?"
$bin/pg_ctl -D data -m fast -w stop | tail -1
"""


def for_postgres(directory):
    shutil.chown(directory, "postgres", "postgres")
    os.chmod(directory, 0o755)


def postgresql_cases():
    command = ["bash", "-c", POSTGRESQL]
    if os.geteuid() == 0:  # the server refuses root; and libcr does not go through setuid programs
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        return [Case("pgbench", command, prepare=for_postgres, environment={"LIBCR_CACHE": "{d}/tables"})]
    return [Case("pgbench", command)]


TOOLS = {
    "tmux": r"""tmux -S s -f /dev/null new-session -d -x 80 -y 24 sh; tmux -S s send-keys 'echo a$((1+1))b' Enter; sleep 1
        tmux -S s capture-pane -p | grep -c a2b; tmux -S s split-window 'sleep 100'; tmux -S s list-panes | wc -l; tmux -S s kill-server""",
    "vim": r"""printf 'one\ntwo\n' >v; vim -es -u NONE -c '%s/o/0/g' -c "call append(0, system('echo sh')[:-2])" -c wq v; cat v
        vim -es -u NONE -c "let t = timer_start(30, {-> writefile(['timer'], 'w')})" -c 'sleep 300m' -c 'qa!'; cat w""",
    "openssl": r"""openssl speed -multi 2 -seconds 1 sha256 2>&1 | grep -c ^sha256
        head -c 100000 /dev/zero | openssl enc -aes-256-cbc -pbkdf2 -k x -S 0102030405060708 | sha256sum""",
    "curl": r"""seq 10000 >f; /usr/bin/python3 -m http.server 0 --bind 127.0.0.1 >log 2>&1 & sleep 1
        port=$(grep -oE 'port [0-9]+' log | cut -d' ' -f2); for i in 1 2 3; do curl -s http://127.0.0.1:$port/f | sha256sum; done
        curl -sZ http://127.0.0.1:$port/f http://127.0.0.1:$port/f | wc -c; kill %1; wait; echo $?""",
    "gdb": r"""printf '#include <pthread.h>\nint n;void*f(void*a){n++;return a;}int main(){pthread_t t;pthread_create(&t,0,f,0);pthread_join(t,0);return n+3;}' >p.c
        gcc -g -pthread p.c -o p; gdb -batch -ex 'break f' -ex run -ex 'print n' -ex finish -ex continue ./p 2>&1 | grep -E '^\$1|hit Breakpoint 1|exited with' |
        sed -E 's/0x[0-9a-f]+|process [0-9]+|Thread [0-9]+ //g'""",
    "strace": r"""strace -f -e trace=write -o t sh -c 'echo a | cat'; grep -c 'write(1, "a' t""",
    "dpkg": r"""mkdir -p root/var/lib/dpkg/{updates,info,triggers}; touch root/var/lib/dpkg/status; mkdir -p pk/DEBIAN pk/usr/share/x; echo f >pk/usr/share/x/f
        printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n' >pk/DEBIAN/control; dpkg-deb -b pk x.deb
        dpkg --root=root --force-not-root --force-script-chrootless --force-all -i x.deb 2>&1 | tail -1; dpkg --root=root -l x | tail -1""",
    "apt": r"""apt-cache policy bash | sha256sum; apt-get -s install hello 2>&1 | tail -1""",
    "cmake": r"""printf 'cmake_minimum_required(VERSION 3.20)\nproject(p C)\nadd_executable(a a.c b.c)\n' >CMakeLists.txt; echo 'int b(void);int main(){return b();}' >a.c
        echo 'int b(void){return 7;}' >b.c; cmake -G Ninja -B o . | tail -1 | cut -c1-20; ninja -C o | tail -1; o/a; echo $?
        gcc -O2 -flto=4 a.c b.c -o l; ./l; echo $?""",
    "sqlite3": r"""sqlite3 d 'pragma journal_mode=wal; create table t(x)'; for i in 1 2 3 4 5 6; do (for k in 1 2 3 4 5 6; do
        sqlite3 -cmd '.timeout 20000' d "insert into t values($i*100+$k)"; done) & done; wait; sqlite3 d 'select count(*), sum(x) from t'""",
    "git": r"""git init -q -b m a; cd a; for i in $(seq 50); do seq $i >f$i; done; git add .; git -c user.email=a@b -c user.name=n commit -qm x; cd ..
        git clone -q "file://$PWD/a" b; cd b; git fetch -q; git log --format=%s; git gc -q; git fsck 2>&1 | wc -l""",
}

JOBS_SUITE = Suite("jobs", "a shell's job control at a terminal", ("bash",), lambda: [jobs_case()])
POSTGRESQL_SUITE = Suite("postgresql", "PostgreSQL under pgbench", ("postgresql", "util-linux"), postgresql_cases)
TOOLS_SUITE = Suite("tools", "everyday programs",
                    ("tmux", "vim", "openssl", "curl", "gdb", "strace", "apt", "cmake", "ninja-build", "gcc", "libc6-dev", "sqlite3", "git"),
                    lambda: [script(text)(name) for name, text in TOOLS.items()])

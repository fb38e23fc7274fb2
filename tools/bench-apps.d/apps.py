"""What is measured: for each program how it is started, loaded, and asked whether it is right.

An App lives for one run: `directory` is its own. All servers run in the foreground with data, sockets and
ports of their own. check() asks for results that are the same in each run; load() gives what the tool says.
"""
import dataclasses
import hashlib
import http.client
import os
import pathlib
import random
import re
import shutil
import socket
import sys
import time

import servers
from servers import Failure

ROOT = os.geteuid() == 0
PAGE = 4096


@dataclasses.dataclass
class Load:
    requests: float       # finished (for copies: megabytes)
    seconds: float
    p99_ms: float = None  # if the tool says it


class App:
    name = title = unit = ""
    packages = []
    connections = (64,)
    stop_status = (0,)

    def __init__(self, directory, connections, shared):
        self.directory, self.connections_now, self.shared = directory, connections, shared
        self.port = servers.free_port()

    @classmethod
    def prepare_once(cls, shared):
        """What all runs use, made natively, in the directory `shared`."""

    def command(self): raise NotImplementedError
    def ready(self): return connects(self.port)
    def check(self): raise NotImplementedError
    def load(self, cpu, seconds): raise NotImplementedError


def connects(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def text_file(path, size):
    rng = random.Random(1)
    path.write_bytes(bytes(rng.choice(b"abcdefgh \n") for _ in range(size)))


def find(pattern, output, what):
    match = re.search(pattern, output, re.MULTILINE)
    if not match:
        raise Failure(f"{what} said nothing that is understood: {servers.last_line(output.encode())}")
    return match


def milliseconds(value):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", value).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]


def wrk(app, cpu, seconds):
    output = servers.run(servers.pinned(cpu, ["wrk", "--latency", "-t1", "-c", app.connections_now, "-d", f"{seconds}s",
                                              "--timeout", "20s", f"http://127.0.0.1:{app.port}/page"]), seconds + 40)
    if errors := re.search(r"Socket errors:.*|Non-2xx.*", output):
        raise Failure(f"wrk: {errors[0]}")
    done = find(r"(\d+) requests in ([\d.]+[mu]?s?),", output, "wrk")
    return Load(float(done[1]), milliseconds(done[2]) / 1e3, milliseconds(find(r"^\s+99%\s+([\d.]+[mu]?s)$", output, "wrk")[1]))


def ab(app, cpu, seconds):
    output = servers.run(servers.pinned(cpu, ["ab", "-q", "-k", "-t", seconds, "-n", 10 ** 8, "-c", app.connections_now,
                                              f"http://127.0.0.1:{app.port}/page"]), seconds + 40)
    if (failed := find(r"Failed requests:\s+(\d+)", output, "ab")[1]) != "0":
        raise Failure(f"ab: {failed} failed requests")
    if bad := re.search(r"Non-2xx responses:\s+(\d+)", output):
        raise Failure(f"ab: {bad[1]} bad responses")
    return Load(float(find(r"Complete requests:\s+(\d+)", output, "ab")[1]),
                float(find(r"Time taken for tests:\s+([\d.]+)", output, "ab")[1]),
                float(find(r"^\s+99%\s+(\d+)", output, "ab")[1]))


class HttpApp(App):
    unit = "requests"

    def prepare_pages(self):
        pages = self.directory / "pages"
        pages.mkdir()
        text_file(pages / "page", PAGE)
        text_file(pages / "big", 700_001)
        for path in (self.directory, pages, *pages.iterdir()):
            path.chmod(0o755)
        return pages

    def check(self):
        said = []
        for method, path, head in (("GET", "/page", {}), ("GET", "/big", {}), ("HEAD", "/big", {}), ("GET", "/none", {}),
                                   ("GET", "/page", {})):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            connection.request(method, path, headers=head)
            answer = connection.getresponse()
            body = answer.read()
            said.append((answer.status, hashlib.sha256(body).hexdigest() if answer.status == 200 else len(body) > 0))
            connection.close()
        return said


class Apache(HttpApp):
    packages = ["apache2-bin", "apache2-utils", "wrk", "media-types"]
    connections = (64, 512)
    mpm = ""

    def command(self):
        here, modules = self.directory, "/usr/lib/apache2/modules"
        pages = self.prepare_pages()
        user = "User www-data\nGroup www-data\n" if ROOT else ""
        (here / "conf").write_text(f"""ServerRoot {here}
Listen 127.0.0.1:{self.port}
ServerName localhost
{user}PidFile {here}/pid
DefaultRuntimeDir {here}
Mutex file:{here} default
ErrorLog {here}/error
LogLevel warn
LoadModule mpm_{self.mpm}_module {modules}/mod_mpm_{self.mpm}.so
LoadModule authz_core_module {modules}/mod_authz_core.so
DocumentRoot {pages}
<Directory {pages}>
  Require all granted
</Directory>
StartServers 1
ServerLimit 1
ThreadLimit 1024
ThreadsPerChild 1024
MaxRequestWorkers 1024
MinSpareThreads 1
MaxSpareThreads 1024
KeepAlive On
MaxKeepAliveRequests 0
""")
        return ["/usr/sbin/apache2", "-DFOREGROUND", "-f", here / "conf"]

    load = ab


class ApacheWorker(Apache):
    name, title, mpm = "apache-worker", "Apache, worker MPM", "worker"


class ApacheEvent(Apache):
    name, title, mpm = "apache-event", "Apache, event MPM", "event"
    load = wrk


class Nginx(HttpApp):
    name, title = "nginx", "nginx"
    packages = ["nginx-light", "wrk"]
    connections = (64, 512)
    load = wrk

    def command(self):
        here, pages = self.directory, self.prepare_pages()
        temps = "\n".join(f"{kind}_temp_path {here}/{kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (here / "conf").write_text(f"""daemon off;
{"user root;" if ROOT else ""}
worker_processes 1;
worker_rlimit_nofile 4096;
pid {here}/pid;
error_log {here}/error;
events {{ worker_connections 2048; }}
http {{
{temps}
access_log off;
keepalive_requests 1000000000;
server {{ listen 127.0.0.1:{self.port} backlog=1024; root {pages}; }}
}}
""")
        return ["/usr/sbin/nginx", "-p", here, "-e", here / "error", "-c", here / "conf"]


class PythonHttp(HttpApp):
    name, title = "python-http", "python3 ThreadingHTTPServer"
    packages = ["python3", "wrk"]
    load = wrk

    def command(self):
        pages = self.prepare_pages()
        (self.directory / "server.py").write_text(f"""import http.server, os, signal, sys, threading
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def log_message(self, *said): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
os.chdir({str(pages)!r})
server = Server(("127.0.0.1", {self.port}), Handler)
signal.signal(signal.SIGTERM, lambda *what: threading.Thread(target=server.shutdown).start())
server.serve_forever()
""")
        return ["/usr/bin/python3", "-B", self.directory / "server.py"]


class Memcached(App):
    name, title, unit = "memcached", "memcached -t 4", "operations"
    packages = ["memcached", "libmemcached-tools"]
    connections = (64, 512)

    def command(self):
        user = ["-u", "nobody"] if ROOT else []
        return ["/usr/bin/memcached", *user, "-t", 4, "-p", self.port, "-U", 0, "-l", "127.0.0.1", "-c", 4096]

    def check(self):
        said = []
        with socket.create_connection(("127.0.0.1", self.port), 20) as s, s.makefile("rwb") as f:
            for number, size in enumerate((0, 1, 100, 5000, 500_000)):
                f.write(b"set key%d %d 0 %d\r\n" % (number, number, size) + b"v" * size + b"\r\n")
                f.flush()
                said.append(f.readline())
            f.write(b"get key0 key1 key2 key3 key4 none\r\n")
            f.flush()
            digest = hashlib.sha256()
            for line in iter(f.readline, b"END\r\n"):
                digest.update(line)
            said.append(digest.hexdigest())
            f.write(b"set n 0 0 1\r\n1\r\nincr n 41\r\ndelete key0\r\nget key0\r\nadd n 0 0 1\r\n2\r\n")
            f.flush()
            said += [f.readline() for _ in range(5)]
        return [str(line) for line in said]

    def load(self, cpu, seconds):
        output = servers.run(servers.pinned(cpu, ["memcaslap", "-s", f"127.0.0.1:{self.port}", "-t", f"{seconds}s",
                                                  "-c", self.connections_now, "-T", 1, "-X", 64, "-w", "1k"]), seconds + 60)
        done = find(r"Run time: ([\d.]+)s Ops: (\d+)", output, "memcaslap")
        return Load(float(done[2]), float(done[1]))


class Redis(App):
    name, title, unit = "redis", "redis-server", "requests"
    packages = ["redis-server", "redis-tools"]

    def command(self):
        return ["/usr/bin/redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory,
                "--save", "", "--daemonize", "no", "--maxclients", 4096]

    def check(self):
        def ask(*words):
            return servers.run(["redis-cli", "-p", self.port, *words], 30)
        said = [ask("set", "key", "value"), ask("get", "key"), ask("append", "key", "x" * 60_000), ask("strlen", "key"),
                ask("eval", "local n = 0 for i = 1, 10000 do n = redis.call('incr', 'n') end return n", 0),
                ask("rpush", "list", *(str(n * 7 % 100) for n in range(200))), ask("sort", "list", "limit", 0, 20),
                ask("bgsave")]  # a fork beside its threads
        while "rdb_bgsave_in_progress:1" in ask("info", "persistence"):
            time.sleep(0.05)
        said.append(re.search(r"rdb_last_bgsave_status:\w+", ask("info", "persistence"))[0])
        said.append(str((self.directory / "dump.rdb").stat().st_size > 1000))
        return said

    def load(self, cpu, seconds):
        def bench(count):
            start = time.monotonic()
            output = servers.run(servers.pinned(cpu, ["redis-benchmark", "-p", self.port, "-c", self.connections_now,
                                                      "-n", count, "-t", "get", "--csv"]), 60 + seconds * 20)
            row = find(r'"GET","([\d.]+)","[\d.]+","[\d.]+","[\d.]+","[\d.]+","([\d.]+)"', output, "redis-benchmark")
            return Load(count, count / float(row[1]), float(row[2]))
        # It takes a number of requests, not a time: the shared file keeps the first run's rate for all.
        known = pathlib.Path(self.shared) / "rate"
        if not known.exists():
            probe = bench(20_000)
            known.write_text(str(int(probe.requests / probe.seconds * seconds)))
        return bench(max(1000, int(known.read_text())))


class MariaDB(App):
    name, title, unit = "mariadb", "MariaDB, a thread per connection", "transactions"
    packages = ["mariadb-server", "mariadb-client", "sysbench"]
    connections = (8, 64, 512)
    test = "oltp_point_select"

    @classmethod
    def prepare_once(cls, shared):
        servers.run(["mariadb-install-db", "--no-defaults", f"--datadir={shared / 'data'}",
                     "--auth-root-authentication-method=normal", "--skip-test-db",
                     *(["--user=root"] if ROOT else [])], 120)
        app = cls(shared, 1, shared)
        server = servers.Server(app.daemon(shared / "data"), shared / "prepare.log")
        try:
            server.wait_ready(app.ready)
            app.sql("create database sbtest")
            servers.run([*app.sysbench(), "prepare"], 120)
            server.stop()
        finally:
            server.kill()

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.socket = self.directory / "sock"

    def daemon(self, data):
        return ["/usr/sbin/mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={self.socket}",
                f"--port={self.port}", "--bind-address=127.0.0.1", f"--pid-file={self.directory / 'pid'}",
                "--thread-handling=one-thread-per-connection", "--max-connections=2000", "--skip-log-bin",
                "--table-open-cache=4000", "--innodb-buffer-pool-size=256M", "--innodb-flush-log-at-trx-commit=2",
                *(["--user=root"] if ROOT else [])]

    def command(self):
        shutil.copytree(self.shared / "data", self.directory / "data")
        return self.daemon(self.directory / "data")

    def sql(self, statements):
        return servers.run(["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch",
                            "-e", statements], 60)

    def sysbench(self):
        return ["sysbench", "--db-driver=mysql", f"--mysql-socket={self.socket}", "--mysql-user=root",
                "--tables=2", "--table-size=10000", "--percentile=99", "--rand-seed=7", self.test]

    def ready(self):
        try:
            self.sql("select 1")
        except Failure:
            return False
        return True

    def check(self):
        return self.sql("""use sbtest; create table t(a int primary key, b varchar(200)) engine=innodb;
            insert into t select seq, md5(seq) from seq_1_to_5000; start transaction; delete from t where a % 2;
            select count(*) from t; rollback; select count(*), md5(group_concat(b order by a)) from t where a < 40;
            alter table t add index(b); check table t; select a from t where b like 'ff%' order by b limit 5;
            select sleep(0.05); drop table t;""").split()

    def load(self, cpu, seconds):
        output = servers.run(servers.pinned(cpu, [*self.sysbench(), f"--threads={self.connections_now}",
                                                  f"--time={seconds}", "run"]), seconds + 90)
        return Load(float(find(r"transactions:\s+(\d+)", output, "sysbench")[1]),
                    float(find(r"total time:\s+([\d.]+)s", output, "sysbench")[1]),
                    float(find(r"99th percentile:\s+([\d.]+)", output, "sysbench")[1]))


class MariaDBWrites(MariaDB):
    name, title, test = "mariadb-rw", "MariaDB, reads and writes", "oltp_read_write"
    connections = (8,)


class Copy(App):
    """A program that ends by itself: its load is the whole run, over a local pipe, again and again."""
    unit = "megabytes"
    connections = (1,)

    @classmethod
    def prepare_once(cls, shared):
        tree = shared / "tree"
        for number in range(200):
            folder = tree / f"d{number % 20}"
            folder.mkdir(parents=True, exist_ok=True)
            rng = random.Random(number)
            (folder / f"f{number}").write_bytes(rng.randbytes(1 << 16) * (1 + number % 16))

    def megabytes(self):
        return sum(p.stat().st_size for p in (self.shared / "tree").rglob("*") if p.is_file()) / 1e6

    def remove(self):
        shutil.rmtree(self.directory / "copy", ignore_errors=True)


class Rsync(Copy):
    name, title = "rsync", "rsync over a local pipe"
    packages = ["rsync"]

    def command(self):
        shell = self.directory / "shell"
        shell.write_text('#!/bin/sh\nshift\nexec "$@"\n')
        shell.chmod(0o755)
        return ["/usr/bin/rsync", "-a", "--checksum", f"--rsh={shell}", f"{self.shared}/tree/",
                f"there:{self.directory}/copy/"]

    def check(self):
        return tree_digest(self.directory / "copy")


class Ssh(Copy):
    name, title = "ssh", "ssh and sshd over a local pipe"
    packages = ["openssh-client", "openssh-server"]

    def command(self):
        here = self.directory
        if ROOT:
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
        for key in ("host", "user"):
            servers.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / key], 30)
        shutil.copy(here / "user.pub", here / "authorized")
        (here / "sshd_config").write_text(f"HostKey {here}/host\nAuthorizedKeysFile {here}/authorized\nStrictModes no\n"
                                          "UsePAM no\nPermitRootLogin yes\nPidFile none\nPrintMotd no\nPrintLastLog no\n"
                                          "SetEnv SHLVL=2\n")  # bash reads no .bashrc then: what is in it is not ours to measure
        (here / "ssh_config").write_text(
            f"ProxyCommand /usr/sbin/sshd -i -f {here}/sshd_config\nIdentityFile {here}/user\nIdentitiesOnly yes\n"
            f"StrictHostKeyChecking no\nUserKnownHostsFile {here}/known\nBatchMode yes\nLogLevel ERROR\n")
        (here / "go").write_text(f"#!/bin/sh\nset -e\nmkdir {here}/copy\ncd {self.shared}/tree\n"
                                 f"tar cf - . | ssh -F {here}/ssh_config localhost 'cd {here}/copy && tar xf -'\n")
        return ["/bin/sh", here / "go"]

    def check(self):
        return tree_digest(self.directory / "copy")


def tree_digest(top):
    digest = hashlib.sha256()
    for path in sorted(p for p in top.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(top)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return [digest.hexdigest()]


APPS = [Memcached, MariaDB, MariaDBWrites, ApacheWorker, ApacheEvent, Nginx, Redis, PythonHttp, Rsync, Ssh]

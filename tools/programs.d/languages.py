"""Programs of our own for runtimes that are not: Java's, node's, Go's, Erlang's. Each prints what depends on no timing."""
import os
import re
import shutil
import subprocess

from suite import Case, HERE, Suite

DATA = HERE / "data"
COLLECTORS = ("Serial", "Parallel", "G1", "Shenandoah", "Z")


def copy(name):
    return lambda directory: shutil.copy(DATA / name, directory)


def compile_java(directory):
    subprocess.run(["javac", "-d", directory, DATA / "Prog.java"], check=True)


def java_cases():
    for collector in COLLECTORS:
        yield Case(collector, ["java", f"-XX:+Use{collector}GC", "-Xmx64m", "-cp", "{d}", "Prog"], prepare=compile_java)
    yield Case("interpreter", ["java", "-Xint", "-XX:+UseSerialGC", "-Xmx64m", "-cp", "{d}", "Prog"], prepare=compile_java)
    yield Case("compiler", ["javac", "-d", "{d}/out", str(DATA / "Prog.java")])


def go_environment(directory):
    return {**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "", "HOME": directory,
            "GOCACHE": os.path.join(os.path.dirname(directory), "go-cache")}


def go_build(source, flags):
    return lambda directory: subprocess.run(["go", "build", "-o", f"{directory}/prog", "-ldflags", flags, str(DATA / source)],
                                            check=True, env=go_environment(directory))


def go_cases():
    yield Case("internal", ["{d}/prog"], prepare=go_build("prog.go", "-linkmode internal"))
    yield Case("external", ["{d}/prog"], prepare=go_build("prog.go", "-linkmode external"))
    yield Case("stripped", ["{d}/prog"], prepare=go_build("prog.go", "-linkmode internal -s -w"))
    yield Case("stacks", ["{d}/prog"], prepare=go_build("stacks.go", "-linkmode internal"))
    for package in GO_TESTED:
        yield go_test(package)


# Go's own tests, where they touch the kernel.
GO_TESTED = ("runtime", "os", "os/exec", "os/signal", "syscall", "sync", "net", "net/http")


def go_test(package):
    def build(directory):
        subprocess.run(["go", "test", "-c", "-ldflags", "-linkmode external", "-o", f"{directory}/tests", package], check=True,
                       env=go_environment(directory))

    def results(run):
        return {name: how for how, name in re.findall(r"^ *--- (PASS|FAIL|SKIP): (\S+)", run.out, re.M)}

    command = f'cd "$(go env GOROOT)/src/{package}" && exec {{d}}/tests -test.short -test.v'
    return Case(package.replace("/", "-"), ["sh", "-c", command], results, build, timeout=300,
                environment={"GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOCACHE": "{d}/cache"})


def compile_erlang(directory):
    subprocess.run(["erlc", "-o", directory, DATA / "heaps.erl"], check=True)


def erlang_cases():
    for schedulers in (1, 2, 6):
        yield Case(f"schedulers-{schedulers}", ["erl", "+S", f"{schedulers}:{schedulers}", "-noshell", "-pa", "{d}", "-s", "heaps", "main"],
                   prepare=compile_erlang)


JAVA_SUITE = Suite("java", "OpenJDK: threads, locks, collectors, safepoints and faults", ("openjdk-17-jdk-headless",),
                   lambda: list(java_cases()))
NODE_SUITE = Suite("node", "node: workers, its thread pool, children, sockets", ("nodejs",),
                   lambda: [Case("workers", ["node", "{d}/workers.js"], prepare=copy("workers.js"))])
GO_SUITE = Suite("go", "Go: goroutines on threads, linked with libc; its own tests", ("golang-go", "golang-src", "gcc", "libc6-dev"),
                 lambda: list(go_cases()))
ERLANG_SUITE = Suite("erlang", "Erlang: schedulers, processes' heaps, sockets and ports", ("erlang-base",),
                     lambda: list(erlang_cases()))

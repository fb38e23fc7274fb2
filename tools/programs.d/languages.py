"""Programs of our own for runtimes that are not: Java's, node's, Go's. Each prints what depends on no timing."""
import os
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


def go_cases():
    environment = {"GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    for linking in ("internal", "external"):
        def build(directory, linking=linking):
            subprocess.run(["go", "build", "-o", f"{directory}/prog", "-ldflags", f"-linkmode {linking}", str(DATA / "prog.go")],
                           check=True, env={**os.environ, **environment, "GOCACHE": f"{directory}/cache", "HOME": directory})
        yield Case(linking, ["{d}/prog"], prepare=build)


JAVA_SUITE = Suite("java", "OpenJDK: threads, locks, collectors, safepoints and faults", ("openjdk-17-jdk-headless",),
                   lambda: list(java_cases()))
NODE_SUITE = Suite("node", "node: workers, its thread pool, children, sockets", ("nodejs",),
                   lambda: [Case("workers", ["node", "{d}/workers.js"], prepare=copy("workers.js"))])
GO_SUITE = Suite("go", "Go: goroutines on threads, linked with libc", ("golang-go", "gcc", "libc6-dev"), lambda: list(go_cases()))

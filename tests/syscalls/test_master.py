"""syscalls.master against the installed kernel headers, and the generator against malformed tables."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

MASTER = os.environ["CR_MASTER"]
GENERATOR = os.environ["CR_MAKESYSCALLS"]

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(GENERATOR))
import makesyscalls  # noqa: E402


def header_numbers(header):
    source = f"#include <{header}>\n"
    out = subprocess.run(
        [os.environ["CR_CC"], "-E", "-dM", "-"], input=source, capture_output=True, text=True, check=True
    ).stdout
    return {name: int(nr) for name, nr in re.findall(r"#define __NR_(\w+) (\d+)", out)}


def generate(text, *options):
    """Runs the generator on a table: (status, its messages without the path, files written)."""
    with tempfile.TemporaryDirectory() as directory:
        path, out = os.path.join(directory, "t.master"), os.path.join(directory, "out")
        with open(path, "w") as f:
            f.write(text)
        run = subprocess.run([sys.executable, GENERATOR, *options, path, out], capture_output=True, text=True)
        files = {}
        for where, _, names in os.walk(out):
            for name in names:
                full = os.path.join(where, name)
                with open(full) as f:
                    files[os.path.relpath(full, out)] = f.read()
        return run.returncode, run.stderr.replace(path, "t.master"), files


class Numbers(unittest.TestCase):
    def compare(self, arch, header):
        master = makesyscalls.Master(MASTER)
        self.assertEqual(master.errors, [])
        ours = {r.name: r.nr[arch] for r in master.rows if r.nr[arch] is not None}
        known = header_numbers(header)
        self.assertGreater(len(known), 300)
        self.assertEqual({n: (nr, ours.get(n)) for n, nr in known.items() if ours.get(n) != nr}, {})

    def test_every_call_of_the_x86_64_header_is_a_row_with_its_number(self):
        self.compare("x86_64", "asm/unistd_64.h")

    def test_every_call_of_the_i386_header_is_a_row_with_its_number(self):
        self.compare("i386", "asm/unistd_32.h")

    def test_calls_after_424_have_one_number_on_both_architectures(self):
        for row in makesyscalls.Master(MASTER).rows:
            if (row.nr["x86_64"] or 0) >= 424:
                self.assertEqual(row.nr["i386"], row.nr["x86_64"], row.name)


GOOD = "0 0 block { ssize_t read(int fd, void *buf, size_t count); } read@GLIBC_2.2.5,cancel\n"


class Generator(unittest.TestCase):
    def rejects(self, text, *messages):
        status, stderr, files = generate(text)
        self.assertEqual(status, 1)
        self.assertEqual(files, {}, "a rejected table must write nothing")
        self.assertEqual(len(stderr.splitlines()), len(messages), stderr)
        for message in messages:
            self.assertIn(message, stderr)

    def test_accepts_a_good_table_and_repeats_itself(self):
        first, second = generate(GOOD), generate(GOOD)
        self.assertEqual(first, second)
        status, stderr, files = first
        self.assertEqual((status, stderr), (0, ""))
        self.assertEqual(
            set(files), {"libcr/sysunion.h", "libcr/syssend.h", "sysent.h", "sysent.inc", "sysdesc.inc", "wrappers.c", "wrappers.map"}
        )
        self.assertIn("SYSARG(void *, buf);", files["libcr/sysunion.h"])

    def test_the_real_table_generates_for_i386(self):
        with open(MASTER) as f:
            status, stderr, files = generate(f.read(), "--arch", "i386")
        self.assertEqual((status, stderr), (0, ""))
        self.assertIn("#define CR_SYS_read 3\n", files["libcr/sysunion.h"])
        self.assertIn("GLIBC_2.0 {", files["wrappers.map"])

    def test_rejects_a_line_that_is_no_row(self):
        self.rejects("# head\n\n0 0 trap ssize_t read(int fd);\n", "t.master:3: expected: i386 x86_64 serve")

    def test_rejects_bad_numbers(self):
        self.rejects("0x3 0 trap { int a(void); }\n", "t.master:1: '0x3' is neither a call number nor '-'")
        self.rejects("- - trap { int a(void); }\n", "t.master:1: a row needs a number")

    def test_rejects_bad_serve(self):
        self.rejects("0 0 maybe { int a(void); }\n", "t.master:1: serve 'maybe' is not one of")
        self.rejects("- 0 trap/user { int a(void); }\n", "t.master:1: serve 'trap/user' for two")
        self.rejects("0 0 trap/trap { int a(void); }\n", "t.master:1: serve 'trap/trap' says the same twice")
        self.rejects("0 0 trap/user/gone { int a(void); }\n", "t.master:1: serve 'trap/user/gone' is not")

    def test_rejects_bad_prototypes(self):
        for proto, message in {
            "int a(void)": "does not end with ';'",
            "int a();": "write (void)",
            "a(void);": "is not a prototype",
            "int a(int);": "argument 'int' is not 'type name'",
            "int a(int x[2]);": "argument 'int x[2]' is not",
            "int a(int x,);": "argument '' is not",
            "int a(int x, int x);": "two arguments have the same name",
            "int a(int x, ...);": "no variable arguments",
            "int a(int b, int c, int d, int e, int f, int g, int h);": "7 arguments",
        }.items():
            self.rejects(f"0 0 trap {{ {proto} }}\n", "t.master:1: ")
            self.assertIn(message, generate(f"0 0 trap {{ {proto} }}\n")[1])

    def test_rejects_duplicate_numbers_and_names(self):
        self.rejects(
            "0 0 trap { int a(void); }\n1 0 trap { int b(void); }\n0 1 trap { int c(void); }\n",
            "t.master:3: i386 0 is a already, at line 1",
            "t.master:2: x86_64 0 is a already, at line 1",
        )
        self.rejects(
            "0 0 trap { int a(void); }\n- 1 trap { int a(int x); }\n", "t.master:2: x86_64 a has a row already, at line 1"
        )

    def test_rejects_an_undeclared_hole_and_a_hole_that_is_none(self):
        two = "0 0 trap { int a(void); }\n1 4 trap { int b(void); }\n"
        self.rejects(two, "t.master:2: x86_64 1-3 before b is neither a row nor a hole")
        self.rejects(two + "hole x86_64 1-2 why\n", "t.master:2: x86_64 3 before b is neither")
        self.rejects(two + "hole x86_64 1-4 why\n", "t.master:3: x86_64 4 is no hole: b, line 2")
        self.rejects(two + "hole x86_64 1-3 why\nhole i386 2 why\n", "t.master:4: i386 2 is past the last call")
        self.rejects(two + "hole x86_64 1-3 why\nhole x86_64 3 why\n", "t.master:4: x86_64 3 is declared a hole")
        self.rejects(GOOD + "hole arm 3 why\n", "t.master:2: expected: hole")
        self.rejects(GOOD + "hole i386 3\n", "t.master:2: expected: hole")

    def test_rejects_bad_wrappers(self):
        row = "0 0 trap { int a(int x); } "
        self.rejects(row + "a\n", "t.master:1: 'a' is neither NAME@GLIBC_x.y[/x.y] nor")
        self.rejects(row + "a@2.2.5\n", "t.master:1: 'a@2.2.5' is neither")
        self.rejects(row + "a@GLIBC_2.2.5,cancle\n", "t.master:1: 'cancle' is neither")
        self.rejects(row + "cancel\n", "t.master:1: wrapper without a symbol")
        self.rejects(row + "a@GLIBC_2.2.5,special\n", "t.master:1: a is special, but the generator has no body")
        self.rejects(row + "a@GLIBC_2.2.5,poserr,noreturn\n", "t.master:1: a: flags noreturn, poserr exclude")
        self.rejects("0 - trap { int a(void); } a@GLIBC_2.0/2.2.5\n", "t.master:1: a: a version for an architecture")
        self.rejects("0 0 trap { int a(void); } a@GLIBC_2.1/2.1\n", "t.master:1: a: write one version for both")
        self.rejects(row + "\n= { int b(void); } b@GLIBC_2.2.5\n", "t.master:2: b: 0 arguments for the 1 of a")
        self.rejects(row + "\n= { int b(...); } (1) b@GLIBC_2.2.5\n", "t.master:2: b: variable arguments need")
        self.rejects("= { int b(void); } b@GLIBC_2.2.5\n" + GOOD, "t.master:1: '=' belongs to a row")
        self.rejects(GOOD + "lib { int b(void); } b@GLIBC_2.2.5\n", "t.master:2: a lib wrapper")
        self.rejects(GOOD + "nowrap read why\n", "t.master:1: symbol read has a nowrap row, at line 2")
        self.rejects(GOOD + GOOD.replace("0 0", "1 1").replace(" read(", " b("), "t.master:2: symbol read is exported")
        self.rejects(GOOD + "nowrap b why\nnowrap b why\n", "t.master:3: b has a nowrap row already")

    def test_reports_every_fault_of_a_table_in_one_run(self):
        self.rejects("0 0 trap { int a(int); }\nfoo\n" + GOOD, "t.master:1: ", "t.master:2: ")

    def test_an_empty_table_is_an_error(self):
        self.rejects("# nothing\n", "t.master:1: no row for x86_64")


if __name__ == "__main__":
    unittest.main()

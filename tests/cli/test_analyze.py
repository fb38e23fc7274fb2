"""cr analyze: the listing, and the table file, which the preload has written into its cache."""
import os
import pathlib
import stat
import struct
import subprocess
import unittest

import cli

LIBC = next((path for path in ("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6")
             if os.path.exists(path)), None)
HEADER = struct.Struct("<IHHII32sIIII")  # SiteTableHeader in src/gate/sitetable.h
MAGIC = 0x54535243
SITE_SIZE = 72


@unittest.skipIf(LIBC is None, "no libc.so.6 found")
class Analyze(cli.Case):
    def analyze(self, *arguments):
        result = self.run_cr("analyze", *arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def header(self, path):
        data = pathlib.Path(path).read_bytes()
        magic, _, _, sites, _, build_id, length, _, locks, _ = HEADER.unpack_from(data)
        self.assertEqual((magic, len(data)), (MAGIC, HEADER.size + sites * SITE_SIZE + locks * 4))
        return sites, build_id[:length].hex()

    def test_listing_counts_what_the_table_holds(self):
        self.analyze("-o", "table", LIBC)
        sites, build_id = self.header(self.work / "table")
        first, *rules = self.analyze(LIBC).splitlines()
        self.assertTrue(first.startswith(f"{LIBC}: build-id {build_id}, {sites} sites"), first)
        self.assertEqual([line.split()[0] for line in rules], ["P", "A", "B", "X", "skip"])
        self.assertEqual(sum(int(line.split()[1]) for line in rules), sites)

    def test_verbose_lists_every_site(self):
        sites, _ = self.header_of_libc()
        lines = self.analyze("-v", LIBC).splitlines()
        self.assertEqual(len([line for line in lines if not line.startswith("note: ")]), 6 + sites)
        self.assertRegex(lines[6], r"^ *[0-9a-f]+  (P|A|B|X|skip) +\w+ +\w+ +[0-9a-f]+$")

    def header_of_libc(self):
        self.analyze("-o", "table", LIBC)
        return self.header(self.work / "table")

    def test_table_replaces_an_older_one_and_leaves_no_other_file(self):
        self.file("table", "older")
        self.header_of_libc()
        self.assertEqual([path.name for path in self.work.iterdir()], ["table"])

    def test_tables_written_at_the_same_time_are_whole(self):
        table = self.work / "cache" / "x.sites"
        table.parent.mkdir()
        processes = [subprocess.Popen([self.cr, "analyze", LIBC, "-o", table]) for _ in range(4)]
        self.assertEqual([process.wait() for process in processes], [0] * 4)
        self.header(table)
        self.assertEqual(list(table.parent.iterdir()), [table])

    def test_a_device_is_not_replaced(self):
        result = self.run_cr("analyze", "-o", "/dev/null", LIBC)
        self.assert_refused(result, 1, "/dev/null", "not a regular file")
        self.assertTrue(pathlib.Path("/dev/null").is_char_device())

    def test_table_is_for_its_owner_alone_to_write(self):
        self.header_of_libc()
        self.assertEqual(stat.S_IMODE((self.work / "table").stat().st_mode) & 0o022, 0)

    def test_objects_that_can_not_be_analysed(self):
        self.file("text", "no ELF here")
        for name in ("./text", "./nowhere"):
            result = self.run_cr("analyze", name, "-o", "table")
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn(name, result.stderr)
        self.assertEqual([path.name for path in self.work.iterdir()], ["text"])

    def test_directory_that_is_not_there(self):
        result = self.run_cr("analyze", LIBC, "-o", "no/where")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no", result.stderr)

    def test_bad_command_lines(self):
        for arguments in ((), ("-x", LIBC), (LIBC, LIBC)):
            self.assertEqual(self.run_cr("analyze", *arguments).returncode, 2)


if __name__ == "__main__":
    cli.main()

"""cr syscalls prints the generated table: well-known rows, filters, JSON."""
import json

import cli


class Syscalls(cli.Case):
    def lines(self, *options):
        result = self.run_cr("syscalls", *options)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout.splitlines()

    def calls(self, *options):
        result = self.run_cr("syscalls", "--json", *options)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return json.loads(result.stdout)

    def test_read_has_its_number_and_arguments(self):
        self.assertRegex(self.lines()[0], r"^   0  \w+ +read\(int fd, void \*buf, size_t count\)$")
        self.assertRegex("\n".join(self.lines("--arch", "i386")), r"(?m)^   3  \w+ +read\(")

    def test_numbers_ascend_and_are_unique(self):
        for arch in ("x86_64", "i386"):
            numbers = [call["number"] for call in self.calls("--arch", arch)]
            self.assertEqual(numbers, sorted(set(numbers)))
            self.assertGreater(len(numbers), 300)

    def test_json_says_what_the_text_says(self):
        self.assertEqual([(call["number"], call["served"], call["name"]) for call in self.calls()],
                         [(int(line.split()[0]), line.split()[1], line.split()[2].split("(")[0])
                          for line in self.lines()])

    def test_json_row(self):
        read = self.calls()[0]
        self.assertEqual(read["returns"], "ssize_t")
        self.assertEqual([argument["type"] for argument in read["arguments"]], ["int", "void *", "size_t"])
        self.assertIn("read", read["wrappers"])

    def test_filters_split_the_table(self):
        words = ("user", "quick", "async", "trap", "block", "whole", "fold", "gone")
        parts = [self.calls("--served", how) for how in words]
        for how, part in zip(words, parts):
            self.assertTrue(part or how == "fold", how)
            self.assertEqual({call["served"] for call in part}, {how} if part else set())
        self.assertEqual(sum(map(len, parts)), len(self.calls()))

    def test_i386_alone_has_calls_that_stand_for_several(self):
        folded = {call["name"] for call in self.calls("--arch", "i386", "--served", "fold")}
        self.assertEqual(folded, {"socketcall", "ipc", "mmap", "select"})

    def test_bad_options(self):
        for arguments in (("--arch", "arm"), ("--served", "hot"), ("read",)):
            result = self.run_cr("syscalls", *arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertIn("see cr syscalls --help", result.stderr)


if __name__ == "__main__":
    cli.main()

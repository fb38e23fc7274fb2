"""cr bench: the command line alone; what it measures is tested by running it."""
import cli


class Bench(cli.Case):
    def test_list_names_the_cases(self):
        result = self.run_cr("bench", "--list")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("pingpong", result.stdout.splitlines())

    def test_bad_options(self):
        for arguments in (("--rounds", "0"), ("--rounds", "x"), ("--cpu", "-1"), ("extra",)):
            result = self.run_cr("bench", *arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            self.assertIn("see cr bench --help", result.stderr)

    def test_unknown_case(self):
        result = self.run_cr("bench", "--only", "no-such-case")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("no-such-case", result.stderr)


if __name__ == "__main__":
    cli.main()

"""Help and version: on standard output, status 0, and complete enough to start from."""
import cli

COMMANDS = ("run", "diff", "doctor", "bench", "syscalls")  # analyze is there if Zydis was


class Help(cli.Case):
    def text_of(self, *arguments):
        result = self.run_cr(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def test_version(self):
        self.assertRegex(self.text_of("--version"), r"\Acr \d+\.\d+\.\d+\n\Z")

    def test_main_help_names_every_command(self):
        text = self.text_of("--help")
        self.assertIn("Usage: cr COMMAND", text)
        self.assertLessEqual(set(COMMANDS), set(self.commands()))

    def commands(self):
        listing = self.text_of("--help").split("Subcommands:\n")[1].split("\n\n")[0]
        return [line.split()[0] for line in listing.splitlines()]

    def test_every_command_has_usage_and_examples(self):
        for command in self.commands():
            for flag in ("--help", "-h"):
                text = self.text_of(command, flag)
                self.assertIn(f"Usage: cr {command}", text)
                self.assertIn("Example", text)
                self.assertIn("Exit status:", text)

    def test_run_help_documents_environment_and_status(self):
        text = self.text_of("run", "--help")
        for word in ("LIBCR_CPUS", "LIBCR_STACK_SIZE", "LIBCR_SHIM", "LIBCR_STATS", "LIBCR_ENGINE",
                     "LIBCR_ON_DEADLOCK", "LD_PRELOAD",
                     "125", "126", "127"):
            self.assertIn(word, text)

    def test_lines_fit_a_terminal(self):
        for arguments in [("--help",)] + [(command, "--help") for command in self.commands()]:
            for line in self.text_of(*arguments).splitlines():
                self.assertLessEqual(len(line), 110, line)

    def test_help_works_without_the_preload(self):
        self.preload.unlink()
        self.assertIn("Usage", self.text_of("run", "--help"))


if __name__ == "__main__":
    cli.main()

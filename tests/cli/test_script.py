"""cr run follows #! lines as the kernel does, and files without one as execvp does."""
import cli


class Scripts(cli.Case):
    def chain(self, length, last="/bin/sh"):
        """s1 .. s<length>, each the interpreter of the next; s1's interpreter is `last`."""
        interpreter = last
        for level in range(1, length + 1):
            interpreter = self.file(f"s{level}", f"#!{interpreter}\n")
        return interpreter

    def test_interpreter_with_argument_and_blanks(self):
        self.file("script", "#! \t/bin/sh -u \necho \"$1\"\n")
        result = self.run_cr("run", "./script", "arg")
        self.assertEqual((result.returncode, result.stdout), (0, "arg\n"))
        self.assertTrue(result.stderr.startswith(cli.LOADED))

    def test_usr_bin_env(self):
        self.file("script", "#!/usr/bin/env sh\necho ran\n")
        self.assertEqual(self.run_cr("run", "./script").stdout, "ran\n")

    def test_no_interpreter_line_is_run_by_the_shell(self):
        self.file("plain", "echo \"$0 $1\"\n")
        self.assertEqual(self.run_cr("run", "./plain", "x y").stdout, "./plain x y\n")

    def test_plain_file_found_in_path_is_run_by_its_path(self):
        self.file("plain", "echo \"$0\"\n")
        result = self.run_cr("run", "plain", env={"PATH": f"{self.work}:/bin"})
        self.assertEqual(result.stdout, f"{self.work}/plain\n")

    def test_empty_file_and_empty_interpreter_line(self):
        self.file("empty", "")
        self.assertEqual(self.run_cr("run", "./empty").returncode, 0)
        self.file("blank", "#! \necho ran\n")
        self.assertEqual(self.run_cr("run", "./blank").stdout, "ran\n")

    def test_chain_as_long_as_the_kernel_allows(self):
        self.chain(5, last="/bin/true")
        self.assertEqual(self.run_cr("run", "./s5").returncode, 0)

    def test_chain_too_long(self):
        self.chain(6, last="/bin/true")
        self.assert_refused(self.run_cr("run", "./s6"), 126, "./s6", "more than 5 scripts")

    def test_chain_that_ends_in_a_static_program(self):
        self.copy(cli.STATIC, "static")
        self.chain(2, last=self.work / "static")
        self.assert_refused(self.run_cr("run", "./s2"), 126, "./s2", "statically linked")

    def test_interpreter_that_is_not_there(self):
        self.chain(1, last="/no/where")
        self.assert_refused(self.run_cr("run", "./s1"), 126, "./s1", "interpreter /no/where", "no such program")

    def test_interpreter_that_is_a_directory(self):
        self.chain(1, last="/usr")
        self.assert_refused(self.run_cr("run", "./s1"), 126, "./s1", "interpreter /usr", "is a directory")

    def test_interpreter_that_is_neither_elf_nor_script(self):
        self.file("text", "echo\n")
        self.chain(1, last=self.work / "text")
        self.assert_refused(self.run_cr("run", "./s1"), 126, "./s1", "neither ELF nor a script")


if __name__ == "__main__":
    cli.main()

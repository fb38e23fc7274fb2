"""cr run refuses what it can't run: exit status and message of every case."""
import os
import shutil
import struct
import subprocess
import unittest

import cli

EM_386, EM_AARCH64, EM_X86_64 = 3, 183, 62


def elf_header(elf_class=2, machine=EM_X86_64, kind=2, data=1):
    """An ELF header with no segments; little-endian unless data is 2."""
    order = "<" if data == 1 else ">"
    ident = b"\x7fELF" + bytes([elf_class, data, 1]) + bytes(9)
    return ident + struct.pack(order + "HHIQQQIHHHHHH", kind, machine, 1, 0, 0, 0, 0, 64, 56, 0, 0, 0, 0)


class NotThere(cli.Case):
    def test_name_that_path_does_not_have(self):
        self.assert_refused(self.run_cr("run", "no-such-program"), 127, "no-such-program", "no such program")

    def test_path_that_does_not_exist(self):
        self.assert_refused(self.run_cr("run", "--", "./nowhere"), 127, "./nowhere", "no such program")

    def test_path_through_a_file(self):
        self.file("plain", "")
        self.assert_refused(self.run_cr("run", "./plain/x"), 127, "./plain/x", "no such program")

    def test_empty_name(self):
        self.assert_refused(self.run_cr("run", ""), 127, "", "empty")

    def test_nothing_to_run(self):
        self.assert_refused(self.run_cr("run"), 125, "run", "no program given")
        self.assert_refused(self.run_cr("run", "--cpus", "2", "--"), 125, "run", "no program given")


class Permissions(cli.Case):
    def test_directory(self):
        self.assert_refused(self.run_cr("run", "/usr"), 126, "/usr", "is a directory")

    def test_not_executable(self):
        self.file("script.sh", "#!/bin/sh\n", 0o644)
        self.assert_refused(self.run_cr("run", "./script.sh"), 126, "./script.sh", "not executable", "chmod +x")

    def test_not_executable_in_path_is_126_like_execvp(self):
        self.file("halfway", "#!/bin/sh\n", 0o644)
        result = self.run_cr("run", "halfway", env={"PATH": str(self.work)})
        self.assert_refused(result, 126, "halfway", "not executable")

    def test_device(self):
        self.assert_refused(self.run_cr("run", "/dev/null"), 126, "/dev/null", "not a regular file")

    @cli.needs_root
    def test_directory_that_may_not_be_searched(self):
        closed = self.work / "closed"
        closed.mkdir(mode=0o700)
        shutil.copy("/bin/true", closed / "true")
        self.assert_refused(self.run_cr("run", "closed/true", user=cli.NOBODY), 126, "closed/true",
                            "permission denied")

    @cli.needs_root
    def test_executable_but_unreadable(self):
        self.copy("/bin/true", "sealed", 0o711)
        self.assert_refused(self.run_cr("run", "./sealed", user=cli.NOBODY), 126, "./sealed", "not readable")


class ElfKinds(cli.Case):
    def refuse(self, content, *fragments):
        self.file("program", content)
        self.assert_refused(self.run_cr("run", "./program"), 126, "./program", *fragments)

    def test_static_program(self):
        self.copy(cli.STATIC, "static")
        self.assert_refused(self.run_cr("run", "./static"), 126, "./static", "statically linked",
                            str(self.libraries / "libcr.a"))

    def test_musl_interpreter(self):
        glibc, musl = b"/lib64/ld-linux-x86-64.so.2\0", b"/lib/ld-musl-x86_64.so.1\0"
        image = open("/bin/true", "rb").read()
        self.refuse(image.replace(glibc, musl.ljust(len(glibc), b"\0"), 1), "unsupported libc",
                    "/lib/ld-musl-x86_64.so.1")

    def test_i386(self):
        self.refuse(elf_header(elf_class=1, machine=EM_386), "i386",
                    str(self.prefix / "lib/i386-linux-gnu/libcr.so"), "g++-multilib")

    def test_x32(self):
        self.refuse(elf_header(elf_class=1), "wrong architecture", "x32")

    def test_other_architectures(self):
        self.refuse(elf_header(machine=EM_AARCH64), "wrong architecture (aarch64)")
        self.refuse(elf_header(machine=22, data=2), "wrong architecture (s390)")
        self.refuse(elf_header(machine=4711), "wrong architecture (ELF machine 4711)")

    def test_object_file(self):
        self.refuse(elf_header(kind=1), "not a program")

    def test_damaged_elf(self):
        self.refuse(elf_header()[:12], "cut short")
        self.refuse(elf_header()[:40], "cut short")
        broken = bytearray(elf_header())
        struct.pack_into("<Q", broken, 32, 1 << 40)  # e_phoff beyond the end
        struct.pack_into("<H", broken, 56, 1)        # e_phnum
        self.refuse(bytes(broken), "cut short")

    def test_the_dynamic_linker_itself_runs(self):
        result = self.run_cr("run", "/lib64/ld-linux-x86-64.so.2", "/bin/echo", "hi")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "hi\n", cli.LOADED))


class SecureExecution(cli.Case):
    """Where AT_SECURE would be set, ld.so would drop the preload in silence."""

    @cli.needs_root
    def test_setuid_root_for_another_user(self):
        self.copy("/bin/true", "program", 0o4755)
        self.assert_refused(self.run_cr("run", "./program", user=cli.NOBODY), 126, "./program",
                            "setuid to root", "LD_PRELOAD")

    @cli.needs_root
    def test_setuid_to_another_user_for_root(self):
        program = self.copy("/bin/true", "program")
        os.chown(program, cli.NOBODY, cli.NOBODY)
        program.chmod(0o4755)
        self.assert_refused(self.run_cr("run", "./program"), 126, "./program", "setuid to nobody")

    @cli.needs_root
    def test_setuid_root_for_root_runs(self):
        self.copy("/bin/true", "program", 0o4755)
        result = self.run_cr("run", "./program")
        self.assertEqual((result.returncode, result.stderr), (0, cli.LOADED))

    @cli.needs_root
    def test_setgid(self):
        program = self.copy("/bin/true", "program")
        os.chown(program, 0, cli.NOBODY)
        program.chmod(0o2755)
        self.assert_refused(self.run_cr("run", "./program"), 126, "./program", "setgid to gid 65534")

    @cli.needs_root
    def test_setgid_bit_without_group_execute_is_no_setgid(self):
        program = self.copy("/bin/true", "program")
        os.chown(program, 0, cli.NOBODY)
        program.chmod(0o2745)
        self.assertEqual(self.run_cr("run", "./program").stderr, cli.LOADED)

    @cli.needs_root
    @unittest.skipUnless(shutil.which("setcap", path="/sbin:/usr/sbin:/bin:/usr/bin"), "no setcap")
    def test_file_capabilities(self):
        program = self.copy("/bin/true", "program")
        setcap = shutil.which("setcap", path="/sbin:/usr/sbin:/bin:/usr/bin")
        if subprocess.run([setcap, "cap_net_raw+ep", str(program)], check=False).returncode != 0:
            self.skipTest("the file system keeps no capabilities")
        self.assert_refused(self.run_cr("run", "./program", user=cli.NOBODY), 126, "./program",
                            "file capabilities")
        self.assertEqual(self.run_cr("run", "./program").stderr, cli.LOADED)

    @cli.needs_root
    def test_script_with_setuid_bit_runs_because_the_kernel_ignores_the_bit(self):
        self.file("script", "#!/bin/sh\necho ran\n", 0o4755)
        result = self.run_cr("run", "./script", user=cli.NOBODY)
        self.assertEqual((result.returncode, result.stdout), (0, "ran\n"))

    @cli.needs_root
    def test_no_new_privs_makes_the_setuid_bit_void(self):
        if not shutil.which("setpriv"):
            self.skipTest("no setpriv")
        self.copy("/bin/true", "program", 0o4755)
        result = subprocess.run(
            ["setpriv", "--no-new-privs", "--reuid=65534", "--regid=65534", "--clear-groups",
             str(self.cr), "run", str(self.work / "program")],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, cli.LOADED))


class Installation(cli.Case):
    def test_preload_missing(self):
        self.preload.unlink()
        self.assert_refused(self.run_cr("run", "true"), 125, self.preload, "no such file", "cmake --preset release")

    def test_prefix_that_ld_preload_cannot_carry(self):
        spaced = self.work / "a b"
        shutil.copytree(self.prefix / "bin", spaced / "bin")
        shutil.copytree(self.prefix / "lib", spaced / "lib")
        self.cr = spaced / "bin/cr"
        self.assert_refused(self.run_cr("run", "true"), 125, spaced / "lib/x86_64-linux-gnu/libcr.so", "space")


class Options(cli.Case):
    def assert_usage_error(self, *arguments, fragment, status=125, command="cr run"):
        result = self.run_cr(*arguments)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertIn(fragment, result.stderr)
        self.assertIn(f"see {command} --help", result.stderr)

    def test_cpus(self):
        for value in ("0", "1025", "-1", "two", "1.5", "", "99999999999999999999"):
            self.assert_usage_error("run", "--cpus", value, "true", fragment="--cpus")

    def test_stack_size(self):
        for value in ("0", "16383", "15K", "65G", "K", "16KB", "1e6", "99999999999999999G", ""):
            self.assert_usage_error("run", "--stack-size", value, "true", fragment="--stack-size")

    def test_unknown_option(self):
        self.assert_usage_error("run", "--bogus", "true", fragment="--bogus")

    def test_option_without_value(self):
        self.assert_usage_error("run", "--cpus", fragment="--cpus")

    def test_unknown_command(self):
        self.assert_usage_error("jog", fragment="jog", status=2, command="cr")

    def test_no_command(self):
        self.assert_usage_error(fragment="subcommand", status=2, command="cr")


if __name__ == "__main__":
    cli.main()

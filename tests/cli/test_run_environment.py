"""cr run passes its options by the environment and execs the program: same process, own status."""
import os
import pathlib
import shutil
import subprocess

import cli


class Environment(cli.Case):
    def env_of(self, *options, env=None, **keywords):
        result = self.run_cr("run", *options, "--", "env", env=env, **keywords)
        self.assertEqual(result.returncode, 0, result.stderr)
        return dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)

    def test_preload_uses_the_lib_token_and_loads(self):
        result = self.run_cr("run", "env")
        self.assertIn(f"LD_PRELOAD={self.prefix}/$LIB/libcr.so\n", result.stdout)
        self.assertEqual(result.stderr, cli.LOADED)

    def test_existing_preload_is_kept_after_ours(self):
        other = self.work / "other.so"
        shutil.copy(cli.PRELOAD, other)
        value = self.env_of(env={"LD_PRELOAD": str(other)})["LD_PRELOAD"]
        self.assertEqual(value, f"{self.prefix}/$LIB/libcr.so:{other}")

    def test_nested_run_names_the_preload_once(self):
        result = self.run_cr("run", self.cr, "run", "env")
        self.assertIn(f"LD_PRELOAD={self.prefix}/$LIB/libcr.so\n", result.stdout)

    def test_options_become_variables(self):
        shim = self.work / "my shim.so"
        shutil.copy(cli.PRELOAD, shim)
        shipped = self.libraries / "libcr-shim-count.so"
        shutil.copy(cli.PRELOAD, shipped)
        env = self.env_of("--cpus", "3", "--stack-size=64K", "--shim", "./my shim.so", "--shim", "count", "--stats",
                          "--engine", "epoll")
        self.assertEqual(env["LIBCR_CPUS"], "3")
        self.assertEqual(env["LIBCR_STACK_SIZE"], "65536")
        self.assertEqual(env["LIBCR_SHIM"], f"{shim}:{shipped}")
        self.assertEqual(env["LIBCR_STATS"], "1")
        self.assertEqual(env["LIBCR_ENGINE"], "epoll")

    def test_keep_gs_is_another_library_with_the_same_shims(self):
        result = self.run_cr("run", "--keep-gs", "env")
        self.assertEqual(result.returncode, 125)
        self.assertIn(f"{self.libraries}/keep-gs/libcr.so: no such file", result.stderr)
        (self.libraries / "keep-gs").mkdir()
        shutil.copy(cli.PRELOAD, self.libraries / "keep-gs/libcr.so")
        shipped = self.libraries / "libcr-shim-count.so"
        shutil.copy(cli.PRELOAD, shipped)
        result = self.run_cr("run", "--keep-gs", "--shim", "count", "env")
        if "it does not work here" in result.stderr:  # neither the instructions nor modify_ldt
            return
        self.assertIn(f"LD_PRELOAD={self.prefix}/$LIB/keep-gs/libcr.so\n", result.stdout)
        self.assertIn(f"LIBCR_SHIM={shipped}\n", result.stdout)
        self.assertEqual(result.stderr, cli.LOADED)

    def test_what_to_do_upon_a_deadlock_is_a_variable(self):
        for name in ("report", "abort", "ignore"):
            self.assertEqual(self.env_of("--on-deadlock", name)["LIBCR_ON_DEADLOCK"], name)
        result = self.run_cr("run", "--on-deadlock", "panic", "env")
        self.assertEqual(result.returncode, 125)
        self.assertIn("'panic' is nothing to do upon a deadlock", result.stderr)

    def test_engine_is_a_variable(self):
        for name in ("auto", "uring", "epoll", "none"):
            self.assertEqual(self.env_of("--engine", name)["LIBCR_ENGINE"], name)
        result = self.run_cr("run", "--engine", "kqueue", "env")
        self.assertEqual(result.returncode, 125)
        self.assertIn("'kqueue' is no engine", result.stderr)

    def test_sizes(self):
        for text, size in (("16384", 16384), ("16k", 16384), ("8M", 8 << 20), ("1g", 1 << 30)):
            self.assertEqual(self.env_of("--stack-size", text)["LIBCR_STACK_SIZE"], str(size))

    def test_small_tls_is_two_tunables(self):
        ours = "glibc.rtld.nns=1:glibc.rtld.optional_static_tls=0"
        for before, after in ((None, ours), ("", ours),
                              ("glibc.malloc.perturb=3", "glibc.malloc.perturb=3:" + ours),
                              ("glibc.rtld.nns=9:glibc.malloc.perturb=3:glibc.rtld.optional_static_tls=99",
                               "glibc.malloc.perturb=3:" + ours),
                              (ours, ours)):
            env = {} if before is None else {"GLIBC_TUNABLES": before}
            self.assertEqual(self.env_of("--small-tls", env=env)["GLIBC_TUNABLES"], after)
        self.assertNotIn("GLIBC_TUNABLES", self.env_of())

    def test_without_options_nothing_is_set_and_what_was_set_stays(self):
        self.assertFalse([name for name in self.env_of() if name.startswith("LIBCR_")])
        self.assertEqual(self.env_of(env={"LIBCR_CPUS": "7"})["LIBCR_CPUS"], "7")


class Shims(cli.Case):
    def test_unknown_shim(self):
        self.assert_refused(self.run_cr("run", "--shim", "nix", "true"), 125, "--shim nix", "no such shim",
                            "libcr-shim-nix.so")

    def test_missing_file(self):
        self.assert_refused(self.run_cr("run", "--shim", "./x.so", "true"), 125, "--shim ./x.so", "No such file")

    def test_not_a_shared_object(self):
        self.file("x.so", "text")
        self.assert_refused(self.run_cr("run", "--shim", "./x.so", "true"), 125, "--shim ./x.so", "shared object")

    def test_a_program_is_no_shim(self):
        self.assert_refused(self.run_cr("run", "--shim", "/bin/true", "true"), 125, "--shim /bin/true",
                            "shared object")

    def test_colon_in_the_path(self):
        shutil.copy(cli.PRELOAD, self.work / "a:b.so")
        self.assert_refused(self.run_cr("run", "--shim", "./a:b.so", "true"), 125, "--shim ./a:b.so", "colon")


class Program(cli.Case):
    def test_status_is_the_programs(self):
        self.assertEqual(self.run_cr("run", "sh", "-c", "exit 42").returncode, 42)

    def test_killed_by_a_signal(self):
        self.assertEqual(self.run_cr("run", "--", "sh", "-c", "kill -TERM $$").returncode, -15)

    def test_process_id_stays(self):
        process = subprocess.Popen([self.cr, "run", "sh", "-c", "echo $$"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        self.assertEqual(int(process.communicate()[0]), process.pid)

    def test_options_after_the_program_are_its_own(self):
        for command in (["--"], []):
            result = self.run_cr("run", "--cpus", "1", *command, "echo", "--cpus", "x", "--", "--help", "-n")
            self.assertEqual(result.stdout, "--cpus x -- --help -n\n")

    def test_program_named_like_an_option_after_dashes(self):
        self.file("--stats", "#!/bin/sh\necho ran\n")
        result = self.run_cr("run", "--", "--stats", env={"PATH": f"{self.work}:{os.environ['PATH']}"})
        self.assertEqual(result.stdout, "ran\n")

    def test_argument_zero_is_as_written(self):
        result = self.run_cr("run", "sh", "-c", "tr '\\0' '\\n' < /proc/$$/cmdline | head -1")
        self.assertEqual(result.stdout, "sh\n")

    def test_path_search_skips_what_is_not_executable(self):
        for name, mode in (("first", 0o644), ("second", 0o755)):
            (self.work / name).mkdir()
            program = self.work / name / "tool"
            program.write_text(f"#!/bin/sh\necho {name}\n")
            program.chmod(mode)
        (self.work / "zeroth/tool").mkdir(parents=True)
        path = f"{self.work}/nowhere:{self.work}/zeroth:{self.work}/first:{self.work}/second"
        self.assertEqual(self.run_cr("run", "tool", env={"PATH": path}).stdout, "second\n")

    def test_empty_path_element_is_the_working_directory(self):
        self.file("here", "#!/bin/sh\necho here\n")
        for path in ("", ":/nowhere", "/nowhere:", "/nowhere::/nowhere"):
            self.assertEqual(self.run_cr("run", "here", env={"PATH": path}).stdout, "here\n", path)

    def test_cr_is_found_through_a_symbolic_link(self):
        link = self.work / "cr-link"
        link.symlink_to(self.cr)
        self.cr = pathlib.Path(link)
        self.assertEqual(self.run_cr("run", "true").stderr, cli.LOADED)


if __name__ == "__main__":
    cli.main()

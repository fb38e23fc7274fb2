"""cr bench: the command line alone; what it measures is tested by running it."""
import json
import os

import cli


class Bench(cli.Case):
    def test_list_names_the_cases(self):
        result = self.run_cr("bench", "--list")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("pingpong", result.stdout.splitlines())

    def test_32_bit_programs_have_the_same_table(self):
        names = self.run_cr("bench", "--list").stdout.splitlines()
        i386 = self.run_cr("bench", "--arch", "i386", "--list").stdout.splitlines()
        self.assertLess({"pingpong", "create_join", "getppid", "parked", "echo_1k", "sigmask"}, set(i386))
        self.assertLess(set(i386), set(names))

    def test_32_bit_programs_get_the_32_bit_library(self):
        (self.prefix / "bench/i386").mkdir(parents=True)
        for name, says in (("pingpong", 'echo "{\\"bench\\":\\"pingpong\\",\\"ns_per_op\\":${#LD_PRELOAD}}"'),
                           ("maps", 'echo "$LD_PRELOAD"')):
            program = self.prefix / f"bench/i386/bench_{name}"
            program.write_text(f"#!/bin/sh\n{says}\n")
            program.chmod(0o755)
        preload = self.prefix / "lib/i386-linux-gnu/libcr.so"
        preload.parent.mkdir(exist_ok=True)
        preload.touch()
        result = self.run_cr("bench", "--arch", "i386", "--json", "--rounds", "1", "--only", "pingpong")
        row, = json.loads(result.stdout)
        self.assertEqual((row["native"]["value"], row["libcr"]["value"]), (0, len(str(preload))), result.stderr)

    def test_servers_are_preloaded_and_their_load_generator_is_not(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("servers are measured on two cpus")
        (self.prefix / "bench").mkdir()
        program = self.prefix / "bench/bench_echo"
        program.write_text("""#!/bin/sh
            [ -z "$LD_PRELOAD" ] || exit 1
            if [ -n "$BENCH_PRELOAD" ]; then rate=30; else rate=10; fi
            echo "{\\"bench\\":\\"echo\\",\\"threads_per_s\\":$rate}"
        """)
        program.chmod(0o755)
        result = self.run_cr("bench", "--json", "--rounds", "1", "--only", "echo_10k_2cpus")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        row, = json.loads(result.stdout)
        self.assertEqual((row["native"]["value"], row["libcr"]["value"]), (10, 30))
        self.assertEqual((row["ratio"], row["met"]), (3, True))

    def test_only_takes_a_group(self):
        result = self.run_cr("bench", "--quick", "--json", "--rounds", "1", "--only", "async")
        rows = {row["bench"] for row in json.loads(result.stdout)}
        self.assertIn("copy4k", rows)
        self.assertIn("echo_1k", rows)
        self.assertNotIn("pingpong", rows)

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

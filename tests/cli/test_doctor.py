"""cr doctor: a line for each thing, valid JSON, and the exit status says whether libcr can run."""
import json
import os

import cli

REQUIRED = {"kernel", "glibc", "text-rewriting", "preload"}
OPTIONAL = {"engine", "fsgsbase", "io_uring", "keep-gs", "lightweight-guards", "membarrier-sync-core",
            "syscall-user-dispatch", "trap-rcx", "placement", "exact-waits", "vdso-clock", "cache-directory", "cpus", "max-map-count",
            "thread-limits", "overcommit", "transparent-huge-pages"}


class Doctor(cli.Case):
    def checks(self, status=0, **keywords):
        result = self.run_cr("doctor", "--json", **keywords)
        self.assertEqual((result.returncode, result.stderr), (status, ""), result.stdout)
        report = json.loads(result.stdout)
        return report, {check["name"]: check for check in report["checks"]}

    def test_text_has_a_line_for_each_check(self):
        result = self.run_cr("doctor")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        *lines, last = result.stdout.splitlines()
        self.assertEqual({line.split()[1] for line in lines}, REQUIRED | OPTIONAL)
        self.assertTrue(all(line.split()[0] in ("ok", "no") for line in lines))
        self.assertEqual(last, "libcr can run here")

    def test_json_has_the_same_checks(self):
        report, checks = self.checks()
        self.assertTrue(report["can_run"])
        self.assertIsNone(report["decided_by"])
        self.assertEqual({name for name in checks if checks[name]["required"]}, REQUIRED)
        self.assertEqual({name for name in checks if not checks[name]["required"]}, OPTIONAL)

    def test_missing_preload_decides(self):
        self.preload.unlink()
        report, checks = self.checks(status=1)
        self.assertEqual((report["can_run"], report["decided_by"]), (False, "preload"))
        self.assertFalse(checks["preload"]["ok"])
        result = self.run_cr("doctor")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout.splitlines()[-1], "libcr can't run here: preload")

    def test_engine_is_what_was_asked_for(self):
        for name in ("epoll", "none"):
            engine = self.checks(env={"LIBCR_ENGINE": name})[1]["engine"]
            self.assertEqual((engine["ok"], engine["detail"]), (True, f"{name} (LIBCR_ENGINE={name})"))
        report, checks = self.checks(env={"LIBCR_ENGINE": "auto"})
        chosen = "uring" if checks["io_uring"]["ok"] else "epoll"
        self.assertTrue(checks["engine"]["detail"].startswith(chosen), checks["engine"])

    def cache(self, **keywords):
        return self.checks(env={"XDG_CACHE_HOME": str(self.work)}, **keywords)[1]["cache-directory"]

    def test_cache_directory(self):
        self.assertTrue(self.cache()["ok"])
        directory = self.work / "libcr"
        directory.mkdir(mode=0o700)
        (directory / "00ff.sites").touch()
        (directory / "other").touch()
        self.assertIn("mode 0700, 1 site tables", self.cache()["detail"])

    def test_cache_directory_that_others_can_write(self):
        directory = self.work / "libcr"
        directory.mkdir()
        directory.chmod(0o777)
        self.assertFalse(self.cache()["ok"])

    @cli.needs_root
    def test_cache_directory_of_another_user(self):
        (self.work / "libcr").mkdir(mode=0o755)
        check = self.cache(user=cli.NOBODY)
        self.assertFalse(check["ok"])
        self.assertIn("uid 0", check["detail"])

    def test_cache_directory_is_where_the_gate_looks(self):
        for env, place in (({"LIBCR_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a:"),
                           ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/libcr:"),
                           ({"XDG_CACHE_HOME": "relative", "HOME": "/c"}, "/c/.cache/libcr:"),
                           ({"XDG_CACHE_HOME": "", "HOME": ""}, f"/tmp/libcr-{os.geteuid()}")):
            detail = self.checks(env=env)[1]["cache-directory"]["detail"]
            self.assertTrue(detail.startswith(place), detail)

    def test_unknown_option(self):
        result = self.run_cr("doctor", "--yaml")
        self.assertEqual(result.returncode, 2)
        self.assertIn("see cr doctor --help", result.stderr)


if __name__ == "__main__":
    cli.main()

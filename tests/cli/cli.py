"""Common ground of the tests of the cr command: a made-up prefix, and running cr in it.

ctest passes the built files in CR_TEST_COMMAND, CR_TEST_PRELOAD and CR_TEST_STATIC.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

COMMAND = os.environ["CR_TEST_COMMAND"]
PRELOAD = os.environ["CR_TEST_PRELOAD"]
STATIC = os.environ["CR_TEST_STATIC"]
NOBODY = 65534
LOADED = "fake libcr loaded\n"

needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root to make files of other users")


class Case(unittest.TestCase):
    """A test with a prefix of its own: bin/cr, lib/x86_64-linux-gnu/libcr.so, and room in work/."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="cr-cli-")
        self.addCleanup(holder.cleanup)
        # $TMPDIR may be private to this user; the setuid tests run cr as somebody else.
        os.chmod(holder.name, 0o755)
        self.prefix = pathlib.Path(holder.name).resolve()
        self.libraries = self.prefix / "lib/x86_64-linux-gnu"
        self.work = self.prefix / "work"
        for directory in (self.prefix / "bin", self.libraries, self.work):
            directory.mkdir(parents=True)
        self.cr = self.prefix / "bin/cr"
        shutil.copy(COMMAND, self.cr)
        self.preload = self.libraries / "libcr.so"
        shutil.copy(PRELOAD, self.preload)

    def run_cr(self, *arguments, env=None, input=None, stdin=None, user=None, cwd=None):
        environment = {key: value for key, value in os.environ.items()
                       if key != "LD_PRELOAD" and not key.startswith("LIBCR_")}
        environment.update(env or {})
        if input is None and stdin is None:
            stdin = subprocess.DEVNULL
        # Another user's session has none of root's groups either: setgid is judged by them.
        other = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        return subprocess.run([str(self.cr), *map(str, arguments)], env=environment, input=input,
                              stdin=stdin, capture_output=True, text=True, timeout=60,
                              cwd=cwd or self.work, check=False, **other)

    def file(self, name, content, mode=0o755):
        path = self.work / name
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def copy(self, source, name, mode=0o755):
        return self.file(name, pathlib.Path(source).read_bytes(), mode)

    def assert_refused(self, result, status, program, *fragments):
        """One line `cr: PROGRAM: what is wrong; what to do`, nothing on standard output."""
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith(f"cr: {program}: "), result.stderr)
        self.assertIn("; ", result.stderr)
        for fragment in fragments:
            self.assertIn(fragment, result.stderr)


def main():
    unittest.main(verbosity=2)

"""Python's own tests of what the kernel has a hand in, one case for each of its test files."""
import xml.etree.ElementTree as ElementTree

from suite import Case, PYTHON, Suite

# Test files that use threads, signals, processes, descriptors, sockets or memory maps.
FILES = """
    test_asyncgen test_asyncio test_asyncore test_asynchat test_capi test_cmd_line test_concurrent_futures test_context
    test_docxmlrpc test_eintr test_epoll test_faulthandler test_fcntl test_file test_file_eintr test_fileio
    test_fork1 test_ftplib test_gc test_getpass test_httplib test_httpservers test_imaplib test_io test_ioctl test_largefile
    test_lockf test_logging test_mailbox test_mmap test_multiprocessing_fork test_multiprocessing_forkserver
    test_multiprocessing_main_handling test_multiprocessing_spawn test_nntplib test_openpty test_os test_pathlib test_pdb
    test_poll test_popen test_poplib test_posix test_pty test_queue test_random test_regrtest test_resource test_runpy
    test_sched test_script_helper test_select test_selectors test_shutil test_signal test_smtpd test_smtplib test_socket
    test_socketserver test_sqlite3 test_ssl test_subprocess test_support test_syslog test_tempfile test_termios test_thread
    test_threadedtempfile test_threading test_threading_local test_threadsignals test_time test_timeout test_tty
    test_urllib2_localnet test_venv test_wait3 test_wait4 test_weakref test_wsgiref test_xmlrpc""".split()
# What they ask for besides: nothing of the network outside, no gigabytes, no sound.
RESOURCES = "all,-network,-urlfetch,-largefile,-audio,-gui,-cpu,-tzdata"


def results(run):
    """From the JUnit file that regrtest writes; a run that dies has none."""
    table = {"(the whole)": f"status {run.status}"}
    try:
        tree = ElementTree.parse(f"{run.directory}/results.xml")
    except (OSError, ElementTree.ParseError):
        table["(the whole)"] += ", no results"
        return table
    for test in tree.iter("testcase"):
        kinds = {child.tag for child in test}
        word = next((k for k in ("error", "failure", "skipped") if k in kinds), "ok")
        name = test.get("name", "?")
        if table.get(name, "ok") in ("ok", "skipped"):
            table[name] = word
    return table


def cases():
    import importlib.util
    for name in FILES:
        if importlib.util.find_spec(f"test.{name}"):
            yield Case(name, [PYTHON, "-B", "-m", "test", "-v", "-u", RESOURCES, "--timeout", "150", "--junit-xml",
                              "{d}/results.xml", name], results, timeout=170)


PYTHON_SUITE = Suite("python", "Python's test suite, where it touches the kernel", ("libpython3.11-testsuite",),
                     lambda: list(cases()))

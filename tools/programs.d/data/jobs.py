"""A person at a terminal: job control of the shell that the arguments name, through a pty.

Each step is typed, and what the shell or its jobs must say then is waited for. A number is a pause: a job has to be in the
foreground before a key can stop it. Prints the steps that went well, and the shell's exit status.
"""
import os
import pty
import select
import sys
import time

PATIENCE = 20  # seconds for one answer
STOP, INTERRUPT, END = "\x1a", "\x03", "\x04"
THREADS = ("/usr/bin/python3 -c \"import threading, time; t = threading.Thread(target=time.sleep, args=(1.2,));"
           " t.start(); t.join(); print('joi' + 'ned')\"\n")
STEPS = (
    ("stty -echo; PS1='> '; echo rea''dy\n", "ready"),
    # Stopped by the key, seen, continued behind, fetched, interrupted.
    ("sleep 1000\n", 0.4), (STOP, "Stopped"), ("jobs\n", "Stopped"), ("bg\n", "&"), ("jobs\n", "Running"),
    ("fg\n", "sleep 1000"), ("", 0.4), (INTERRUPT, ""), ("echo status $?\n", "status 130"),
    # A pipeline that reads the terminal.
    ("cat | tr a-z A-Z\n", 0.4), ("hello\n", 0.3), (STOP, "Stopped"), ("fg\n", "cat"), ("", 0.4), ("more\n", 0.3), (END, "MORE"),
    ("sleep 0.3 & wait $!; echo waited $?\n", "waited 0"),
    # One that stops itself.
    ("(sleep 0.2; kill -TSTP $BASHPID; echo resu''med) &\n", 0.6), ("jobs\n", "Stopped"),
    ("kill -CONT %%; wait %%; echo ended $?\n", "resumed"), ("", "ended 0"),
    ("sleep 100 & sleep 100 & kill %1 %2; wait; echo both\n", "both"),
    ("trap 'echo trap''ped' INT; sleep 0.8; echo aft''er\n", 0.3), (INTERRUPT, "after"), ("trap - INT\n", ""),
    # One that reads in the background.
    ("cat &\n", 0.4), ("jobs\n", "Stopped"), ("kill %%; fg; echo killed $?\n", "killed 143"),
    ("sh -c 'sleep 100; echo not'\n", 0.4), (STOP, "Stopped"), ("kill -9 %%; sleep 0.3; jobs; echo go''ne\n", "gone"),
    # Threads stop and go on, all of them.
    (THREADS, 0.5), (STOP, "Stopped"), ("fg\n", "joined"),
)


def main():
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", HISTFILE="")
        os.execvp(sys.argv[1], sys.argv[1:])
    text = ""
    for number, (typed, then) in enumerate(STEPS):
        os.write(terminal, typed.encode())
        if isinstance(then, float):
            time.sleep(then)
            continue
        end = time.monotonic() + PATIENCE
        while then not in text:
            left = end - time.monotonic()
            if left <= 0 or not select.select([terminal], [], [], left)[0]:
                print(f"step {number}: {typed!r}: no {then!r} in {text!r}")
                os.kill(pid, 9)
                return 1
            text += os.read(terminal, 4096).decode()
        text = text[text.index(then) + len(then):]
        print(f"step {number}: {then}")
    os.write(terminal, b"exit 7\n")
    while True:
        try:
            if not os.read(terminal, 4096):
                break
        except OSError:  # the other side is closed
            break
    print("exit", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return 0


sys.exit(main())

# SPDX-License-Identifier: ISC
"""Directories, ports, processes, waiting, and the runner of the test functions."""

import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from .guardian import start_time

TIME_FACTOR = float(os.environ.get("SPLIT_TIME_FACTOR", "1"))
TEST_SECONDS = 100
# AddressSanitizer warns about swapcontext(3), although task_switch.c tells it about each switch.
HARMLESS = "WARNING: ASan doesn't fully support makecontext/swapcontext functions"
PORTS = range(20000, 32000)  # below the range from which Linux takes the ports of outgoing connections


class Failure(AssertionError):
    """An expectation of a test was not met."""


class Skip(Exception):
    """The test cannot run here; the text has the reason."""


def wait_for(predicate, seconds, what, detail=None):
    """Call predicate until it returns a true value, and return that value.

    seconds is multiplied by TIME_FACTOR. On timeout: Failure with `what`, and with detail() if given.
    """
    end = time.monotonic() + seconds * TIME_FACTOR
    pause = 0.01
    while True:
        result = predicate()
        if result:
            return result
        if time.monotonic() > end:
            more = f"\n{detail()}" if detail else ""
            raise Failure(f"waited {seconds * TIME_FACTOR:.0f} s for {what}{more}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def need_tools(*names):
    """Skip unless all programs are in PATH or in the sbin directories."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [n for n in names if shutil.which(n, path=path) is None]
    if missing:
        raise Skip(f"not installed: {', '.join(missing)}")


def need_root():
    """Become root: unless this process is root, sudo(8) starts the script again; or Skip."""
    if os.geteuid() == 0:
        return
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        keep = [f"{k}={v}" for k, v in os.environ.items() if k.startswith(("SPLIT_", "TSAN", "ASAN", "UBSAN", "LSAN"))]
        keep += ["PYTHONDONTWRITEBYTECODE=1", f"PATH={os.environ.get('PATH', '')}:/usr/sbin:/sbin"]
        os.execv(sudo, [sudo, "-n", "env", *keep, sys.executable, *sys.argv])
    raise Skip("needs root (postfix(1) does), and sudo does not work without a password")


class Session:
    """One run of a test script: its directory, its guardian, its ports."""

    def __init__(self, name, parent=None):
        self.directory = tempfile.mkdtemp(prefix=f"{name}-", dir=parent)
        os.chmod(self.directory, 0o755)
        self._locks = []
        self._shared = None
        self._guardian = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), "guardian.py"), self.directory],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def record_process(self, pid, name):
        """Have the guardian kill the process group of pid if this process dies."""
        started = start_time(pid)
        if started is not None:
            with open(os.path.join(self.directory, "processes"), "a", encoding="ascii") as f:
                f.write(f"{pid} {started} {name}\n")

    def record_mount(self, path):
        """Have the guardian umount path if this process dies."""
        with open(os.path.join(self.directory, "mounts"), "a", encoding="utf-8") as f:
            f.write(f"{path}\n")

    def free_port(self):
        """A TCP port of 127.0.0.1 at which no process listens, and which no other rig on this machine gets meanwhile."""
        for _ in range(2000):
            port = random.choice(PORTS)
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                lock.bind(f"\0split-rig-port-{port}")
            except OSError as e:
                lock.close()
                if e.errno == errno.EADDRINUSE:
                    continue
                raise
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                lock.close()
                continue
            finally:
                probe.close()
            self._locks.append(lock)
            return port
        raise Failure("no free port found")

    def shared(self):
        """A Rig for what several tests use, such as a database server. It is closed with the session."""
        if self._shared is None:
            self._shared = Rig(self, "shared")
        return self._shared

    def close(self, keep=False):
        """Close the shared Rig, remove the directory (unless keep), and end the guardian."""
        if self._shared is not None:
            for text in self._shared.close():
                print(text)
        if keep:
            print(f"left for you: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
        self._guardian.stdin.write(b"done")
        self._guardian.stdin.close()
        self._guardian.wait(timeout=20 * TIME_FACTOR)
        for lock in self._locks:
            lock.close()


class Rig:
    """The belongings of one test: a directory, processes, Postfix instances, servers. Everything ends with close()."""

    def __init__(self, session, name):
        self.session = session
        self.name = name
        # Short, because the path of a unix socket has at most 107 bytes.
        self.directory = os.path.join(session.directory, f"t{len(os.listdir(session.directory))}")
        os.mkdir(self.directory, 0o755)
        self.sanitizer_directory = self.path("san")
        os.mkdir(self.sanitizer_directory)
        os.chmod(self.sanitizer_directory, 0o1777)  # a program may run as another user
        self._closers = []
        self._logs = []
        self._checks = []

    def path(self, *names):
        """A path below the directory of this test."""
        return os.path.join(self.directory, *names)

    def write(self, name, text, mode=0o644):
        """Write a file below the directory of this test; returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def free_port(self):
        return self.session.free_port()

    def on_close(self, function):
        """Call function() at the end, last in first out."""
        self._closers.append(function)

    def on_success(self, function):
        """Call function() after the test has passed, before anything is stopped. function() may raise Failure."""
        self._checks.append(function)

    def show_on_failure(self, title, path):
        """Print the end of this file if the test fails."""
        self._logs.append((title, path))

    def mount_tmpfs(self, name, size):
        """Make a directory with a tmpfs of its own, of `size` (as mount(8) takes it), or Skip. Returns its path."""
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        self.session.record_mount(path)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", path], stderr=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            raise Skip(f"mount of a tmpfs is not allowed here: {done.stderr.decode().strip()}")
        self.on_close(lambda: subprocess.run(["umount", "-l", path], check=False))
        return path

    def sanitizer_reports(self):
        """The reports of sanitizers for the daemons of this test."""
        reports = []
        for name in sorted(os.listdir(self.sanitizer_directory)):
            with open(os.path.join(self.sanitizer_directory, name), encoding="utf-8", errors="replace") as f:
                text = "".join(line for line in f if HARMLESS not in line)
            if text.strip():
                reports.append(f"--- {name}\n{text}")
        return "\n".join(reports)

    def run_checks(self):
        for check in self._checks:
            check()

    def close(self):
        """Stop everything. Returns the faults that occurred meanwhile, as texts."""
        wrong = []
        while self._closers:
            function = self._closers.pop()
            try:
                function()
            except Exception as e:  # the other closers must run after any fault
                wrong.append(f"at the end of {self.name}: {e}")
        reports = self.sanitizer_reports()
        if reports:
            wrong.append(f"sanitizer reports:\n{reports}")
        return wrong

    def print_logs(self, lines=60):
        for title, path in self._logs:
            try:
                with open(path, encoding="utf-8", errors="replace") as f:
                    tail = f.read()[-20000:].split("\n")[-lines:]
            except OSError:
                continue
            print(f"--- end of {title} ({path})")
            print("\n".join(tail))


def _interrupted(signum, _frame):
    raise SystemExit(128 + signum)


def _too_long(_signum, _frame):
    raise Failure(f"the whole test took longer than {TEST_SECONDS * TIME_FACTOR:.0f} s")


def _run_one(function, argument, rig):
    """Run one test. Returns "ok", "skip: REASON" or "fail". rig: the rig of this test alone, which is closed; or None."""
    outcome = "ok"
    wrong = []
    signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS * TIME_FACTOR)
    try:
        function(argument)
        if rig:
            rig.run_checks()
    except Skip as e:
        outcome = f"skip: {e}"
    except Exception:
        outcome = "fail"
        traceback.print_exc(file=sys.stdout)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if rig:
            wrong = rig.close()
    for text in wrong:
        print(text)
        outcome = "fail"
    return outcome


def _run_all(tests, setup, session):
    """Run all tests. Yields (name, outcome, seconds) of each."""
    shared = argument = None
    if setup:
        shared = Rig(session, "shared")
        outcome = "fail"
        start = time.monotonic()
        try:
            def run_setup(r):
                nonlocal argument
                argument = setup(r)

            outcome = _run_one(run_setup, shared, None)
        finally:
            if outcome != "ok":
                shared.print_logs()
                for text in shared.close():
                    print(text)
        if outcome != "ok":
            yield "setup", outcome, time.monotonic() - start
            return
    try:
        for function in tests:
            start = time.monotonic()
            own = None if shared else Rig(session, function.__name__)
            outcome = _run_one(function, argument if shared else own, own)
            if outcome == "fail":
                (shared or own).print_logs()
            yield function.__name__, outcome, time.monotonic() - start
    finally:
        if shared:
            wrong = shared.close()
            for text in wrong:
                print(text)
            if wrong:
                yield "end", "fail", 0.0


def main(timeout=None):
    """Run the test_* functions of the script (or those named as arguments) and exit."""
    global TEST_SECONDS
    if timeout:
        TEST_SECONDS = timeout
    script = sys.modules["__main__"]
    tests = [f for n, f in vars(script).items() if n.startswith("test_") and callable(f)]
    if len(sys.argv) > 1:
        tests = [f for f in tests if f.__name__ in sys.argv[1:]]
        if not tests:
            sys.exit(f"no such test: {' '.join(sys.argv[1:])}")
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, _interrupted)
    signal.signal(signal.SIGALRM, _too_long)
    sys.stdout.reconfigure(line_buffering=True)
    try:
        need_root()
        need_tools("postfix", "postconf", "postqueue", "smtp-source", "smtp-sink")
    except Skip as e:
        print(f"SKIP: {e}")
        sys.exit(77)
    session = Session(os.path.splitext(os.path.basename(sys.argv[0]))[0])
    outcomes = []
    try:
        for name, outcome, seconds in _run_all(tests, getattr(script, "setup", None), session):
            print(f"{outcome.split(':')[0].upper():4} {name} ({seconds:.1f} s){outcome[4:] if outcome[:4] == 'skip' else ''}")
            outcomes.append(outcome)
    finally:
        session.close(keep="fail" in outcomes and os.environ.get("SPLIT_KEEP") == "1")
    if "fail" in outcomes or not outcomes:
        sys.exit(1)
    sys.exit(0 if "ok" in outcomes else 77)

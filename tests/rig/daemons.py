# SPDX-License-Identifier: ISC
"""Starts the programs under test with a configuration text, and checks their exit status."""

import atexit
import functools
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from .base import Failure, Skip, TIME_FACTOR, wait_for
from .guardian import start_time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build_directory():
    """The directory of the programs: SPLIT_BUILD_DIR, or build/build of the checkout."""
    return os.environ.get("SPLIT_BUILD_DIR") or os.path.join(TOP, "build", "build")


def program(name):
    """The path of a built program that every user can execute, or Skip."""
    top = build_directory()
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        for path in glob.glob(os.path.join(top, pattern)):
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path if os.geteuid() != 0 or _is_open(path) else _open_copy(os.path.abspath(path))
    raise Skip(f"{name} is not built in {top}")


def _is_open(path):
    """May every user enter the directories above the path? In /root others may not."""
    directory = os.path.dirname(os.path.realpath(path))
    return os.stat(directory).st_mode & 0o001 and (directory == "/" or _is_open(directory))


@functools.cache
def _open_copy(path):
    directory = tempfile.mkdtemp(prefix="split-programs-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.chmod(directory, 0o755)
    return shutil.copy(path, directory)


def sanitizer_environment(rig, name, has_libmilter=False):
    """The environment in which sanitizers write to files of the rig, which make the test fail, and in which programs find the
    modules that were built."""
    env = dict(os.environ)
    env.setdefault("SPLIT_MODULE_DIR", os.path.join(build_directory(), "src", "table"))
    log = os.path.join(rig.sanitizer_directory, name)
    suppressions = f"suppressions={TOP}/tests/tsan.supp" if has_libmilter else ""
    for variable, options in (
        ("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1:exitcode=99"),
        ("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=99"),
        ("LSAN_OPTIONS", "exitcode=99"),
        ("TSAN_OPTIONS", f"halt_on_error=0:exitcode=99:second_deadlock_stack=1:{suppressions}".rstrip(":")),
    ):
        given = env.get(variable)
        env[variable] = ":".join(filter(None, [options, given, f"log_path={log}"]))
    return env


# Does what systemd does before it executes a service with sockets: descriptors from 3 on, and two variables (sd_listen_fds(3)).
PASS_SOCKETS = """
import fcntl, os, sys
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 1000) for fd in sys.argv[1].split(",")]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def _stat(path):
    """The fields of a file stat in /proc (proc(5)) from the state on; None if there is no such process any more."""
    try:
        with open(path, "rb") as f:
            return f.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None


def _processes(field, value):
    found = ((int(path.split("/")[2]), _stat(path)) for path in glob.glob("/proc/[0-9]*/stat"))
    return [pid for pid, fields in found if fields and int(fields[field]) == value]


def children(pid):
    """The processes whose parent is pid."""
    return _processes(1, pid)


def members(group):
    """The processes of the process group."""
    return _processes(2, group)


def wait_ends(pids):
    """Wait until these processes have ended: until then they keep memory, ports and locks, which the next start may miss."""
    wait_for(lambda: not any(start_time(pid) for pid in pids), 20, "the end of processes", lambda: str(pids))


def stop_all(*pids):
    """Send SIGSTOP to these processes and all below them, and wait until all their threads have stopped. Returns all."""
    waiting, found = list(pids), []
    while waiting:
        pid = waiting.pop()
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            continue
        wait_for(lambda pid=pid: _is_stopped(pid), 10, f"process {pid} to stop")
        found.append(pid)
        waiting += children(pid)
    return found


def _is_stopped(pid):
    """Have all threads of the process stopped, or ended?"""
    threads = [_stat(path) for path in glob.glob(f"/proc/{pid}/task/*/stat")]
    return all(fields is None or fields[0] in (b"T", b"t", b"Z", b"X") for fields in threads)


class Daemon:
    """A process in a session of its own. Its output goes to `log_path`. listen_on: listening sockets, as a service manager has
    them: they stay open in this process, and each start passes them to the daemon. user: (uid, gid) that it runs as; stop_signal:
    what stop() sends."""

    def __init__(self, rig, name, argv, env=None, listen_on=(), user=None, stop_signal=signal.SIGTERM):
        self.rig = rig
        self.name = name
        self.argv = argv
        self.env = sanitizer_environment(rig, name, any(os.path.basename(a) == "splitmilter" for a in argv))
        self.env.update(env or {})
        self.log_path = rig.path(f"{name}.log")
        self.listen_on = listen_on
        self.stop_signal = stop_signal
        self.popen = None
        self.frozen = []  # stopped by freeze()
        self.identity = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": (), "cwd": rig.directory}
        rig.show_on_failure(f"log of {name}", self.log_path)
        rig.on_close(self._close)
        rig.on_success(self._check)

    def start(self, ready=None, seconds=10):
        """Start the process, and wait until ready() is true."""
        fds = [s.fileno() for s in self.listen_on]
        argv = self.argv
        if fds:
            argv = [sys.executable, "-c", PASS_SOCKETS, ",".join(map(str, fds)), *argv]
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True, pass_fds=fds,
                **self.identity,
            )
        self.rig.session.record_process(self.popen.pid, self.name)
        if ready:
            wait_for(lambda: self._alive() and ready(), seconds, f"{self.name} to serve", self.log)
        return self

    def _alive(self):
        status = self.popen.poll()
        if status is not None:
            raise Failure(f"{self.name} ended with {status}:\n{self.log()}")
        return True

    @property
    def pid(self):
        return self.popen.pid

    def freeze(self):
        """Stop the process and its children with SIGSTOP, and wait until all their threads have stopped."""
        self._alive()
        self.frozen = stop_all(self.pid)

    def thaw(self):
        """Let what freeze() stopped go on."""
        while self.frozen:
            os.kill(self.frozen.pop(), signal.SIGCONT)

    @property
    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def log_lines(self, pattern):
        found = re.compile(pattern)
        return [ln for ln in self.log().split("\n") if found.search(ln)]

    def wait_log(self, pattern, seconds=15, count=1):
        def there():
            lines = self.log_lines(pattern)
            return lines if len(lines) >= count else None

        return wait_for(there, seconds, f"{count} lines /{pattern}/ in the log of {self.name}", self.log)

    def signal(self, number):
        os.kill(self.popen.pid, number)

    def kill(self):
        """Send SIGKILL to the process and its children (the process group), and wait for their end."""
        if self.running:
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(timeout=20 * TIME_FACTOR)
        wait_ends(members(self.popen.pid))

    def stop(self, seconds=20):
        """Send SIGTERM (or stop_signal), and wait for the end; the exit status must be 0."""
        if not self.running:
            return
        self.signal(self.stop_signal)
        try:
            status = self.popen.wait(timeout=seconds * TIME_FACTOR)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} was still there {seconds * TIME_FACTOR:.0f} s after SIGTERM:\n{self.log()[-2000:]}") from None
        if status != 0:
            raise Failure(f"{self.name} ended with {status} after SIGTERM:\n{self.log()[-4000:]}")

    def _check(self):
        if self.popen is not None and self.popen.poll() not in (None, 0, -signal.SIGKILL):
            raise Failure(f"{self.name} ended with {self.popen.returncode}:\n{self.log()[-4000:]}")

    def _close(self):
        if self.popen is not None:
            self.stop()

    def rss_kb(self, peak=False):
        """Resident memory in kB, at present or at its peak."""
        with open(f"/proc/{self.popen.pid}/status", encoding="ascii") as f:
            return int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", f.read()).group(1))


def accepts(address):
    """Return true if a process listens at the address: (host, port), or the path of a unix socket."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        try:
            s.connect(address)
            return True
        except OSError:
            return False


def instrumented(marks=(b"__asan_init", b"__tsan_init")):
    """Return true if the programs were built with a sanitizer. Then figures of their memory mean nothing."""
    with open(program("splitrelay"), "rb") as f:
        text = f.read()
    return any(mark in text for mark in marks)


def has_thread_sanitizer():
    """Return true if the programs were built with ThreadSanitizer. Its own thread keeps splitctl from entering a mount namespace."""
    return instrumented((b"__tsan_init",))


def start_splitmilter(rig, configuration, address, name="splitmilter", env=None, wrapper=()):
    """Start splitmilter, and wait until it accepts connections. configuration: the text; address: its milter socket, (host,
    port) or path; wrapper: a command line to run it under, such as strace."""
    path = rig.write(f"{name}.conf", configuration)
    daemon = Daemon(rig, name, [*wrapper, program("splitmilter"), "-c", path], env)
    daemon.configuration_path = path
    return daemon.start(lambda: accepts(address))


def start_splitrelay(rig, configuration, address, name="splitrelay", env=None, wrapper=(), is_awaited=True):
    """Start splitrelay, as start_splitmilter() does with splitmilter. is_awaited False: do not wait."""
    path = rig.write(f"{name}.conf", configuration)
    daemon = Daemon(rig, name, [*wrapper, program("splitrelay"), "-c", path], env)
    daemon.configuration_path = path
    daemon.address = address
    try:
        return daemon.start((lambda: accepts(address)) if is_awaited else None)
    except Failure as e:
        if "splitrelay was built without" in str(e):
            raise Skip(str(e).strip().rsplit("\n", 1)[-1]) from None
        raise


def run_splitctl(rig, configuration_path, *args, check=True, env=None):
    """Run splitctl: (exit status, standard output, standard error). env: variables that differ from the test's own."""
    done = subprocess.run(
        [program("splitctl"), "-c", configuration_path, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**sanitizer_environment(rig, "splitctl"), **(env or {})},
        timeout=60 * TIME_FACTOR,
        check=False,
    )
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if check and done.returncode != 0:
        raise Failure(f"splitctl {' '.join(args)}: exit {done.returncode}\n{out}{err}")
    return done.returncode, out, err

# SPDX-License-Identifier: ISC
"""A private system for tests that configure the system's Postfix. Overlays cover /etc and the other directories that Postfix
writes to; only this process and its children see them. The network is a loopback of its own, with port 25 free."""

import contextlib
import ctypes
import glob
import os
import signal
import subprocess
import threading

from .base import Skip
from .guardian import start_time
from .postfix import date_back, environment, postfix_user

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
COVERED = ("/etc", "/var/spool", "/var/lib", "/var/log", "/var/mail", "/var/backups", "/run")


@contextlib.contextmanager
def dated_back():
    """Postfix waits for a second before it reads a file that has just changed. Within this context its configuration files are
    dated back all the time."""
    done = threading.Event()

    def work():
        while not done.wait(0.02):
            for path in glob.glob("/etc/postfix*/ma*.cf"):
                with contextlib.suppress(OSError):
                    date_back(path)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Jail:
    """The whole process enters the private system, and stays in it until another Jail. fresh() restores the first state."""

    def __init__(self, rig, addresses=()):
        postfix_user()
        self.directory = rig.path("jail")
        self._mounts = 0
        self._covered = []
        self._rig = rig
        os.mkdir(self.directory, 0o755)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._check(self._libc.unshare(CLONE_NEWNS | CLONE_NEWNET), "a namespace for mounts and network")
        self._check(self._libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "a private mount")
        self._check(self._libc.mount(b"none", self.directory.encode(), b"tmpfs", 0, None), "a tmpfs")
        self._ip("link", "set", "lo", "up")
        for address in addresses:
            self._ip("address", "add", address, "dev", "lo")
        rig.on_close(self._end)

    def _end(self):
        # The kernel refuses overlays on overlays on overlays, and the next test of this process may make another Jail.
        self._uncover()
        subprocess.run(["umount", "-l", self.directory], check=False)

    def _uncover(self):
        while self._covered:
            subprocess.run(["umount", "-l", self._covered.pop()], check=True)

    @staticmethod
    def _ip(*arguments):
        try:
            done = subprocess.run(["ip", *arguments], stderr=subprocess.PIPE, env=environment(), check=False)
        except FileNotFoundError:
            raise Skip("ip(8) is not installed") from None
        if done.returncode != 0:
            raise Skip(f"ip {' '.join(arguments)}: {done.stderr.decode().strip()}")

    @staticmethod
    def _check(result, what):
        if result != 0:
            raise Skip(f"{what} is not allowed here: {os.strerror(ctypes.get_errno())}")

    def overlay(self, lower, name):
        """Make a writable view of a directory. Returns its path."""
        top = f"{self.directory}/{name}"
        for part in ("up", "work", "view"):
            os.makedirs(f"{top}/{part}")
        options = f"lowerdir={lower},upperdir={top}/up,workdir={top}/work"
        view = f"{top}/view"
        self._check(self._libc.mount(b"overlay", view.encode(), b"overlay", 0, options.encode()), f"an overlay on {lower}")
        return view

    def bind(self, source, target):
        self._check(self._libc.mount(source.encode(), target.encode(), None, MS_BIND, None), f"a bind mount of {source}")

    def fresh(self):
        """Undo all changes below the covered directories."""
        self._uncover()
        self._mounts += 1
        for path in COVERED:
            name = f"{self.directory}/{self._mounts}{path.replace('/', '-')}"
            os.makedirs(f"{name}/up")
            os.makedirs(f"{name}/work")
            options = f"lowerdir={path},upperdir={name}/up,workdir={name}/work"
            self._check(self._libc.mount(b"overlay", path.encode(), b"overlay", 0, options.encode()), f"an overlay on {path}")
            self._covered.append(path)

    def stop_postfix(self):
        """Kill every master(8) of this system. Their pid files are below the covered directories."""
        for name in os.listdir("/var/spool"):
            try:
                with open(f"/var/spool/{name}/pid/master.pid", encoding="ascii") as f:
                    pid = int(f.read().split()[0])
                with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                    is_master = f.read() == "master\n"
            except (OSError, ValueError, IndexError):
                continue
            # The number in a stale file may belong to another process by now.
            if is_master and self.is_inside(pid) and start_time(pid) is not None:
                os.killpg(pid, signal.SIGKILL)

    @staticmethod
    def is_inside(pid):
        try:
            return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        except FileNotFoundError:  # it has ended, and maybe its parent does not know yet
            return False

    def record_postfix(self):
        """Have the guardian end every master(8) that runs in this system now."""
        for name in os.listdir("/var/spool"):
            try:
                with open(f"/var/spool/{name}/pid/master.pid", encoding="ascii") as f:
                    self._rig.session.record_process(int(f.read().split()[0]), f"master-{name}")
            except (OSError, ValueError, IndexError):
                continue

# SPDX-License-Identifier: ISC
"""A whole machine: a root that debootstrap made, below an overlay, with systemd as process 1 in namespaces for mounts, processes,
host name, IPC and cgroups. It shares the network of the Jail, in which the test's own servers run."""

import ctypes
import os
import subprocess
import threading
import uuid

from .base import Failure, Skip, TIME_FACTOR, wait_for

CLONE_NEWNET = 0x40000000
ENVIRONMENT = {
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}
BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.sh")
INIT = (
    "setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio env -i container=split PATH=/usr/sbin:/usr/bin:/sbin:/bin "
    "/lib/systemd/systemd --log-target=null --show-status=no"
).split()


def _cgroup_top():
    """The mount point of cgroup2."""
    with open("/proc/self/mounts", encoding="ascii") as f:
        for line in f:
            words = line.split()
            if words[2] == "cgroup2":
                return words[1]
    raise Skip("there is no cgroup2, which systemd needs")


class Elsewhere:
    """Another network, which stands for the Internet. make() calls a function whose sockets are in it."""

    def __init__(self, jail, here="192.0.2.1/24", there=("192.0.2.9/24",)):
        self._work, self._done, self._ready = None, threading.Semaphore(0), threading.Semaphore(0)
        self._result = None
        self._tid = 0
        threading.Thread(target=self._live, daemon=True).start()
        self._done.acquire()
        jail._ip("link", "add", "inside", "type", "veth", "peer", "name", "outside", "netns", str(self._tid))
        jail._ip("address", "add", here, "dev", "inside")
        jail._ip("link", "set", "inside", "up")
        jail._ip("route", "add", "default", "dev", "inside")
        self.make(lambda: [jail._ip("address", "add", a, "dev", "outside") for a in there])
        self.make(lambda: [jail._ip("link", "set", name, "up") for name in ("lo", "outside")])

    def _live(self):
        self._tid = threading.get_native_id()
        failed = ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0
        self._tid = 0 if failed else self._tid
        self._done.release()
        while True:
            self._ready.acquire()
            try:
                self._result = self._work()
            except Exception as e:  # make() raises it
                self._result = e
            self._done.release()

    def make(self, function):
        """Call function() in this network, and return its result. Threads and processes that it starts stay in the network."""
        self._work = function
        self._ready.release()
        self._done.acquire()
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class Machine:
    """The machine. base: its root directory, which is not changed, because an overlay covers it; hosts: lines for /etc/hosts."""

    def __init__(self, rig, jail, base, name="mail.example.com", hosts=""):
        self.rig = rig
        self.name = name
        self.path = jail.overlay(base, f"machine-{uuid.uuid4().hex[:8]}")
        self.log_path = rig.path("machine.log")
        self._cgroup = os.path.join(_cgroup_top(), f"split-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        self._popen = None
        self._init = 0
        self.write("/etc/hostname", f"{name}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name} {name.split('.')[0]}\n{hosts}")
        self.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        self.write("/etc/machine-id", uuid.uuid4().hex + "\n")
        rig.on_close(self.stop)

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path + path), exist_ok=True)
        with open(self.path + path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(self.path + path, mode)

    def read(self, path):
        with open(self.path + path, "rb") as f:
            return f.read()

    def start(self):
        os.mkdir(self._cgroup)
        enter = f'echo $$ >"{self._cgroup}/cgroup.procs" && exec "$@"'
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "--propagation", "private"]
        with open(self.log_path, "wb") as log:
            self._popen = subprocess.Popen(
                ["sh", "-c", enter, "sh", *unshare, "sh", BOOT, self.path, self.name, *INIT],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.rig.session.record_process(self._popen.pid, "machine")
        wait_for(self._has_booted, 60, "the machine to start", self._said)
        return self

    def _said(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def _has_booted(self):
        if self._popen.poll() is not None:
            raise Skip(f"a machine cannot be started here: {self._said().strip()[-300:]}")
        with open(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children", encoding="ascii") as f:
            children = f.read().split()
        if len(children) != 1:
            return False
        self._init = int(children[0])
        with open(f"/proc/{self._init}/comm", encoding="ascii") as f:
            if f.read() != "systemd\n":
                return False
        return self.run("systemctl is-system-running", check=None)[1].strip() in ("running", "degraded")

    def run(self, line, check=True, directory="/root", seconds=300):
        """Run a command line as root. check: True: it must succeed, and its output is returned; None: (status, output) is
        returned."""
        environ = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        argv = ["nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-C", "--root", "--wd"]
        argv += ["env", "-i", "-C", directory, *environ, "bash", "-c", line]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds * TIME_FACTOR, check=False)
        said = done.stdout.decode("utf-8", "replace")
        if check is None:
            return done.returncode, said
        if done.returncode != 0:
            raise Failure(f"{line}: exit {done.returncode}\n{said}")
        return said

    def journal(self, *units, lines=60):
        """The end of the journal, for failure texts."""
        words = "".join(f" -u {u}" for u in units)
        return self.run(f"journalctl --no-pager -n {lines}{words}", check=None)[1]

    def stop(self):
        """Kill process 1, and with it every process of the machine."""
        popen, self._popen = self._popen, None
        if popen is None:
            return
        popen.kill()
        popen.wait(timeout=20 * TIME_FACTOR)
        wait_for(lambda: not os.path.exists(f"/proc/{self._init}"), 20, "the machine to end")
        for directory, _, _ in os.walk(self._cgroup, topdown=False):
            wait_for(lambda d=directory: self._is_removed(d), 10, f"an empty {directory}")

    @staticmethod
    def _is_removed(directory):
        try:
            os.rmdir(directory)
        except OSError:
            return not os.path.exists(directory)
        return True

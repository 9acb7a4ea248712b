# SPDX-License-Identifier: ISC
"""Several machines on one network, for guides about more than one. A machine has its own mounts, processes, host name and
network. Its files are those of the host, below overlays. systemd does not run; the test does what the commands of systemctl say.

    fleet = rig.Fleet(r, {"db1": "192.0.2.34", "relay1": "192.0.2.18"})
    fleet["db1"].run("hostname")
    fleet["db1"].lose()         # all its processes, and its disk
    fleet["db1"].start()        # a new one with this name
"""

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys

from .base import Failure, Skip, TIME_FACTOR, wait_for
from .daemons import program
from .jail import COVERED, Jail

ENVIRONMENT = {"HOME": "/root", "PATH": "/etc/fleet:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
DOMAIN = "example.com"
# Process 1 of a machine: makes the overlays, then reaps processes that have lost their parent.
INIT = """
import os, signal, subprocess, sys
top, name, *covered = sys.argv[1:]
for path in covered:
    parts = [os.path.join(top, path.strip("/").replace("/", "-"), part) for part in ("up", "work")]
    for part in parts:
        os.makedirs(part)
    options = "lowerdir=%s,upperdir=%s,workdir=%s" % (path, *parts)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, path], check=True)
subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
subprocess.run(["hostname", name], check=True)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
print("ready", flush=True)
while True:
    signal.sigwaitinfo({signal.SIGCHLD})
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        pass
"""
# Command lines of the services, as their units have them.
SERVICES = {
    "etcd": "set -a; . /etc/default/etcd; exec setpriv --reuid=etcd --regid=etcd --init-groups /usr/bin/etcd",
    "patroni": "exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/var/lib/postgresql /usr/bin/patroni /etc/patroni/config.yml",
    "splitmilter": "exec {splitmilter} -c /etc/splitmilter/splitmilter.conf",
    "splitrelay": "exec setpriv --reuid=splitmilter --regid=splitmilter --init-groups env HOME=/nonexistent {splitrelay} -c /etc/splitmilter/splitmilter.conf",
}


class FleetMachine:
    def __init__(self, fleet, name, address):
        self.fleet, self.name, self.address = fleet, name, address
        self.top = os.path.join(fleet.jail.directory, name)
        self.services = {}
        self._popen, self._init = None, 0

    def start(self):
        """Start the machine with an empty disk. No service runs."""
        os.mkdir(self.top, 0o755)
        argv = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private"]
        argv += [sys.executable, "-c", INIT, self.top, self.name, *COVERED]
        self._popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       start_new_session=True)
        self.fleet.rig.session.record_process(self._popen.pid, self.name)
        said = self._popen.stdout.readline()
        if said != b"ready\n":
            raise Skip(f"a machine cannot be started here: {said.decode()}")
        with open(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children", encoding="ascii") as f:
            self._init = int(f.read())
        link = f"to-{self.name}"
        for words in (f"add {link} type veth peer name eth0 netns {self._init}", f"set {link} master fleet up"):
            subprocess.run(["ip", "link", *words.split()], check=True)
        self.run(f"ip link set lo up && ip address add {self.address}/24 dev eth0 && ip link set eth0 up")
        self.write("/etc/hosts", self.fleet.hosts)
        self.write("/etc/resolv.conf", f"nameserver {self.fleet.address}\n")
        self.write("/etc/fleet/splitctl", f'#!/bin/sh\nexec {os.path.abspath(program("splitctl"))} -c /etc/splitmilter/splitmilter.conf "$@"\n', 0o755)
        self.run("useradd --system splitmilter; install -d -m 755 /etc/splitmilter; install -d -m 700 -o splitmilter /var/spool/splitmilter")
        self.run("install -d -m 2775 -o postgres -g postgres /run/postgresql; mkdir -p /etc/patroni", check=None)
        return self

    def lose(self):
        """Switch the machine off, and throw its disk away."""
        popen, self._popen = self._popen, None
        if popen is None:
            return
        # First the cable, because the kernel closes the connections of a process that is killed.
        subprocess.run(["ip", "link", "delete", f"to-{self.name}"], check=True)
        popen.kill()
        popen.wait(timeout=20 * TIME_FACTOR)
        popen.stdout.close()
        wait_for(lambda: not os.path.exists(f"/proc/{self._init}"), 20, f"the end of {self.name}")
        self.services.clear()
        shutil.rmtree(self.top)

    def path(self, path):
        """The path by which the test reaches a file of the machine."""
        return f"/proc/{self._init}/root{path}"

    def write(self, path, text, mode=0o644):
        if not path.startswith(COVERED):
            raise Failure(f"{path} belongs to the host")
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(path), mode)

    def run(self, line, check=True, seconds=120):
        """Run a command line as root. check: True: it has to succeed, and its output is returned; None: (status, output) is
        returned."""
        environ = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        argv = ["nsenter", "-t", str(self._init), "-m", "-n", "-p", "-u", "-i", "env", "-i", "-C", "/root", *environ, "bash", "-c", line]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds * TIME_FACTOR, check=False)
        said = done.stdout.decode("utf-8", "replace")
        if check is None:
            return done.returncode, said
        if done.returncode != 0:
            raise Failure(f"{self.name}: {line}: exit {done.returncode}\n{said}\n{self.logs()}")
        return said

    def logs(self):
        return "".join(f"--- {self.name} {name}\n{self.run(f'tail -n 40 /var/log/fleet-{name}.log', check=None)[1]}" for name in self.services)

    # --- what the test does in the place of systemd

    def service(self, verb, name):
        if name == "postfix":
            # What Debian's unit does for services that run chrooted.
            chroot = "for d in /var/spool/postfix*; do mkdir -p $d/etc; cp /etc/hosts /etc/resolv.conf /etc/nsswitch.conf /etc/services $d/etc/; done"
            self.run(f"{chroot}; postfix stop; {'postfix start' if verb in ('start', 'restart', 'enable') else 'true'}")
            return
        if name not in SERVICES:
            return
        if verb in ("stop", "restart", "disable") and name in self.services:
            pid = self.services.pop(name)
            # systemd kills after 90 seconds, and Patroni after 30 (TimeoutSec); PostgreSQL goes on then (KillMode=process). Our
            # own programs have to end by themselves.
            seconds = 30 if name == "patroni" else 90
            end = f"kill -9 {pid}" if name in ("patroni", "etcd") else "exit 1"
            self.run(f"kill {pid}; for i in $(seq {seconds}0); do kill -0 {pid} || exit 0; sleep 0.1; done; {end}")
        if verb in ("start", "restart", "enable") and name not in self.services:
            self.launch(name)
            if name == "splitrelay":  # its unit is of the type notify
                wait_for(self.listens, 60, f"splitrelay at {self.name}", self.logs)
            if name == "etcd" and verb == "start":  # so is this one; with --no-block it is not waited for
                wait_for(lambda: self.run("etcdctl endpoint health", check=None)[0] == 0, 60, f"etcd at {self.name}", self.logs)

    def launch(self, name):
        line = SERVICES[name].format(**{p: os.path.abspath(program(p)) for p in ("splitmilter", "splitrelay")})
        self.services[name] = int(self.run(f"cd /; setsid bash -c {shlex.quote(line)} >>/var/log/fleet-{name}.log 2>&1 & echo $!"))

    def listens(self):
        """Return true if splitrelay listens. If it has ended, it is started again, as its unit says (Restart=on-failure): the database
        may not be ready yet."""
        if self.run(f"grep -q ':{10030:04X} 00000000:0000 0A' /proc/net/tcp", check=None)[0] == 0:
            return True
        if not self.runs("splitrelay"):
            self.launch("splitrelay")
        return False

    def runs(self, name):
        return self.run(f"kill -0 {self.services[name]}", check=None)[0] == 0

    def command(self, line):
        """Run one command of a guide."""
        words = line.split()
        if words[0] == "apt":
            return ""
        if words[:2] == ["systemctl", "poweroff"]:
            self.lose()
        elif words[0] == "systemctl":
            for name in (w for w in words[2:] if not w.startswith("-")):
                self.service(words[1], name)
        elif words[0] == "scp":
            host, path = re.fullmatch(rf"root@(\w+)\.{DOMAIN}:(.*)", words[-1]).groups()
            for source in words[1:-1]:
                shutil.copy(self.path(source), self.fleet[host].path(path))
        else:
            return self.run(line)
        return ""


class Fleet:
    """The machines, and a bridge between them. address: the test's own, on their network. The test enters a network namespace."""

    def __init__(self, rig, addresses, address="192.0.2.60"):
        self.rig, self.address = rig, address
        self.jail = Jail(rig, [f"{address}/32"])
        if ctypes.CDLL(None).getuid() != 0:
            raise Skip("needs root")
        # Without an address of its own a bridge has that of one of its ports, which changes when a machine is started.
        Jail._ip("link", "add", "fleet", "address", "02:00:00:00:00:01", "type", "bridge")
        Jail._ip("address", "add", f"{address}/24", "dev", "fleet")
        Jail._ip("link", "set", "fleet", "up")
        self.hosts = "127.0.0.1 localhost\n" + "".join(f"{a} {name}.{DOMAIN} {name}\n" for name, a in addresses.items())
        self.hosts += f"{address} archive.{DOMAIN}\n"
        self._machines = {name: FleetMachine(self, name, a) for name, a in addresses.items()}
        rig.on_close(self.stop)
        for machine in self._machines.values():
            machine.start()

    def __getitem__(self, name):
        return self._machines[name]

    def stop(self):
        for machine in self._machines.values():
            machine.lose()

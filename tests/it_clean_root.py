#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A fresh Debian 12: install the package, write a configuration, one command, and mail is split; then all of it goes again.

SPLIT_CLEAN_ROOT is a root that debootstrap made, with the archives of postfix and of what the package needs already
downloaded; SPLIT_DEB is the package. `./dev cleanroot' prepares both. The root itself is not changed: it lies below an overlay.
"""

import os
import re
import shutil
import subprocess

import rig

CONFIGURATION = """\
log {{ target = "stderr" }}
milter {{
    socket      = "unix:/var/spool/postfix-in/splitmilter/milter.sock"
    filter_maps = {{ "texthash:/etc/splitmilter/filter" }}
    copy_maps   = {{ "texthash:/etc/splitmilter/copy" }}
}}
filter primary {{
    nexthop = "smtp:{primary}"
}}
filter secondary {{
    nexthop = "smtp:{secondary}"
}}
relay {{
    listen = {{ "inet:10030@127.0.0.1" }}
}}
destination archive {{
    relay_to = {{ "{archive}" }}
}}
recipient_delimiter = "+"
"""


# What dpkg, apt, their triggers, Postfix and its users write.
OTHERS = re.compile(
    r"/var/lib/(dpkg|apt|postfix|systemd|ucf|sgml-base|xml-core)/|/var/(cache|log|mail|backups)/|/var/spool/postfix/(?!split)"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|/etc/ld\.so\.cache$|/usr/lib/python3|/run/(?!split)|/root/splitmilter\.deb$"
)


class Root:
    """The fresh system, and commands in it."""

    def __init__(self, r):
        base, self.deb = os.environ.get("SPLIT_CLEAN_ROOT"), os.environ.get("SPLIT_DEB")
        if not base or not self.deb:
            raise rig.Skip("no clean root: ./dev cleanroot makes one and runs this test")
        self.r = r
        self.jail = rig.Jail(r)
        self.path = self.jail.overlay(base, "root")
        self.jail.bind("/dev", f"{self.path}/dev")
        self.jail.bind("/proc", f"{self.path}/proc")
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
        r.on_close(self.stop)

    def write(self, path, text, mode=0o644):
        with open(self.path + path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path + path, mode)

    def read(self, path):
        with open(self.path + path, "rb") as f:
            return f.read()

    def run(self, *argv, status=0):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["chroot", self.path, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=env, timeout=300, check=False)
        text = done.stdout.decode("utf-8", "replace")
        assert done.returncode == status, f"{argv}: exit {done.returncode}: {text}"
        return text

    def daemon(self, name):
        """As systemd would start it: as its own user."""
        argv = ["chroot", "--userspec=splitmilter:splitmilter", self.path, f"/usr/sbin/{name}"]
        daemon = rig.Daemon(self.r, name, argv)
        return daemon.start(lambda: "ready" in daemon.log())

    def stop(self):
        for name in ("postfix-in", "postfix-out", "postfix"):
            try:
                pid = int(self.read(f"/var/spool/{name}/pid/master.pid").split()[0])
            except (OSError, ValueError, IndexError):
                continue
            subprocess.run(["chroot", self.path, "postfix", "-c", f"/etc/{name}", "stop"], stderr=subprocess.DEVNULL, check=False)
            assert not os.path.exists(f"/proc/{pid}/exe") or not os.readlink(f"/proc/{pid}/exe").endswith("/master")

    def everything(self):
        """Every path of the system that nobody else is known to have made, and our users and groups."""
        found = set()
        for top in ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/usr", "/var"):
            for directory, directories, files in os.walk(self.path + top):
                found.update(os.path.join(directory, n)[len(self.path) :] for n in directories + files)
        accounts = self.read("/etc/passwd") + self.read("/etc/group") + self.read("/etc/shadow")
        return {p for p in found if not OTHERS.match(p)} | set(re.findall(r"(?m)^.*split.*$", accounts.decode()))

    def owned(self):
        """The paths of all packages. /lib is /usr/lib."""
        paths = self.run("sh", "-c", "cat /var/lib/dpkg/info/*.list").splitlines()
        return {re.sub("^/(s?bin|lib)", "/usr/\\1", p) for p in paths}


def test_from_a_bare_server_to_a_running_split(r):
    root = Root(r)
    filters = {n: rig.Filter(r, n, ("127.0.0.1", 10025)) for n in ("primary", "secondary")}
    archive = rig.Sink(r, "archive")
    root.run("apt-get", "install", "-y", "--no-download", "--no-install-recommends", "postfix", "systemd")
    root.run("useradd", "--create-home", "anna")
    root.run("useradd", "--create-home", "ben")
    before, files = root.everything(), [root.read(f"/etc/postfix/{n}") for n in ("main.cf", "master.cf")]
    shutil.copy(root.deb, f"{root.path}/root/splitmilter.deb")
    root.run("apt-get", "install", "-y", "--no-install-recommends", "/root/splitmilter.deb")

    host = root.run("postconf", "-h", "myhostname").strip()
    names = {n: f.bracketed for n, f in filters.items()}
    root.write("/etc/splitmilter/splitmilter.conf", CONFIGURATION.format(archive=archive.bracketed, **names))
    root.write("/etc/splitmilter/filter", f"anna@{host} primary\nben@{host} secondary\n")
    root.write("/etc/splitmilter/copy", f"anna@{host} archive\n")
    assert len(CONFIGURATION.splitlines()) <= 20
    root.run("splitctl", "setup-postfix", "--multi", "--apply")
    assert "Nothing to do" in root.run("splitctl", "setup-postfix", "--multi", "--apply")
    assert root.run("postfix", "check") == "" and root.run("postmulti", "-x", "postfix", "check") == ""
    daemons = [root.daemon(name) for name in ("splitrelay", "splitmilter")]
    root.run("postfix", "start")
    for name in ("postfix", "postfix-in", "postfix-out"):
        r.session.record_process(int(root.read(f"/var/spool/{name}/pid/master.pid").split()[0]), name)
    assert "0 errors, 0 warnings" in root.run("splitctl", "check")

    rig.send(("127.0.0.1", 25), "s@sender.test", [f"anna@{host}", f"ben@{host}"], b"Subject: both\r\n\r\ntext\r\n")
    for name, passed in (("anna", b"primary"), ("ben", b"secondary")):
        path = f"{root.path}/var/mail/{name}"
        rig.wait_for(lambda p=path: os.path.exists(p) and os.path.getsize(p) > 0, 30, f"mail of {name}")
        text = root.read(f"/var/mail/{name}")
        assert re.findall(rb"(?m)^X-Filtered-By: (\w+)", text) == [passed], text
    copy = archive.wait(1)[0]
    assert copy.addrs == [f"anna@{host}"] and not copy.headers("X-Filtered-By")
    assert '"running": true' in root.run("splitctl", "status", "--json")

    root.run("dpkg", "--purge", "splitmilter", status=1)  # not while Postfix depends on it
    root.run("splitctl", "setup-postfix", "--remove", "--apply")
    assert [root.read(f"/etc/postfix/{n}") for n in ("main.cf", "master.cf")] == files
    for daemon in daemons:
        daemon.stop()  # systemd does it, where it runs
    for table in ("filter", "copy"):
        os.unlink(f"{root.path}/etc/splitmilter/{table}")  # the administrator's, not the package's
    root.run("dpkg", "--purge", "splitmilter")
    after = root.everything()
    assert before <= after, sorted(before - after)
    assert not after - before - root.owned(), sorted(after - before - root.owned())


if __name__ == "__main__":
    rig.main(timeout=240)

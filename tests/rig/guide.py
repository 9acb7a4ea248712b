# SPDX-License-Identifier: ISC
"""Runs the guides in docs/: the contents of their fenced blocks, block by block, on the system of a Jail or on a Machine.

```sh              commands, one on each line; bash runs them, and they must succeed
```sh elsewhere    commands for another machine, or for tools that a test cannot have; listed, but not run
```conf            a file; the comment in its first line is its path
```conf elsewhere  a file on another machine; only checked
```sh db1 db2      commands for these machines, which it_scaling.py runs
```conf db1 db2    files on these machines
```sql, ```ldif    for a server of the test; see Guide.handlers
others             output, or steps that only a reader can do
"""

import os
import re
import subprocess

from .base import Failure
from .daemons import Daemon, TOP, accepts, program
from .jail import Jail, dated_back
from .postfix import date_back, environment

CONFIGURATION = "/etc/splitmilter/splitmilter.conf"
OURS = ("splitmilter", "splitrelay")
MAIN = """\
compatibility_level = 3.6
myhostname = mail.example.com
mydestination = localhost
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relay_domains = example.com
transport_maps = inline:{{ {{ * = smtp:{mailbox} }} }}
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
maillog_file = /var/log/mail.log
"""


def blocks(name, section=None):
    """(kind, text) of every fenced block of a page: README.md, or a file in docs/. kind: "sh", "sh elsewhere", "conf", ...
    section: a heading of the second level; only the blocks below it."""
    with open(os.path.join(TOP, "" if name == "README.md" else "docs", name), encoding="utf-8") as f:
        text = f.read()
    if section is not None:
        text = "".join(re.findall(rf"(?ms)^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text))
    found = re.findall(r"(?ms)^```([\w. ]*)\n(.*?)^```$", text)
    if not found:
        raise Failure(f"no blocks in {name}, section {section}")
    return found


def commands(text):
    """The commands of a block: its lines, joined after a backslash at the end, without comments."""
    return [line for line in text.replace("\\\n", "").splitlines() if line and not line.startswith("#")]


class MachineGuide:
    """Follows guides on a Machine literally, in the order of the page. clone: the directory in which the reader starts, with the
    package in build/deb. replaced: texts in files of the guides -> their replacements in this test. ran, skipped: the commands
    that were run, and those that were not."""

    def __init__(self, machine, replaced=()):
        self.machine = machine
        self.replaced = dict(replaced)
        self.clone = "/root/splitmilter"
        self.ran, self.skipped = [], []

    def follow(self, name, between=None, until=None):
        """Do what the guide says. between(line) is called before each command; if it returns true, the command is not run.
        until: stop before the command that begins with this text."""
        self.directory = self.clone
        for kind, text in blocks(name):
            if kind in ("conf", "conf elsewhere"):
                self._write(kind, text)
            elif kind == "sh":
                for line in commands(text):
                    if until and line.startswith(until):
                        return self
                    self._run(name, line, between)
            elif kind == "sh elsewhere":
                self.skipped += commands(text)
        for line in self.skipped:
            print(f"  {name}: not run: {line}")
        return self

    def _write(self, kind, text):
        path = re.match(r"# (/\S+)\n", text).group(1)
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        if kind == "conf":
            self.machine.write(path, text)
        else:
            self.machine.write(f"/root/elsewhere{path}", text)
            self.machine.run(f"splitrelay -t -c /root/elsewhere{path}")

    def _run(self, name, line, between):
        is_done = between(line) if between else False
        if is_done or line == "./dev deb":  # ./dev cleanroot has run it already
            self.skipped.append(line)
            return
        print(f"  {name}: {line}")
        if line.startswith("cd "):
            self.directory = line[3:]
        else:
            self.machine.run(line, directory=self.directory)
        self.ran.append(line)


class Guide:
    """A system with Postfix on which guides are followed. fresh() restores its first state. mailbox: the sink for all mail.
    replaced: texts in files of the guides -> their replacements in this test. handlers: kinds of blocks -> functions, which are
    called with the text."""

    handlers = {}

    def __init__(self, rig):
        self.rig = rig
        self.jail = Jail(rig)
        self.daemons = {}
        self.bin = rig.path("bin")
        rig.write("bin/splitctl", f"#!/bin/sh\nexec {program('splitctl')} -c {CONFIGURATION} \"$@\"\n", mode=0o755)
        rig.on_close(self.stop)
        rig.show_on_failure("mail.log", "/var/log/mail.log")

    def fresh(self, mailbox, replaced):
        self.stop()
        self.replaced = dict(replaced)
        self.ran = 0
        self.jail.fresh()
        for directory in ("/etc/splitmilter", "/var/spool/splitmilter"):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        subprocess.run(["useradd", "--system", "splitmilter"], check=False, stderr=subprocess.DEVNULL)
        self.write("/etc/postfix/main.cf", MAIN.format(mailbox=mailbox.bracketed))
        self.write("/etc/mailname", "mail.example.com\n")  # which Debian's set-up of Postfix makes, and amavis reads
        if not os.path.exists("/etc/postfix/master.cf"):
            with open("/usr/share/postfix/master.cf.dist", encoding="utf-8") as f:
                self.write("/etc/postfix/master.cf", f.read())

    def stop(self):
        for name in list(self.daemons):
            self.daemons.pop(name).stop()
        self.jail.stop_postfix()

    def write(self, path, text):
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        date_back(path)

    def follow(self, name, only=("sh", "conf"), since=None, section=None, until=None):
        """Do what the guide, or a section of it, says. Returns the number of commands that were run. since: the first command to
        run; until: stop before the command that begins with this text."""
        before = self.ran
        for kind, text in blocks(name, section):
            if kind in self.handlers:
                self.handlers[kind](text)
            elif kind == "conf" and kind in only:
                self.write(re.match(r"# (/\S+)\n", text).group(1), text)
            elif kind == "sh" and kind in only:
                for line in commands(text):
                    if until and line.startswith(until):
                        return self.ran - before
                    since = None if line == since else since
                    if since is None:
                        self.command(line)
                        self.ran += 1
        return self.ran - before

    def command(self, line):
        """Run one command of a guide. Commands for systemd are carried out here; those for apt are left out."""
        words = line.split()
        if words[0] == "systemctl":
            for name in (w for w in words[2:] if w != "--now"):
                self.service(words[1], name)
        elif words[0] == "journalctl":
            units = [words[i + 1] for i, word in enumerate(words) if word == "-u"]
            missing = [u for u in units if not os.path.exists(os.path.join(TOP, "conf", "systemd", f"{u}.service.in"))]
            if missing:
                raise Failure(f"{line}: no unit {missing}")
        elif words[0] not in ("apt", "./dev"):  # it_clean_root.py runs them
            self.run(line)

    def run(self, line):
        env = environment()
        env["PATH"] = f"{self.bin}:{env['PATH']}"
        with dated_back():
            done = subprocess.run(["bash", "-c", line], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=120, check=False)
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode != 0:
            raise Failure(f"{line}: exit {done.returncode}\n{said}")
        self.jail.record_postfix()
        return said

    def service(self, verb, name):
        if name == "postfix":
            self.run("postfix start" if verb == "start" else "postfix stop; postfix start")
            return
        if name not in OURS:
            return  # a unit of another package, which the test starts itself if it needs it
        if verb in ("stop", "restart", "disable") and name in self.daemons:
            self.daemons.pop(name).stop()
        if verb in ("start", "restart"):
            number = len([n for n in os.listdir(self.rig.directory) if n.startswith(name)])
            self.daemons[name] = Daemon(self.rig, f"{name}{number}", [program(name), "-c", CONFIGURATION])
            address = ("127.0.0.1", 10030)
            if name == "splitmilter":
                with open(CONFIGURATION, encoding="utf-8") as f:
                    address = re.search(r'socket\s*=\s*"unix:(.*?)"', f.read()).group(1)
            self.daemons[name].start(lambda: accepts(address))

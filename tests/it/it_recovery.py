#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The commands of docs/operations.md for backup, restoring and recovery do what the guide says, with splitrelay's own database."""

import collections
import json
import os
import re
import shlex
import subprocess

import rig
from rig.daemons import TOP, program, run_splitctl

COPY = "archive.copy.split.invalid"
BODY = b"".join(b"%03d " % n + b"x" * 90 + b"\r\n" for n in range(30))  # one fills most of a page
LARGE = BODY * 120  # a file in large/


def blocks(heading):
    """The shell blocks of a section of the guide, each a list of lines."""
    with open(os.path.join(TOP, "docs", "operations.md"), encoding="utf-8") as f:
        (section,) = re.findall(rf"(?ms)^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", f.read())
    return [text.splitlines() for text in re.findall(r"(?ms)^```sh[a-z ]*\n(.*?)^```$", section)]


class Site:
    """splitrelay with a destination that is down, and an administrator who follows the guide."""

    def __init__(self, r):
        rig.need_tools("sqlite3")
        self.r = r
        self.sink = rig.Sink(r, "archive", start=False)
        self.address = ("127.0.0.1", r.free_port())
        self.spool, self.backup = r.path("spool"), r.path("backup")
        self.text = f"""\
log {{ target = "stderr" }}
relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{self.spool}" min_free_space = "1k" }}
destination archive {{ relay_to = {{ "{self.sink.bracketed}" }} retry_min = "1s" retry_max = "1s" }}
"""
        self.starts = 0
        self.directory = r.directory
        self.start()
        r.write("bin/splitctl", f'#!/bin/sh\nexec {os.path.abspath(program("splitctl"))} -c {self.daemon.configuration_path} "$@"\n', mode=0o755)

    def start(self):
        self.starts += 1
        self.daemon = rig.start_splitrelay(self.r, self.text, self.address, name=f"splitrelay{self.starts}")

    def put(self, subject, body=BODY):
        with rig.SmtpClient(self.address) as c:
            for reply in (c.mail("s@sender.test"), c.rcpt(f"a@x.test.{COPY}")):
                if reply.code != 250:
                    return reply.code
            return c.data(f"Subject: {subject}\r\n\r\n".encode() + body).code

    def run(self, line):
        """One line of the guide. Returns what it writes."""
        if line == "systemctl stop splitrelay":
            return self.daemon.stop()
        if line == "systemctl start splitrelay":
            return self.start()
        if line.startswith("apt "):
            return None
        for old, new in (("/var/spool/splitmilter", self.spool), ("/var/backups/splitmilter", self.backup),
                         (" splitmilter: ", f" {os.geteuid()} ")):
            line = line.replace(old, new)
        if line.startswith("cd "):
            self.directory = line[3:]
            return None
        script = f"PATH={shlex.quote(self.r.path('bin'))}:$PATH; set -o pipefail; {line}"
        done = subprocess.run(["bash", "-c", script], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        print(f"  {line}\n{done.stdout}", end="")
        assert done.returncode == 0, f"{line}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def arrived(self):
        return collections.Counter(s for t in self.sink.accepted for s in t.headers("Subject"))

    def drain(self):
        """Wait until all that is not a dead letter is delivered."""
        run_splitctl(self.r, self.daemon.configuration_path, "retry", "--all")
        rig.wait_for(lambda: not rig.queue.ids(self.spool, "queued"), 30, "an empty queue")


def test_a_backup_is_restored(r):
    site = Site(r)
    for n in range(5):
        assert site.put(f"small{n}") == 250
    assert site.put("large", LARGE) == 250
    online = next(b for b in blocks("Backup and recovery") if any("VACUUM INTO" in line for line in b))
    for line in online:
        site.run(line)
    assert site.put("later") == 250
    (restore,) = blocks("Restore")
    for line in restore:
        site.run(line)
        if "hold --all" in line:
            assert len(rig.queue.ids(site.spool, "held")) == 6
    assert rig.queue.select(site.spool, "PRAGMA auto_vacuum")[0][0] == 2
    site.sink.start()
    site.drain()
    assert site.arrived() == collections.Counter([f"small{n}" for n in range(5)] + ["large"])
    assert not rig.queue.ids(site.spool)


def damage(path, text):
    """Overwrite the beginning of the page that has the text in it."""
    with open(path, "r+b") as f:
        f.seek(f.read().index(text) // 4096 * 4096)
        f.write(b"\xff" * 16)


def has_recover(r):
    path = r.path("probe.db")
    subprocess.run(["sqlite3", path, "CREATE TABLE t (a)"], check=True)
    return subprocess.run(["sqlite3", path, ".recover"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def check_status(r, site):
    """splitctl says that nothing is taken."""
    reason = f"no copies are taken: {site.spool}/queue.db is damaged"
    code, out, err = run_splitctl(r, site.daemon.configuration_path, "status", "--json", check=False)
    found = json.loads(out)
    assert (code, found["state"], found["splitrelay"]["refusal"]) == (2, "critical", reason), f"{out}{err}"
    assert reason in found["reason"]
    out = run_splitctl(r, site.daemon.configuration_path, "status", check=False)[1]
    assert out.startswith("CRITICAL: ") and f"\n  {reason}\n" in out, out
    assert f"spool: {reason}" in "".join(run_splitctl(r, site.daemon.configuration_path, "check", check=False)[1:])


def recover(r, with_dump):
    site = Site(r)
    subjects = [f"m{n:02}" for n in range(30)] + ["large"]
    for subject in subjects:
        assert site.put(subject, LARGE if subject == "large" else BODY) == 250
    site.daemon.stop()
    damage(os.path.join(site.spool, "queue.db"), b"Subject: m07")
    site.start()

    def refuses():
        reply = site.put("more")
        if reply == 250:  # the damage was not found yet
            subjects.append("more")
        return reply == 451

    rig.wait_for(refuses, 30, "a refusal")
    site.daemon.wait_log(r"queue\.db is damaged")
    check_status(r, site)
    commands, (dump,) = blocks("Recover a damaged database")
    site.sink.start()
    for line in commands:
        said = site.run(dump if with_dump and ".recover" in line else line)
        if "integrity_check" in line:
            assert said.splitlines()[0] == "ok"
    site.drain()
    dead = rig.queue.copies(site.spool, "dead")
    assert 0 < len(dead) < 5, dead
    said = site.run(commands[-1])
    assert all(c.id in said for c in dead), said
    arrived = site.arrived()
    assert arrived.total() == len(subjects) - len(dead) and arrived <= collections.Counter(subjects), arrived
    assert "m07" not in arrived and "large" in arrived
    assert site.put("again") == 250


def test_a_damaged_database_is_recovered_by_dump(r):
    """Newer versions of .dump find less, but have .recover."""
    if has_recover(r):
        raise rig.Skip("this sqlite3 has .recover")
    recover(r, with_dump=True)


def test_a_damaged_database_is_recovered_by_recover(r):
    if not has_recover(r):
        raise rig.Skip("this sqlite3 has no .recover")
    recover(r, with_dump=False)


if __name__ == "__main__":
    rig.main()

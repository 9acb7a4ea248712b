#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""After a restart, SIGKILL, SIGSTOP, a full disk, a read-only spool, foreign and truncated files, or a clock that is set back, no
copy is lost, and only copies that were in delivery arrive twice.

SPLIT_STOP_SECONDS (3): the duration of SIGSTOP; use 60 before a release.
"""

import collections
import errno
import os
import re
import subprocess
import threading
import time

import rig
from rig import power
from rig.daemons import program, run_splitctl

STOP_SECONDS = int(os.environ.get("SPLIT_STOP_SECONDS", "3"))
COPY = "archive.copy.split.invalid"
CONCURRENCY = 3
BODY = b"".join(b"%03d " % n + b"x" * 90 + b"\r\n" for n in range(30))


class Relay:
    """splitrelay with one destination, a sink that is not started yet."""

    def __init__(self, r, spool=None, env=None, hook=None):
        self.r, self.env = r, env
        self.sink = rig.Sink(r, "archive", hook=hook, start=False)
        self.address = ("127.0.0.1", r.free_port())
        self.spool = spool or r.path("spool")
        self.text = f"""\
log {{ target = "stderr" }}
relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" {rig.queue.options(self.r, self.spool)} min_free_space = "1k" }}
destination archive {{ relay_to = {{ "{self.sink.bracketed}" }} concurrency = {CONCURRENCY} retry_min = "1s" retry_max = "1s" }}
"""
        self.names = 0
        self.daemon = None
        self.committed, self.uncertain = set(), set()

    def start(self):
        self.names += 1
        self.daemon = rig.start_splitrelay(self.r, self.text, self.address, name=f"splitrelay{self.names}", env=self.env)
        return self

    def restart(self):
        self.daemon.stop()
        return self.start()

    def put(self, subject, body=BODY):
        """Send one message. Returns the last reply."""
        with rig.SmtpClient(self.address) as c:
            for reply in (c.mail("s@sender.test"), c.rcpt(f"a@x.test.{COPY}")):
                if reply.code != 250:
                    return reply
            reply = c.data(f"Subject: {subject}\r\n\r\n".encode() + body)
            if reply.code == 250:
                self.committed.add(subject)
            return reply

    def put_many(self, prefix, count):
        for n in range(count):
            assert self.put(f"{prefix}{n}").code == 250

    def retry(self):
        run_splitctl(self.r, self.daemon.configuration_path, "retry", "--all")

    def queued(self, state="queued"):
        """Ids of copies."""
        return rig.queue.ids(self.spool, state)

    def arrived(self):
        """{subject: the number of times that the sink accepted it}."""
        return collections.Counter(s for t in self.sink.accepted for s in t.headers("Subject"))

    def complete(self, seconds=40):
        """Wait until all committed messages have arrived, and the queue is empty."""
        rig.wait_for(lambda: self.committed <= set(self.arrived()) and not self.queued(), seconds, "all copies",
                     lambda: f"missing {sorted(self.committed - set(self.arrived()))[:9]}, queued {self.queued()[:9]}")

    def check(self, again_at_most):
        """Check that no message is lost, and that at most again_at_most of those whose client got 250 arrived again."""
        self.complete()
        again = {s: n - 1 for s, n in self.arrived().items() if n > 1 and s not in self.uncertain}
        print(f"{len(self.committed)} committed, {len(self.uncertain)} uncertain, sent again: {sum(again.values())}")
        assert sum(again.values()) <= again_at_most, f"sent again: {again}"
        assert not self.queued("dead") and not self.queued("held")
        rig.wait_for(lambda: not rig.queue.leftovers(self.spool), 20, "an empty queue", lambda: str(rig.queue.leftovers(self.spool)))


class Load:
    """Sends one message after the other, each until it is accepted, until end() is called."""

    def __init__(self, relay, prefix="load"):
        self.relay, self.prefix = relay, prefix
        self.is_over = False
        self.count = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_over:
            subject = f"{self.prefix}{self.count}"
            while not self.attempt(subject):
                time.sleep(0.02)  # splitrelay is down
            self.count += 1

    def attempt(self, subject):
        try:
            return self.relay.put(subject).code == 250
        except (OSError, rig.SmtpError):
            self.relay.uncertain.add(subject)  # it may have been committed, although no reply arrived
            return False

    def more(self, count=30):
        goal = self.count + count
        rig.wait_for(lambda: self.count >= goal, 40, f"{goal} messages to be taken", lambda: f"{self.count} were")

    def end(self):
        self.is_over = True
        self.thread.join(20)


def slow_dot(stage, _conn, _arg):
    """A slow server, so that copies are in delivery at any moment."""
    if stage == "dot":
        time.sleep(0.02)


def under_load(r, event, count=3):
    """Call event(relay) count times while messages arrive and are delivered."""
    relay = Relay(r, hook=slow_dot).start()
    relay.sink.start()
    load = Load(relay)
    for _ in range(count):
        load.more()
        event(relay)
    load.more()
    load.end()
    return relay


def test_restart(r):
    """A clean stop finishes deliveries in progress, so nothing arrives twice."""
    under_load(r, Relay.restart).check(0)


def test_kill(r):
    """After SIGKILL only copies that were in delivery arrive twice."""
    def event(relay):
        relay.daemon.kill()
        relay.start()

    under_load(r, event).check(3 * CONCURRENCY)


def test_stopped(r):
    """After SIGSTOP, during which the server closes its connections, only copies that were in delivery arrive twice."""
    def event(relay):
        relay.daemon.freeze()
        time.sleep(STOP_SECONDS / 2)  # the stop that is tested; there is nothing to wait for
        relay.sink.cut()
        time.sleep(STOP_SECONDS / 2)
        relay.daemon.thaw()

    under_load(r, event, 1).check(CONCURRENCY)


def fill(path):
    """Fill the file system completely."""
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"\0" * 4096)
        except OSError:
            pass


def test_full_disk(r):
    """On a full disk clients get 452, and copies in the queue are still delivered, or deferred."""
    rig.queue.need_sqlite()
    mount = r.mount_tmpfs("small", "6M")
    later = set()
    relay = Relay(r, spool=os.path.join(mount, "spool"), hook=lambda stage, _c, _a: "451 4.3.0 later" if stage == "mail" and not later else None).start()
    relay.put_many("before", 20)
    fill(os.path.join(mount, "filler"))
    codes = {str(relay.put(f"full{n}", BODY * 20))[:9] for n in range(5)}
    assert codes == {"452 4.3.1"}, codes
    relay.sink.start()
    relay.retry()
    relay.daemon.wait_log(r"status=deferred \(.*451 4\.3\.0 later", count=20)
    assert not relay.sink.accepted
    relay.restart()
    later.add("now")
    relay.sink.cut()
    relay.retry()
    rig.wait_for(lambda: relay.sink.accepted, 20, "a delivery from a full disk", relay.daemon.log)
    os.unlink(os.path.join(mount, "filler"))
    relay.put_many("after", 5)
    relay.retry()
    relay.check(0)


def remount(path, mode):
    done = subprocess.run(["mount", "-o", f"remount,{mode}", path], stderr=subprocess.PIPE, check=False)
    return done.returncode == 0


def test_read_only(r):
    """If the file system becomes read-only, clients get 451, and no copy is sent more than once. When it is writable again, all
    copies are delivered."""
    rig.queue.need_sqlite()
    switch = r.path("read-only")  # while this file is there, all calls that change something in the spool fail
    mount = r.mount_tmpfs("ro", "20M")
    spool = os.path.join(mount, "spool")
    env = power.environment(LD_PRELOAD=power.program("diskrec.so"), DISKREC_ROOT=spool, DISKREC_FAIL=f"while:{switch}:{errno.EROFS}")
    relay = Relay(r, spool=spool, env=env).start()
    relay.put_many("before", 20)
    r.write("read-only", "")
    code = str(relay.put("refused"))[:9]
    assert code == "451 4.3.0", code
    relay.sink.start()
    relay.daemon.wait_log("error: .*Read-only file system")
    rig.wait_for(relay.arrived, 20, "a delivery")  # nothing has to be written for the first ones
    assert max(relay.arrived().values()) == 1
    os.unlink(switch)
    rig.wait_for(lambda: relay.put("again").code == 250, 20, "mail to be accepted")
    relay.put_many("after", 5)
    relay.check(0)

    relay.sink.stop()
    relay.put_many("again", 5)
    relay.daemon.stop()
    assert remount(mount, "ro")
    done = subprocess.run([program("splitrelay"), "-c", relay.daemon.configuration_path], stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode not in (0, 1) and b"Read-only file system" in done.stderr, done
    assert remount(mount, "rw")
    relay.sink.start()
    relay.start().check(0)


def damage(relay):
    """Take from copies what belongs to them. Returns {id: the reason that is logged}."""
    files = rig.queue.large_files(relay.spool)
    small = [c for c in rig.queue.copies(relay.spool) if c.body_at == "body"]
    large = {c.id: f"{int(c.id, 16) & ~rig.queue.COPIES_MAX:X}" for c in rig.queue.copies(relay.spool) if c.body_at == "file"}
    assert sorted(large.values()) == files and len(files) == 4, files
    first, second, third, _ = large
    paths = {copy: os.path.join(relay.spool, "large", large[copy]) for copy in large}
    os.unlink(paths[first])
    os.truncate(paths[second], 1000)
    os.unlink(paths[third])
    os.mkdir(paths[third])
    message = int(small[0].id, 16) & ~rig.queue.COPIES_MAX
    assert rig.queue.change(relay.spool, "DELETE FROM body WHERE message = ?", message) == 1
    assert rig.queue.change(relay.spool, "UPDATE body SET data = zeroblob(10) WHERE message = ?", int(small[1].id, 16) & ~rig.queue.COPIES_MAX) == 1
    return {first: "No such file", second: "has 1000 bytes instead of", third: "instead of", small[0].id: "content", small[1].id: "content"}


def plant(relay):
    """Put foreign files into the spool. Returns those that stay, and those that are removed as what a crash left."""
    top = os.path.join(relay.spool, "large")
    stay = ["notes.txt", ".hidden", "0123", "directory"]
    for name in stay[:-1]:
        with open(os.path.join(top, name), "wb") as f:
            f.write(b"remember the milk")
    os.mkdir(os.path.join(top, "directory"))
    with open(os.path.join(top, "330B942CEE930000"), "wb") as f:
        f.truncate(1 << 33)
    os.symlink("/etc/hostname", os.path.join(top, "330B942CEE938000"))
    return stay, ["330B942CEE930000", "330B942CEE938000"]


def test_foreign_files(r):
    """Copies whose content is missing or damaged become dead letters, the copies beside them are delivered. Files in large/ that no
    row names are removed, and others are left alone."""
    rig.queue.need_sqlite()
    relay = Relay(r).start()
    relay.put_many("good", 20)
    for n in range(4):
        assert relay.put(f"large{n}", BODY * 100).code == 250
    relay.daemon.stop()
    damaged = damage(relay)
    stay, removed = plant(relay)
    relay.sink.start()
    relay.start()
    for copy_id, reason in damaged.items():
        relay.daemon.wait_log(rf"error: {copy_id}: dest=archive: .*{reason}.*: moved to the dead letters")
    for name in stay:
        relay.daemon.wait_log(rf"warning: .*large/{re.escape(name)} is not a file of the queue")
    rig.wait_for(lambda: not relay.queued(), 20, "an empty queue", relay.daemon.log)
    assert sorted(relay.queued("dead")) == sorted(damaged)
    assert len(relay.arrived()) == 24 - len(damaged) and set(relay.arrived().values()) == {1}
    found = rig.queue.large_files(relay.spool)
    assert set(stay) <= set(found) and not set(removed) & set(found), found
    assert os.path.exists("/etc/hostname")
    relay.restart()
    relay.put_many("next", 3)
    rig.wait_for(lambda: {"next0", "next1", "next2"} <= set(relay.arrived()), 20, "further mail", relay.daemon.log)


class Clock:
    """Sets the time of day of the programs. The monotonic clock is not changed."""

    def __init__(self, r):
        if rig.instrumented():
            raise rig.Skip("libfaketime and sanitizers do not go together")
        found = [d for d in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib") if os.path.exists(f"{d}/faketime/libfaketimeMT.so.1")]
        if not found:
            raise rig.Skip("not installed: libfaketime")
        self.path = r.path("clock")
        self.set("+0")
        self.env = {
            "LD_PRELOAD": f"{found[0]}/faketime/libfaketimeMT.so.1",
            "FAKETIME_TIMESTAMP_FILE": self.path,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset):
        with open(f"{self.path}.new", "w", encoding="ascii") as f:
            f.write(f"{offset}\n")
        os.rename(f"{self.path}.new", self.path)


def test_clock_set_back(r):
    """If the clock is set back by a day, while splitrelay runs or while it is down, copies are delivered at once all the same."""
    clock = Clock(r)
    well = []
    relay = Relay(r, env=clock.env, hook=lambda stage, _c, _a: None if well or stage != "mail" else "451 4.3.0 later").start()
    relay.sink.start()
    relay.put_many("deferred", 10)
    relay.daemon.wait_log("status=deferred", count=10)
    clock.set("-1d")
    well.append(True)
    relay.put_many("earlier", 10)
    relay.check(0)

    relay.sink.stop()
    relay.put_many("waiting", 10)
    relay.daemon.stop()
    clock.set("-2d")
    relay.sink.start()
    relay.start().put_many("later", 10)
    relay.check(0)

    relay.sink.stop()
    relay.put_many("many", 10)
    relay.daemon.kill()
    clock.set("-3d")
    relay.sink.start()
    relay.start()
    relay.check(0)


if __name__ == "__main__":
    rig.main(timeout=120 + 2 * STOP_SECONDS)

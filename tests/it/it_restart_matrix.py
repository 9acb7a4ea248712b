#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""After a restart, SIGKILL, SIGSTOP, a full disk, a read-only spool, foreign and truncated files, or a clock that is set back, no
copy is lost, and only copies that were in delivery arrive twice.

SPLIT_STOP_SECONDS (3): the duration of SIGSTOP; use 60 before a release.
"""

import collections
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import rig
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
relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{self.spool}" min_free_space = "1k" }}
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

    def files(self, top="queue"):
        return [os.path.join(d, f) for d, _, files in os.walk(os.path.join(self.spool, top)) for f in files]

    def arrived(self):
        """{subject: the number of times that the sink accepted it}."""
        return collections.Counter(s for t in self.sink.accepted for s in t.headers("Subject"))

    def complete(self, seconds=40):
        """Wait until all committed messages have arrived, and the queue is empty."""
        rig.wait_for(lambda: self.committed <= set(self.arrived()) and not self.files(), seconds, "all copies",
                     lambda: f"missing {sorted(self.committed - set(self.arrived()))[:9]}, queued {self.files()[:9]}")

    def check(self, again_at_most):
        """Check that no message is lost, and that at most again_at_most of those whose client got 250 arrived again."""
        self.complete()
        again = {s: n - 1 for s, n in self.arrived().items() if n > 1 and s not in self.uncertain}
        print(f"{len(self.committed)} committed, {len(self.uncertain)} uncertain, sent again: {sum(again.values())}")
        assert sum(again.values()) <= again_at_most, f"sent again: {again}"
        assert not self.files("dead") and not self.files("tmp") and not self.files("quarantine")


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
        relay.daemon.signal(signal.SIGSTOP)
        time.sleep(STOP_SECONDS / 2)  # the stop that is tested; there is nothing to wait for
        relay.sink.cut()
        time.sleep(STOP_SECONDS / 2)
        relay.daemon.signal(signal.SIGCONT)

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
    rig.need_root()
    mount = r.mount_tmpfs("ro", "20M")
    relay = Relay(r, spool=os.path.join(mount, "spool"))
    os.mkdir(relay.spool, 0o700)
    # Between deliveries only the lock is open for writing. It would prevent the remount, so it is on another file system.
    lock = os.path.join(relay.spool, "lock")
    for path in (lock, r.path("lock")):
        r.write(os.path.relpath(path, r.directory), "")
    r.session.record_mount(lock)
    subprocess.run(["mount", "--bind", r.path("lock"), lock], check=True)
    r.on_close(lambda: subprocess.run(["umount", "-l", lock], stderr=subprocess.DEVNULL, check=False))
    relay.start()
    relay.put_many("before", 20)
    rig.wait_for(lambda: remount(mount, "ro"), 20, "the file system to become read-only")
    code = str(relay.put("refused"))[:9]
    assert code == "451 4.3.0", code
    relay.sink.start()
    relay.retry()
    relay.daemon.wait_log("error: .*Read-only file system")
    relay.retry()
    relay.daemon.wait_log("error: .*Read-only file system", count=2)
    assert max(relay.arrived().values(), default=0) <= 1
    assert remount(mount, "rw")
    relay.put_many("after", 5)
    relay.retry()
    relay.check(0)

    relay.sink.stop()
    relay.put_many("again", 5)
    relay.daemon.stop()
    subprocess.run(["umount", lock], check=True)
    assert remount(mount, "ro")
    done = subprocess.run([program("splitrelay"), "-c", relay.daemon.configuration_path], stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode not in (0, 1) and b"Read-only file system" in done.stderr, done
    assert remount(mount, "rw")
    relay.sink.start()
    relay.start().check(0)


def plant(relay):
    """Put foreign files into the spool. Returns the names that must be reported."""
    good = sorted(relay.files())[0]
    due, dest = os.path.dirname(good), os.path.join(relay.spool, "queue", "archive")
    with open(good, "rb") as f:
        copy = f.read()
    head = copy.index(b"\nEND\n")
    contents = {
        "0000000empty": b"",
        "0000000short": copy[:-100],
        "0000000longer": copy + b"more\r\n",
        "0000000head": copy[: head // 2],
        "0000000noend": copy[: head + 1],
        "0000000binary": os.urandom(5000),
        "0000000version": copy.replace(b"splitrelay-spool 1", b"splitrelay-spool 9", 1),
        "0000000other": copy,  # a valid file, but with the id of another copy
        "notes.txt": b"remember the milk\n",
        ".hidden": b"x",
    }
    for name, content in contents.items():
        with open(os.path.join(due, name), "wb") as f:
            f.write(content)
    with open(os.path.join(due, "0000000sparse"), "wb") as f:
        f.truncate(1 << 33)
    os.mkdir(os.path.join(due, "0000000directory"))
    os.mkfifo(os.path.join(due, "0000000fifo"))
    os.symlink("/etc/hostname", os.path.join(due, "0000000symlink"))
    os.symlink(good, os.path.join(due, "0000000alias"))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.join(due, "0000000socket"))
    names = [*contents, *(f"0000000{x}" for x in ("sparse", "directory", "fifo", "symlink", "alias", "socket"))]
    for path in ("README", "archive/tomorrow", "archive/123"):
        with open(os.path.join(relay.spool, "queue", path), "wb") as f:
            f.write(b"x")
    shutil.copy(good, os.path.join(dest, "copy-of-a-copy"))
    return [*names, "README", "tomorrow", "123", "copy-of-a-copy"]


def test_foreign_files(r):
    """Files that are no copies are moved to quarantine and reported, the copies beside them are delivered, and tmp/ is emptied."""
    relay = Relay(r).start()
    relay.put_many("good", 20)
    relay.daemon.stop()
    names = plant(relay)
    with open(os.path.join(relay.spool, "tmp", "0000000left"), "wb") as f:
        f.write(b"x")
    relay.sink.start()
    relay.start()
    for name in names:
        relay.daemon.wait_log(rf"{name.replace('.', '[.]')} is no valid copy \(.+\): moved to quarantine/\w+-{name.replace('.', '[.]')}")
    relay.complete()
    assert set(relay.arrived().values()) == {1} and set(relay.arrived()) == relay.committed
    quarantine = sorted(n.split("-", 1)[1] for n in os.listdir(os.path.join(relay.spool, "quarantine")))
    assert quarantine == sorted(names), f"{quarantine}, not {sorted(names)}"
    assert not relay.files("tmp") and os.path.exists("/etc/hostname")
    relay.restart()
    relay.put_many("next", 3)
    relay.complete()
    assert set(relay.arrived().values()) == {1}


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

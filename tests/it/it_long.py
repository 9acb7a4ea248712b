#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Mixed load for a long time: queue.db and its write-ahead log stay bounded, no commit waits long for a checkpoint, nothing is lost.

The load is a steady stream of small copies, a listener's messages, messages of up to 2 MB for two destinations, of which one refuses
often and the other is away half of the time, an administrator who holds, releases, requeues, deletes, suspends and lists, and a
reader that keeps a view of the database open for seconds, so that the log cannot begin again.

SPLIT_LONG_MINUTES (1; 5 in CI; 60 for the hour of a release) is its length; SPLIT_SEED repeats a run.
"""

import os
import random
import threading
import time

import rig
from rig import metrics

SECONDS = float(os.environ.get("SPLIT_LONG_MINUTES", "1")) * 60
SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))
LOG_MAX = 64 * 2**20  # of queue.db-wal, while a reader keeps a view for READER_SECONDS
LOG_KEPT = 17 * 2**20  # of queue.db-wal, after the load
ROOM = 32 * 2**20  # of queue.db beyond what it contains
READER_SECONDS = 3
HISTORY_SECONDS = 20
COMMITS = "splitrelay_queue_commit_seconds"
SUFFIX = "copy.split.invalid"


class Load:
    """Threads that do one thing each until the time is over. The first failure of one of them ends all, and fails the test."""

    def __init__(self):
        self.is_over = threading.Event()
        self.failure = None
        self.threads = []

    def add(self, function, pause=0.0):
        self.threads.append(threading.Thread(target=self.repeat, args=(function, pause)))

    def repeat(self, function, pause):
        try:
            while not self.is_over.wait(pause):
                function()
        except Exception as e:  # pylint: disable=broad-except
            self.failure = self.failure or e
            self.is_over.set()

    def run(self, seconds):
        for thread in self.threads:
            thread.start()
        self.is_over.wait(seconds)
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise self.failure


class System:
    """splitrelay, its destinations, and all that the threads of the load do. sent[NAME]: the recipients for a destination."""

    def __init__(self, r):
        self.r = r
        self.chance = random.Random(SEED)
        self.fast, self.primary = rig.SmtpSink(r, "fast"), rig.SmtpSink(r, "primary")
        self.moody = rig.Sink(r, "moody", hook=self.refuse, keep_data=False)
        self.away = rig.Sink(r, "away", keep_data=False)
        self.is_moody = True
        self.spool = r.path("spool")
        os.mkdir(self.spool, 0o700)
        self.copies, self.listener = ("127.0.0.1", r.free_port()), ("127.0.0.1", r.free_port())
        self.metrics_port = r.free_port()
        self.relay = rig.start_splitrelay(r, self.configuration(), self.copies)
        self.page = metrics.Page(self.metrics_port)
        self.number = 0
        self.sent = {"moody": set(), "away": set()}
        self.quick = 0  # copies for the fast one
        self.content_max = self.database_max = self.log_max = 0
        self.slowest_sync = 0.0
        self.commands = 0

    def configuration(self):
        where = {"fast": self.fast.bracketed, "moody": self.moody.bracketed, "away": self.away.bracketed, "doomed": "[127.0.0.1]:1"}
        return (
            f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{self.copies[1]}@127.0.0.1" }} hostname = "relay.test"\n'
            f'spool_directory = "{self.spool}" history = "{HISTORY_SECONDS}s" metrics = "inet:{self.metrics_port}@127.0.0.1" }}\n'
            + "".join(
                f'destination {name} {{ relay_to = {{ "{to}" }} retry_min = "1s" retry_max = "2s" connect_timeout = "5s" }}\n'
                for name, to in where.items()
            )
            + f'listener lists {{ listen = {{ "inet:{self.listener[1]}@127.0.0.1" }} primary = {{ "{self.primary.bracketed}" }} copies = {{ "fast" }} }}\n'
        )

    def refuse(self, stage, _conn, _arg):
        """The hook of the moody one."""
        chance = self.chance.random()
        if not self.is_moody or stage not in ("mail", "rcpt", "dot"):
            return None
        return "550 5.1.1 no" if chance < 0.01 else "451 4.3.0 later" if chance < 0.1 else None

    def ctl(self, *args, check=True):
        self.commands += 1
        return rig.run_splitctl(self.r, self.relay.configuration_path, *args, check=check)[1]

    # --- the threads ---

    def stream(self):
        rig.smtp_source(self.copies, 100, 5, 4096, recipient=f"r@example.com.fast.{SUFFIX}", flags=("-d",))
        self.quick += 100

    def duplicate(self):
        rig.smtp_source(self.listener, 20, 4, self.chance.choice((500, 20000)))
        self.quick += 20

    def mix(self):
        """Ten messages over one connection, for both difficult destinations; some are files beside the database."""
        with rig.SmtpClient(self.copies) as c:
            for _ in range(10):
                self.number += 1
                size = self.chance.choice((100, 3000, 30000)) if self.number % 40 else self.chance.choice((300000, 2000000))
                line = b"x" * 76 + b"\r\n"
                content = b"Subject: %d\r\n\r\n" % self.number + line * (size // len(line) + 1)
                names = ["moody", "away"] if self.number % 3 else ["doomed"]
                assert c.mail("s@sender.test").code == 250
                for name in names:
                    assert c.rcpt(f"n{self.number}@example.com.{name}.{SUFFIX}").code == 250
                assert c.data(content).code == 250
                for name in names:
                    if name in self.sent:
                        self.sent[name].add(f"n{self.number}@example.com")

    def come_and_go(self):
        """The one that is away half of the time."""
        self.away.stop()
        time.sleep(2)
        self.away.start()

    def administrate(self):
        """Nothing of it keeps a copy from the destinations of `sent` for good."""
        what = self.chance.randrange(7)
        if what == 0:
            self.ctl("hold", "--yes", "--all", self.chance.choice(("moody", "away")))
        elif what == 1:
            self.ctl("release", "--yes", "--all")
        elif what == 2:
            self.ctl("retry", "--yes", "--all", "away")
        elif what == 3:
            self.ctl("delete", "--yes", "--all", "doomed")
        elif what == 4:
            self.ctl("requeue", "--yes", "--all", "moody")
        elif what == 5:
            self.ctl("suspend", "moody", "--for", "2s")
        else:
            self.ctl("queue", "--to", f"n{max(1, self.number - 20)}@example.com", "--limit", "5")
            self.ctl("queue", "--summary")
            self.ctl("history", "--limit", "10")

    def read(self):
        with rig.queue.reading(self.spool) as db:
            db.execute("SELECT count(*) FROM history").fetchall()
            time.sleep(READER_SECONDS)

    def probe(self):
        """What a sync of 4 kB costs here and now, without splitrelay."""
        start = time.monotonic()
        with open(self.r.path("probe"), "wb") as f:
            f.write(bytes(4096))
            f.flush()
            os.fdatasync(f.fileno())
        self.slowest_sync = max(self.slowest_sync, time.monotonic() - start)

    def look(self):
        """What is on disk, and what of it is needed. A file can vanish between two looks; queue.db does not."""
        path = rig.queue.path(self.spool)
        self.database_max = max(self.database_max, os.path.getsize(path))
        self.log_max = max(self.log_max, os.path.getsize(path + "-wal"))
        rows = rig.queue.select(self.spool, "SELECT coalesce(sum(size), 0), count(*) FROM message WHERE body_at = 'body'")
        self.content_max = max(self.content_max, rows[0][0] + 1000 * rows[0][1])

    # --- afterwards ---

    def drain(self):
        """Until all was delivered that was not deleted."""
        self.is_moody = False
        self.ctl("delete", "--yes", "--all", "doomed", check=False)
        self.ctl("resume", "moody", check=False)

        def is_empty():
            for order in (("release", "--yes", "--all"), ("requeue", "--yes", "--all", "moody"), ("retry", "--yes", "--all")):
                self.ctl(*order, check=False)
            return rig.queue.count(self.spool) == rig.queue.count(self.spool, destination="doomed")

        rig.wait_for(is_empty, 60 + SECONDS / 10, "an empty queue", lambda: str(rig.queue.copies(self.spool)[:5]))
        self.ctl("delete", "--yes", "--all", "doomed", check=False)


def check_sizes(s):
    assert s.log_max <= LOG_MAX, f"queue.db-wal had {s.log_max} bytes"
    assert s.database_max <= 2 * s.content_max + ROOM, f"queue.db had {s.database_max} bytes, for at most {s.content_max} of content"


def check_commits(s):
    """No commit of more than half a second, unless the disk alone was that slow."""
    now = s.page.look()
    count, fast = now[f"{COMMITS}_count"], now[f"{COMMITS}_bucket{{le=0.5}}"]
    print(f"{count:.0f} commits, {count - fast:.0f} of more than 0.5 s; the slowest sync of another file took {s.slowest_sync:.3f} s")
    assert count > 0
    assert count == fast or s.slowest_sync > 0.25, f"{count - fast:.0f} commits took more than 0.5 s"


def check_end(s):
    """Space is given back, the history is short, nothing is left over, all was delivered."""
    path = rig.queue.path(s.spool)
    rig.wait_for(lambda: os.path.getsize(path + "-wal") <= LOG_KEPT, 30, "a short log", lambda: str(os.path.getsize(path + "-wal")))
    rig.wait_for(lambda: os.path.getsize(path) <= ROOM, 60, "a small database", lambda: str(os.path.getsize(path)))
    assert rig.queue.leftovers(s.spool) == []
    old = "SELECT count(*) FROM history WHERE time < ?"
    rig.wait_for(lambda: rig.queue.select(s.spool, old, int(time.time()) - HISTORY_SECONDS - 5)[0][0] == 0, 60, "a short history")
    for name, sink in (("moody", s.moody), ("away", s.away)):
        there = {a for t in sink.accepted for a in t.addrs}
        assert there == s.sent[name], f"{name}: {len(s.sent[name] - there)} missing, {len(there - s.sent[name])} unknown"
    delivered = len(s.relay.log_lines("dest=fast.*status=sent"))
    assert delivered == s.quick, f"fast: {delivered} of {s.quick}"


def test_mixed_load(r):
    print(f"{SECONDS:.0f} s, SPLIT_SEED={SEED}")
    metrics.need_parser()
    s = System(r)
    load = Load()
    for function, pause in ((s.stream, 0.3), (s.duplicate, 0.2), (s.mix, 0.2), (s.come_and_go, 2), (s.administrate, 0.5), (s.read, 4), (s.probe, 0.1)):
        load.add(function, pause)
    load.add(s.look, 0.25)
    load.run(SECONDS)
    rss = s.relay.rss_kb(peak=True)
    s.drain()
    print(f"{s.quick} quick copies, {len(s.sent['moody'])} difficult ones, {s.commands} commands; memory at most {rss} kB")
    print(f"queue.db at most {s.database_max} bytes, its log {s.log_max}, contents {s.content_max}")
    check_sizes(s)
    check_commits(s)
    check_end(s)
    if not rig.instrumented():
        assert rss < 96 * 1024, f"{rss} kB"


if __name__ == "__main__":
    rig.main(timeout=300 + 2 * SECONDS)

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl queue, show, stats, hold, release, delete, requeue, retry: while mail flows, and when splitrelay is down.

SPLIT_QUEUE_MESSAGES (500): through each of two destinations while administrators work at random; SPLIT_SEED repeats a run.
SPLIT_QUEUE_COPIES (100000): in the queue, while the time of each command is measured.
"""

import collections
import json
import os
import pty
import random
import re
import select
import signal
import stat
import subprocess
import threading
import time

import rig
from rig import queue
from rig.daemons import program, sanitizer_environment

MESSAGES = int(os.environ.get("SPLIT_QUEUE_MESSAGES", "500"))
COPIES = int(os.environ.get("SPLIT_QUEUE_COPIES", "100000"))
SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))
NAMES = ("archive", "newmail")
HIDDEN = b"Subject: \x1b]0;evil\x07 x\r\n\r\nbody \x1b[2J\r\n"


class Relay:
    """splitrelay with two destinations. hook: for the sinks; down: nobody listens there."""

    def __init__(self, r, hook=None, down=(), user=None):
        self.r, self.user = r, user
        self.sinks = {name: rig.Sink(r, name, hook=hook and hook(name), start=name not in down) for name in NAMES}
        self.address = ("127.0.0.1", r.free_port())
        self.spool = r.path("spool")
        os.mkdir(self.spool, 0o700)
        self.daemon = None
        self.starts = 0
        self.configuration_path = r.write("tools.conf", self.text())

    def text(self, names=NAMES):
        return (
            'log { target = "stderr" }\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" {queue.options(self.r, self.spool)} min_free_space = "1k" }}\n'
            + "".join(
                f'destination {name} {{ relay_to = {{ "{self.sinks[name].bracketed}" }} concurrency = 4 retry_min = "1s" retry_max = "1s" }}\n' for name in names
            )
        )

    def start(self, names=NAMES):
        self.starts += 1
        self.daemon = rig.start_splitrelay(self.r, self.text(names), self.address, name=f"splitrelay{self.starts}")
        return self

    def put(self, destination="archive", content=b"Subject: x\r\n\r\nx\r\n", count=1):
        for _ in range(count):
            assert rig.send(self.address, "s@x.test", [f"a@x.test.{destination}.copy.split.invalid"], content).code == 250

    def ctl(self, *args, check=True):
        return rig.run_splitctl(self.r, self.configuration_path, *args, check=check)

    def json(self, *args):
        return [json.loads(line) for line in self.ctl(*args)[1].splitlines()]

    def places(self):
        """queue_name -> ids"""
        found = collections.defaultdict(list)
        for copy in self.json("queue", "--json"):
            found[copy["queue_name"]].append(copy.get("queue_id"))
        return found

    def ids(self, state="queued"):
        """Ids of the copies that are queued, held or dead, in the database."""
        return queue.ids(self.spool, state)

    def log_ids(self, pattern):
        found = []
        for n in range(1, self.starts + 1):
            with open(self.r.path(f"splitrelay{n}.log"), encoding="utf-8") as f:
                found += re.findall(pattern, f.read())
        return found

    def delivered(self, name):
        """How often each copy was accepted."""
        return collections.Counter(re.search(r"id=(\w+);", t.headers("X-Split-Copy")[0])[1] for t in self.sinks[name].accepted)


def put_down(r):
    """Three copies for a destination that is not there; splitrelay stopped."""
    t = Relay(r, down=NAMES).start()
    t.put("archive", HIDDEN)
    t.put("archive", count=2)
    rig.wait_for(lambda: not t.daemon.log_lines("status=sent"), 1, "nothing to be sent")
    t.daemon.stop()
    return t, t.ids()


def test_without_splitrelay(r):
    t, ids = put_down(r)
    assert len(ids) == 3
    assert t.ctl("hold", ids[0])[1] == f"{ids[0]}: held\n"
    assert t.ids("held") == [ids[0]] and len(t.ids()) == 2
    status, _, err = t.ctl("hold", ids[0], "1234", check=False)
    assert status == 1 and f"copy {ids[0]} is held" in err and "no copy 1234" in err, err
    assert t.ctl("hold", "--all")[1] == "2 copies held\n"
    assert t.ctl("release", "--all", "archive")[1] == "3 copies released\n"
    assert t.ctl("requeue", "--to", "newmail", ids[1])[1] == f"{ids[1]}: requeued\n"
    found = {copy["queue_id"]: copy["destination"] for copy in t.json("queue", "--json")}
    assert found == {ids[0]: "archive", ids[1]: "newmail", ids[2]: "archive"}
    assert t.json("delete", "--json", ids[2]) == [
        {"action": "delete", "queue_id": ids[2], "destination": None, "dry_run": False, "changed": 1, "in_delivery": 0, "failed": 0, "error": ""}
    ]
    assert re.fullmatch(r"\d deferred cop(y|ies) to be tried when splitrelay runs \(it does not\)\n", t.ctl("retry", "--all")[1])
    for sink in t.sinks.values():
        sink.start()
    t.start()
    rig.wait_for(lambda: not t.ids(), 20, "an empty queue")
    assert t.delivered("archive") == {ids[0]: 1} and t.delivered("newmail") == {ids[1]: 1}
    assert t.sinks["archive"].accepted[0].data.endswith(HIDDEN)
    assert [n["queue_id"] for n in t.json("queue", "--json")] == []


def owned_files(t):
    return [os.path.join(directory, f) for directory, _, files in os.walk(t.spool) for f in ["", *files]]


def test_the_owner_of_the_spool_keeps_it(r):
    """Root becomes the user that splitrelay runs as; the process that has the lock is named."""
    queue.need_sqlite()
    t, ids = put_down(r)
    os.chmod(r.path(), 0o755)
    for path in owned_files(t):
        os.chown(path, 65534, 65534)
    t.ctl("hold", ids[0])
    t.ctl("requeue", "--to", "newmail", ids[1])
    t.ctl("suspend", "archive")
    t.ctl("queue")
    for path in owned_files(t):
        assert os.stat(path).st_uid == 65534, path
    assert stat.S_IMODE(os.stat(queue.path(t.spool)).st_mode) == 0o600
    holder = subprocess.Popen(
        ["python3", "-c", "import fcntl, sys\nf = open(sys.argv[1], 'r+')\nfcntl.lockf(f, fcntl.LOCK_EX)\nprint('x', flush=True)\nsys.stdin.read()", f"{t.spool}/lock"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    r.session.record_process(holder.pid, "holder")
    assert holder.stdout.readline() == b"x\n"
    status, _, err = t.ctl("release", ids[0], check=False)
    assert status == 69 and "splitrelay is not running" in err and str(holder.pid) in err, err
    holder.communicate(b"")
    t.ctl("release", ids[0])


def test_show_and_stats(r):
    t, ids = put_down(r)
    t.ctl("hold", ids[1])
    out = t.ctl("show", ids[0])[1]
    for line in (f"copy           {ids[0]}", "destination    archive", "sender         s@x.test", "protocol       ESMTP", "attempts       "):
        assert line in out, out
    assert re.search(r"(?m)^place +(active|deferred)$", out), out
    assert re.search(r"(?m)^recipient +a@x\.test  queued", out), out
    assert re.search(r"(?m)^place +hold$", t.ctl("show", ids[1])[1])
    assert len(t.ctl("show", "--from", "@x.test")[1].split("\n\n")) == 3
    shown = t.json("show", "--json", ids[0])[0]
    assert shown["client_address"] == "127.0.0.1" and shown["recipients"][0]["orcpt"] == "", shown
    done = subprocess.run([program("splitctl"), "-c", t.configuration_path, "show", "--content", ids[0]], stdout=subprocess.PIPE, check=True,
                          env=sanitizer_environment(r, "splitctl"))
    assert done.stdout == HIDDEN, done.stdout
    assert b"\x1b]0;" not in on_terminal(r, t, "show", "--content", ids[0])[0].encode()
    status, _, err = t.ctl("show", "1234", check=False)
    assert status == 1 and "no copy 1234" in err
    for wrong in ("../../etc/passwd", "a/b", "Nobody1", ""):
        assert t.ctl("show", wrong, check=False)[0] == 64

    queue.change(t.spool, "UPDATE copy SET state = 'dead', destination = 'former' WHERE id = ?", int(ids[1], 16))
    rows = {row["destination"]: row for row in t.json("stats", "--json")}
    assert sorted(rows) == ["archive", "former", "newmail"], rows
    assert rows["archive"]["due"]["copies"] + rows["archive"]["deferred"]["copies"] == 2 and rows["archive"]["configured"]
    assert rows["former"]["dead"]["copies"] == 1 and not rows["former"]["configured"]
    assert rows["former"]["total"]["bytes"] == 17 and abs(rows["former"]["total"]["oldest"] - time.time()) < 600
    out = t.ctl("stats")[1]
    assert re.search(r"(?m)^former +0 +0 +0 +1 +\d+ +\d+s +not configured$", out), out
    out = t.ctl("queue")[1]
    assert re.search(rf"(?m)^{ids[1]}# ", out), out
    # what is not configured any more goes to another destination, or away
    assert t.ctl("requeue", "--to", "former", ids[0], check=False)[0] == 1
    assert t.ctl("delete", "--all", "never", check=False)[0] == 1
    assert t.ctl("requeue", "--to", "archive", "--all", "former")[1] == "1 copy requeued\n"
    assert t.ctl("delete", "--all", "--in", "dead")[1] == "0 copies deleted\n"
    assert t.ctl("delete", "--all", "former", check=False)[0] == 1
    assert len(t.places()["active"] + t.places()["deferred"]) == 3


def test_in_delivery(r):
    """What is being delivered is told so, and dealt with afterwards; others are served meanwhile."""
    reached, go_on = threading.Semaphore(0), threading.Event()

    def hook(name):
        def at(stage, _conn, _arg):
            if stage == "dot" and name == "archive":
                reached.release()
                assert go_on.wait(60 * rig.TIME_FACTOR)
                return "450 4.2.0 later"
            return None
        return at

    t = Relay(r, hook).start()
    t.put("archive", count=2)
    assert reached.acquire(timeout=30 * rig.TIME_FACTOR) and reached.acquire(timeout=30 * rig.TIME_FACTOR)
    first, second = t.ids()
    assert t.ctl("hold", first)[1] == f"{first}: is being delivered: held afterwards, unless accepted\n"
    assert t.ctl("requeue", "--to", "newmail", second)[1].startswith(f"{second}: is being delivered")
    assert t.ids("held") == [first] and t.ids() == [second]  # so that a crash delivers nothing that is held
    go_on.set()
    rig.wait_for(lambda: t.daemon.log_lines(f"{first}: dest=archive: held by an administrator"), 20, "the first to be held")
    rig.wait_for(lambda: t.delivered("newmail") == {second: 1}, 20, "the second at its new destination")
    rig.wait_for(lambda: not t.ids(), 20, "an empty queue")
    assert t.ids("held") == [first]
    assert t.daemon.log_lines(f"{second}: dest=archive: requeued by an administrator, now dest=newmail")


def test_requeued_before_sent(r):
    """A dead letter tells of the attempt that ended it; the line of its requeueing comes before those of its delivery."""
    def hook(name):
        return lambda stage, _conn, _arg: "550 5.1.1 unknown" if stage == "rcpt" and name == "archive" else None

    t = Relay(r, hook).start()
    t.put("archive", count=30)
    rig.wait_for(lambda: len(t.ids("dead")) == 30, 40, "30 dead letters")
    assert {copy["attempts"] for copy in t.json("queue", "--json")} == {1}
    ids = t.ids("dead")
    assert re.search(r"(?m)^attempts +1$", t.ctl("show", ids[0])[1])
    t.ctl("requeue", "--to", "newmail", "--all", "archive")
    rig.wait_for(lambda: len(t.delivered("newmail")) == 30, 40, "all at their new destination")
    for ident in ids:
        lines = t.daemon.log_lines(f"{ident}: ")
        requeued = [i for i, line in enumerate(lines) if "requeued by an administrator, now dest=newmail" in line]
        sent = [i for i, line in enumerate(lines) if "status=sent" in line]
        assert len(requeued) == len(sent) == 1 and requeued < sent, lines


def on_terminal(r, t, *args, answer=None, watch=None):
    """What splitctl writes to a terminal, and its exit status: the terminal is stdout for show, queue and status, else stderr (and stdin,
    if there is an answer to a question). watch(text) is called with what came so far, and the process; it may end it."""
    is_stdout = args[0] in ("show", "queue", "status")
    master, slave = pty.openpty()
    process = subprocess.Popen([program("splitctl"), "-c", t.configuration_path, *args], stdin=subprocess.DEVNULL if answer is None else slave,
                               stdout=slave if is_stdout else subprocess.DEVNULL, stderr=slave, env=dict(sanitizer_environment(r, "splitctl"), TERM="xterm", NO_COLOR="1"))
    r.session.record_process(process.pid, "splitctl")
    os.close(slave)
    text = b""
    end = time.monotonic() + 60 * rig.TIME_FACTOR
    while True:
        assert time.monotonic() < end or process.kill(), text[-1000:]
        ready, _, _ = select.select([master], [], [], 60 * rig.TIME_FACTOR)
        try:
            chunk = os.read(master, 65536) if ready else b""
        except OSError:  # the other side is closed
            chunk = b""
        if not chunk:
            break
        text += chunk
        if answer is not None and b"[y/N]" in text:
            os.write(master, answer)
            answer = None
        if watch is not None:
            watch(text, process)
    os.close(master)
    return text.decode("utf-8", "replace"), process.wait(30 * rig.TIME_FACTOR)


def fill(t, count):
    """So many copies, by splitrelay's own hand."""
    rig.smtp_source(t.address, count, sessions=10, size=300, recipient="a@x.test.archive.copy.split.invalid", flags=["-d"])


def test_progress_and_interrupt(r):
    t = Relay(r, down=NAMES).start()
    fill(t, 600)
    text, status = on_terminal(r, t, "hold", "--all", "archive")
    assert status == 0 and re.search(r"hold \[[#.]{40}\] +\d+% \d+/600", text) and text.endswith("\x1b[K"), repr(text)
    assert t.ctl("release", "--all")[2] == ""  # a pipe gets no bar
    t.daemon.stop()
    text, status = on_terminal(r, t, "hold", "--all")
    assert status == 0 and "100% 600/600" in text, repr(text)
    # interrupted: each copy is in one place or the other, and the rest can be done later
    process = subprocess.Popen([program("splitctl"), "-c", t.configuration_path, "requeue", "--to", "newmail", "--in", "hold", "--all"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=sanitizer_environment(r, "splitctl"))
    rig.wait_for(lambda: process.poll() is not None or queue.count(t.spool, "queued", "newmail"), 30, "the first to move")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60 * rig.TIME_FACTOR)
    held, moved = t.ids("held"), t.ids()
    assert len(held) + len(moved) == 600 and not set(held) & set(moved), (len(held), len(moved))
    if held:
        assert process.returncode == 1 and b"interrupted after" in err, (out, err)
    t.ctl("requeue", "--to", "newmail", "--in", "hold", "--all")
    assert len(t.ids()) == 600 and not t.ids("held")


def crowd(t, count):
    """So many copies of archive in the database, by one hand; splitrelay is down."""
    queue.create(t.spool)
    queue.change(
        t.spool,
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) INSERT INTO message SELECT 1048576 + i * 512,"
        f" {int(time.time())}, 1, 's@x', '', '', '', '', '', '', '', 'body', 'stored' FROM n",
    )
    queue.change(t.spool, "INSERT INTO body SELECT id, 0, 'x' FROM message")
    queue.change(t.spool, "INSERT INTO copy (id, message, destination, state, due, attempts) SELECT id + 1, id, 'archive', 'queued', 1, 0 FROM message")
    queue.change(t.spool, "INSERT INTO recipient SELECT id, 0, 'a@x', '', 'pending', '' FROM copy")


def test_progress_of_reading(r):
    """A bar where stderr is a terminal, and none that stands in the way of what is printed."""
    t = Relay(r)
    crowd(t, 22000)
    for args in (["queue", "--to", "nobody@x"], ["queue", "--summary"], ["show", "--to", "nobody@x"], ["stats"], ["hold", "--dry-run", "--to", "nobody@x"]):
        text, status = on_terminal(r, t, *args)
        assert status == 0 and re.search(r"(reading|counting) \[[#.]{40}\] +22% 5000/22000\r", text), (args, repr(text))
        assert "\r\x1b[K" in text and "[#" not in text.split("\x1b[K")[-1], (args, repr(text))
    queue.change(t.spool, "INSERT INTO history (copy, destination, time, sender, recipients, message_id, mta_queue_id, size, result, relay, reply, attempts)"
                 " SELECT id, 'archive', 1, 's', 'r', '', '', 1, 'sent', '', '', 0 FROM copy")
    text, status = on_terminal(r, t, "history", "--to", "nobody@x")
    assert status == 0 and "22% 5000/22000" in text, repr(text)
    assert t.ctl("queue", "--to", "nobody@x")[1:] == ("No such copy\n", "")
    text, _ = on_terminal(r, t, "queue", "--limit", "1")
    assert "[" not in text and text.startswith("----Copy ID----"), repr(text)


def test_many_copies(r):
    """Beside a splitrelay that works, no command needs more than 2 s of processor time for a million copies (elapsed time says little on a
    machine that others use, too); the memory does not grow with the queue."""
    t = Relay(r, down=NAMES)
    crowd(t, COPIES)
    t.start()
    for args in (["queue", "--to", "nobody@x", "--limit", "5"], ["queue", "--to", "a@x", "--limit", "5"], ["queue", "--mta-id", "x"], ["show", "--from", "<>"], ["stats"],
                 ["history"], ["status", "--json"], ["suspend", "archive"], ["resume", "archive"], ["hold", "--reason", "no such reason"], ["retry", "--from", "nobody@x"]):
        before, begin = os.times(), time.monotonic()
        t.ctl(*args, check=args[0] != "status")
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"{used:.2f} s, elapsed {time.monotonic() - begin:.2f} s  splitctl {' '.join(args)}")
        assert used < (0.5 + 1.5 * COPIES / 1000000) * rig.TIME_FACTOR or rig.instrumented(), (args, used)
    queued = subprocess.Popen([program("splitctl"), "-c", t.configuration_path, "queue", "--json"], stdout=subprocess.PIPE, env=sanitizer_environment(r, "splitctl"))
    r.session.record_process(queued.pid, "splitctl")
    lines, peak = 0, 0
    for _ in queued.stdout:
        lines += 1
        if lines == COPIES // 2:  # it waits for the other half to be read
            with open(f"/proc/{queued.pid}/status", encoding="ascii") as f:
                peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])
    assert queued.wait(60) == 0 and lines == COPIES, lines
    assert peak < 32000 or rig.instrumented(), peak


def test_interrupted_while_splitrelay_works(r):
    """The first signal stops the change in splitrelay, too."""
    t = Relay(r, down=NAMES)
    count = 100000 if queue.ON_POSTGRESQL else 600000  # enough for several seconds
    crowd(t, count)
    t.start()
    t.ctl("suspend", "archive")

    sent = []

    def interrupt(text, process):
        if not sent and re.search(rb"hold \[.* [1-9]\d*/%d" % count, text):  # a second signal would end it at once
            process.send_signal(signal.SIGINT)
            sent.append(1)

    text, status = on_terminal(r, t, "hold", "--all", watch=interrupt)
    assert status == 1 and re.search(r"splitctl: hold: interrupted after [1-9]\d+ copies or a few more\r\n$", text), repr(text)
    stopped = queue.count(t.spool, "held")
    assert stopped >= int(re.search(r"after (\d+)", text)[1])
    done = t.ctl("hold", "--all")[1]  # the other change has let go of it
    assert stopped + int(done.split()[0]) <= count and queue.count(t.spool, "held") == count, (stopped, done)


def test_questions(r):
    """Before copies are deleted, or all are changed: only where there is a terminal, and not with --yes or --dry-run."""
    t = Relay(r)
    idents = [queue.put(t.spool, "archive") for _ in range(3)]
    for args, count in ((["delete", "--from", "*"], "3 copies"), (["delete", idents[0]], "1 copy"), (["delete", *idents], "3 copies"), (["hold", "--all"], "3 copies"),
                        (["requeue", "--to", "newmail", "--all", "--limit", "2"], "2 copies to destination newmail"), (["retry", "--all"], "0 copies")):
        for answer in (b"n\n", b"\n", b"\x04"):
            text, status = on_terminal(r, t, *args, answer=answer)
            assert status == 1 and f"{args[0]} {count}? [y/N] " in text and "nothing was done" in text, (args, repr(text))
        text, status = on_terminal(r, t, *args, "--dry-run", answer=b"n\n")
        assert status == 0 and "[y/N]" not in text, (args, repr(text))
    assert t.ids() == idents
    for args in (["hold", "--from", "*"], ["release", idents[0]], ["delete", "--yes", idents[0]]):
        text, status = on_terminal(r, t, *args, answer=b"n\n")
        assert status == 0 and "[y/N]" not in text, (args, repr(text))
    text, status = on_terminal(r, t, "delete", "--all", answer=b"y\n")
    assert status == 0 and "delete 2 copies? [y/N]" in text and queue.count(t.spool) == 0, repr(text)


def test_selections(r):
    """While splitrelay runs: it changes the copies that queue lists, and no others."""
    t = Relay(r, down=NAMES).start()
    t.ctl("suspend", "archive")
    for sender, recipient, content in (("anna@x.test", "a@y.test", b"Message-ID: <1@x.test>\r\n\r\n"), ("otto@x.test", "b@y.test", b"Subject: x\r\n\r\n" + 3000 * b"x"),
                                       ("", "100%_!'@y.test", b"Subject: x\r\n\r\n")):
        assert rig.send(t.address, sender, [f"{recipient}.archive.copy.split.invalid"], content).code == 250
    ids = t.ids()
    for args, expected in ((["--from", "@x.test"], ids[:2]), (["--to", "100%_!'@y.test"], ids[2:]), (["--to", "100___'@y.test"], []), (["--from", "<>"], ids[2:]),
                           (["--larger", "2k"], ids[1:2]), (["--message-id", "1@x.test"], ids[:1]), (["--newer", "1h", "--limit", "2"], ids[:2]), (["--older", "1h"], [])):
        assert [c["queue_id"] for c in t.json("queue", "--json", *args)] == expected, args
        assert t.ctl("hold", *args)[1] == f"{len(expected)} cop{'y' if len(expected) == 1 else 'ies'} held\n", args
        assert t.ids("held") == expected, args
        t.ctl("release", "--all")
    t.ctl("requeue", "--to", "newmail", "--from", "anna@*")
    assert [c.id for c in queue.copies(t.spool, destination="newmail")] == ids[:1]
    t.ctl("delete", "--to", "@y.test", "archive")
    assert t.ids() == ids[:1]
    events = [(e["queue_id"], e["result"]) for e in t.json("history", "--json")]  # the newest first; two are of one change
    assert set(events[:2]) == {(ids[2], "deleted"), (ids[1], "deleted")} and events[2:] == [(ids[0], "requeued")], events


def test_suspended_over_a_restart(r):
    """Nothing is sent, whatever comes, until it is resumed, or the time is over."""
    t = Relay(r).start()
    t.ctl("suspend", "archive", "--reason", "a move")
    t.put("archive", count=2)
    t.put("newmail")
    rig.wait_for(lambda: len(t.delivered("newmail")) == 1, 20, "the other destination to get its copy")
    t.ctl("retry", "--all")
    t.daemon.kill()
    t.start()
    t.put("archive")
    t.put("newmail")
    rig.wait_for(lambda: len(t.delivered("newmail")) == 2, 20, "the other destination to get its copy")
    assert not t.delivered("archive") and {c["next_attempt"] for c in t.json("queue", "--json", "archive")} == {None}
    status = json.loads(t.ctl("status", "--json", check=False)[1])["splitrelay"]["destinations"][0]
    assert status["suspended_by_administrator"]["reason"] == "a move" and status["suspended_by_administrator"]["until"] is None and status["waiting"] == 3, status
    out = t.ctl("status", check=False)[1]
    assert re.search(r"(?m)^ +suspended by an administrator since [-\d]+ [:\d]+, until it is resumed\n +\(a move\)$", out), out
    t.daemon.stop()
    assert t.ctl("resume", "archive")[1] == "archive: resumed\n"
    t.start()
    rig.wait_for(lambda: len(t.delivered("archive")) == 3, 20, "what has waited")
    t.ctl("suspend", "archive", "--for", "2s")
    t.put("archive")
    begin = time.monotonic()
    rig.wait_for(lambda: len(t.delivered("archive")) == 4, 20, "the end of the suspension")
    assert time.monotonic() - begin > 0.5
    rig.wait_for(lambda: len(t.json("history", "--json", "archive")) == 4, 20, "the history")
    port = t.sinks["archive"].address[1]
    for event in t.json("history", "--json", "archive"):
        assert (event["result"], event["recipients"]) == ("sent", "a@x.test") and event["reply"].startswith("250 ") and event["relay"].endswith(f"]:{port}"), event


def test_watch(r):
    """A screen every two seconds, from the upper left corner, until it is interrupted."""
    t = Relay(r, down=NAMES).start()

    def after_two(text, process):
        if text.count(b"\x1b[H\x1b[J") == 2 and process.poll() is None:
            process.send_signal(signal.SIGINT)

    text, status = on_terminal(r, t, "status", "--watch", watch=after_two)
    screens = text.split("\x1b[H\x1b[J")
    assert status == -signal.SIGINT and len(screens) == 3 and screens[0] == "", (status, repr(text))
    assert all("  copy archive " in s and len(re.findall("(?m)^splitrelay ", s)) == 1 for s in screens[1:]), repr(text)


class Administrators:
    """Do anything at random."""

    def __init__(self, t, chance):
        self.t, self.chance = t, chance
        self.done = collections.Counter()

    def some_id(self):
        ids = [i for found in self.t.places().values() for i in found]
        return self.chance.choice(ids) if ids else None

    def act(self):
        action = self.chance.choice(["hold", "hold", "release", "delete", "requeue", "to", "retry", "all", "all"])
        other = self.chance.choice(NAMES)
        if action == "all":
            args = self.chance.choice([["hold", "--all"], ["hold", "--all", other], ["release", "--all"], ["requeue", "--all", other], ["retry", "--all"]])
        else:
            ident = self.some_id()
            if ident is None:
                return
            args = ["requeue", "--to", other, ident] if action == "to" else [action, ident]
        status, _, err = self.t.ctl(*args, check=False)
        # it may have gone, or be elsewhere by now
        assert status == 0 or re.search("no copy|is held|is a dead letter|is in the queue|is for \\w+ already|has another order", err), (args, status, err)
        self.done[args[0], status] += 1


def moody(chance):
    """A server that defers and refuses some at first."""
    seen, lock = set(), threading.Lock()

    def for_sink(_name):
        def at(stage, _conn, arg):
            if stage != "dot":
                return None
            ident = arg.headers("X-Split-Copy")[0]
            with lock:
                if ident in seen:
                    return None
                seen.add(ident)
                return chance.choice(["450 4.2.0 later", "550 5.7.1 no", None, None, None, None])
        return at

    return for_sink


def test_while_mail_flows(r):
    print(f"{MESSAGES} messages each, SPLIT_SEED={SEED}")
    chance = random.Random(SEED)
    t = Relay(r, moody(random.Random(SEED + 1))).start()
    sources = [
        threading.Thread(target=rig.smtp_source, args=(t.address, MESSAGES), kwargs={"sessions": 3, "size": 1000, "recipient": f"a@x.test.{name}.copy.split.invalid"})
        for name in NAMES
    ]
    for source in sources:
        source.start()
    administrators = Administrators(t, chance)
    count = 0
    while any(s.is_alive() for s in sources) or count < 60:
        administrators.act()
        count += 1
    for source in sources:
        source.join()

    def finished():
        for args in (["release", "--all"], ["requeue", "--all"], ["retry", "--all"]):
            t.ctl(*args)
        return not t.ids() and not t.ids("held") and not t.ids("dead")

    rig.wait_for(finished, 60, "all that is left to be delivered", lambda: t.ctl("stats")[1])
    committed = t.log_ids(r"(\w+): from=.* \(queued\)")
    deleted = t.log_ids(r"(\w+): dest=\S+ deleted by an administrator")
    delivered = t.delivered("archive") + t.delivered("newmail")
    print(f"{count} commands: {dict(administrators.done)}; {len(delivered)} delivered, {len(deleted)} deleted")
    assert len(committed) == len(set(committed)) == 2 * MESSAGES
    assert len(deleted) == len(set(deleted))
    assert set(delivered) | set(deleted) == set(committed), f"lost or made up: {(set(delivered) | set(deleted)) ^ set(committed)}"
    assert not set(delivered) & set(deleted), "deleted, and delivered all the same"
    assert set(delivered.values()) <= {1}, f"twice: {[i for i, n in delivered.items() if n > 1]}"
    assert not queue.leftovers(t.spool)
    # each at the destination that it was last meant for
    moved = dict(t.log_ids(r"(\w+): dest=\S+ requeued by an administrator, now dest=(\S+)"))
    first = dict(t.log_ids(r"(\w+): from=.* dest=([a-z]+), .*\(queued\)"))
    for name in NAMES:
        meant = {i for i in committed if moved.get(i, first[i]) == name} - set(deleted)
        assert set(t.delivered(name)) == meant, f"{name}: {set(t.delivered(name)) ^ meant}"


if __name__ == "__main__":
    rig.main(timeout=300)

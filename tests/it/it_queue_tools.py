#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl queue, show, stats, hold, release, delete, requeue, retry: while mail flows, and when splitrelay is down.

SPLIT_QUEUE_MESSAGES (500): through each of two destinations while administrators work at random; SPLIT_SEED repeats a run.
"""

import collections
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import stat
import subprocess
import threading
import time

import rig
from rig.daemons import program, sanitizer_environment

MESSAGES = int(os.environ.get("SPLIT_QUEUE_MESSAGES", "500"))
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
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{self.spool}" min_free_space = "1k" }}\n'
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

    def files(self, top):
        return sorted(f for _, _, files in os.walk(os.path.join(self.spool, top)) for f in files)

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
    return t, t.files("queue")


def test_without_splitrelay(r):
    t, ids = put_down(r)
    assert len(ids) == 3
    assert t.ctl("hold", ids[0])[1] == f"{ids[0]}: held\n"
    assert t.files("hold") == [ids[0]] and len(t.files("queue")) == 2
    status, _, err = t.ctl("hold", ids[0], "Nobody1", check=False)
    assert status == 1 and f"copy {ids[0]} is held" in err and "no copy Nobody1" in err, err
    assert t.ctl("hold", "--all")[1] == "2 copies held\n"
    assert t.ctl("release", "--all", "archive")[1] == "3 copies released\n"
    assert t.ctl("requeue", "--to", "newmail", ids[1])[1] == f"{ids[1]}: requeued\n"
    found = {copy["queue_id"]: copy["destination"] for copy in t.json("queue", "--json")}
    assert found == {ids[0]: "archive", ids[1]: "newmail", ids[2]: "archive"}
    assert t.json("delete", "--json", ids[2]) == [
        {"action": "delete", "queue_id": ids[2], "destination": None, "changed": 1, "in_delivery": 0, "failed": 0, "error": ""}
    ]
    assert t.ctl("retry", "--all")[1] == "retry --all: will be tried when splitrelay runs: it does not\n"
    for sink in t.sinks.values():
        sink.start()
    t.start()
    rig.wait_for(lambda: not t.files("queue"), 20, "an empty queue")
    assert t.delivered("archive") == {ids[0]: 1} and t.delivered("newmail") == {ids[1]: 1}
    assert t.sinks["archive"].accepted[0].data.endswith(HIDDEN)
    assert [n["queue_id"] for n in t.json("queue", "--json")] == []


def test_the_owner_of_the_spool_keeps_it(r):
    """Root becomes the user that splitrelay runs as; somebody who has the lock is named."""
    t, ids = put_down(r)
    os.chmod(r.path(), 0o755)
    for directory, _, files in os.walk(t.spool):
        for path in [directory] + [os.path.join(directory, f) for f in files]:
            os.chown(path, 65534, 65534)
    t.ctl("hold", ids[0])
    t.ctl("requeue", "--to", "newmail", ids[1])
    for directory, _, files in os.walk(t.spool):
        for path in [directory] + [os.path.join(directory, f) for f in files]:
            assert os.stat(path).st_uid == 65534, path
    assert stat.S_IMODE(os.stat(os.path.join(t.spool, "hold", "archive", ids[0])).st_mode) == 0o600
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
    assert re.search(r"(?m)^place +(active|deferred) \(queue/archive/\d+\)$", out), out
    assert re.search(r"(?m)^recipient +a@x\.test  queued", out), out
    assert re.search(r"(?m)^place +hold \(hold/archive\)$", t.ctl("show", ids[1])[1])
    shown = t.json("show", "--json", ids[0])[0]
    assert shown["client_address"] == "127.0.0.1" and shown["recipients"][0]["orcpt"] == "", shown
    done = subprocess.run([program("splitctl"), "-c", t.configuration_path, "show", "--content", ids[0]], stdout=subprocess.PIPE, check=True,
                          env=sanitizer_environment(r, "splitctl"))
    assert done.stdout == HIDDEN, done.stdout
    assert b"\x1b]0;" not in on_terminal(r, t, "show", "--content", ids[0])[0].encode()
    status, _, err = t.ctl("show", "Nobody1", check=False)
    assert status == 1 and "no copy Nobody1" in err
    for wrong in ("../../etc/passwd", "a/b", ""):
        assert t.ctl("show", wrong, check=False)[0] == 64

    gone = os.path.join(t.spool, "dead", "former")
    os.makedirs(gone)
    os.rename(os.path.join(t.spool, "hold", "archive", ids[1]), os.path.join(gone, ids[1]))
    with open(os.path.join(t.spool, "quarantine", "A-\x1b[2J"), "wb") as f:
        f.write(b"xyz")
    *rows, last = t.json("stats", "--json")
    rows = {row["destination"]: row for row in rows}
    assert sorted(rows) == ["archive", "former", "newmail"], rows
    assert rows["archive"]["due"]["copies"] + rows["archive"]["deferred"]["copies"] == 2 and rows["archive"]["configured"]
    assert rows["former"]["dead"]["copies"] == 1 and not rows["former"]["configured"]
    assert rows["former"]["total"]["bytes"] > 300 and abs(rows["former"]["total"]["oldest"] - time.time()) < 600
    assert last["quarantine"]["copies"] == 1 and last["quarantine"]["bytes"] == 3
    out = t.ctl("stats")[1]
    assert re.search(r"(?m)^former +0 +0 +0 +1 +\d+ +\d+s +not configured$", out), out
    assert "in quarantine: 1 files" in out
    out = t.ctl("queue")[1]
    assert "\x1b" not in out and "A-?[2J" in out, out
    assert re.search(rf"(?m)^{ids[1]}# ", out), out
    assert [q["file"] for q in t.json("queue", "--json") if q["queue_name"] == "quarantine"] == ["A-\x1b[2J"]
    # what is not configured any more goes to another destination, or away
    assert t.ctl("requeue", "--to", "former", ids[0], check=False)[0] == 1
    assert t.ctl("delete", "--all", "never", check=False)[0] == 1
    assert t.ctl("requeue", "--to", "archive", "--all", "former")[1] == "1 copy requeued\n"
    assert t.ctl("delete", "--all", "--in", "dead")[1] == "0 copies deleted\n"
    assert t.ctl("delete", "--all", "former")[1] == "0 copies deleted\n"
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
    first, second = t.files("queue")
    assert t.ctl("hold", first)[1] == f"{first}: is being delivered: held afterwards, unless accepted\n"
    assert t.ctl("requeue", "--to", "newmail", second)[1].startswith(f"{second}: is being delivered")
    assert t.files("queue") == [first, second]
    go_on.set()
    rig.wait_for(lambda: t.files("hold") == [first], 20, "the first to be held")
    rig.wait_for(lambda: t.delivered("newmail") == {second: 1}, 20, "the second at its new destination")
    rig.wait_for(lambda: not t.files("queue"), 20, "an empty queue")
    assert t.daemon.log_lines(f"{first}: dest=archive: held by an administrator")
    assert t.daemon.log_lines(f"{second}: dest=archive: requeued by an administrator, now dest=newmail")


def is_traced(pid):
    """All threads of it."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            if "TracerPid:\t0\n" in f.read():
                return False
    return True


def test_requeued_before_sent(r):
    """A dead letter tells of the attempt that ended it; the line of its requeueing comes before those of its delivery."""
    def hook(name):
        return lambda stage, _conn, _arg: "550 5.1.1 unknown" if stage == "rcpt" and name == "archive" else None

    t = Relay(r, hook).start()
    t.put("archive", count=30)
    rig.wait_for(lambda: len(t.files("dead")) == 30, 40, "30 dead letters")
    assert {copy["attempts"] for copy in t.json("queue", "--json")} == {1}
    ids = t.files("dead")
    assert re.search(r"(?m)^attempts +1$", t.ctl("show", ids[0])[1])
    if shutil.which("strace") and not rig.instrumented():
        # The old names go slowly, so that there is time to deliver before the command is done.
        delay = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=unlinkat", "-e", "inject=unlinkat:delay_enter=20000"]
        tracer = subprocess.Popen(["strace", *delay, "-p", str(t.daemon.pid)], stdin=subprocess.DEVNULL, start_new_session=True)
        r.session.record_process(tracer.pid, "strace")
        r.on_close(tracer.wait)
        r.on_close(tracer.terminate)
        rig.wait_for(lambda: is_traced(t.daemon.pid), 20, "strace to attach")
    t.ctl("requeue", "--to", "newmail", "--all", "archive")
    rig.wait_for(lambda: len(t.delivered("newmail")) == 30, 40, "all at their new destination")
    for ident in ids:
        lines = t.daemon.log_lines(f"{ident}: ")
        requeued = [i for i, line in enumerate(lines) if "requeued by an administrator, now dest=newmail" in line]
        sent = [i for i, line in enumerate(lines) if "status=sent" in line]
        assert len(requeued) == len(sent) == 1 and requeued < sent, lines


def on_terminal(r, t, *args):
    """What splitctl writes to a terminal: (stdout if it is the terminal, else stderr; exit status)."""
    is_stdout = args[0] == "show"
    master, slave = pty.openpty()
    process = subprocess.Popen([program("splitctl"), "-c", t.configuration_path, *args], stdin=subprocess.DEVNULL, stdout=slave if is_stdout else subprocess.DEVNULL,
                               stderr=slave, env=dict(sanitizer_environment(r, "splitctl"), TERM="xterm"))
    os.close(slave)
    text = b""
    while True:
        ready, _, _ = select.select([master], [], [], 60 * rig.TIME_FACTOR)
        try:
            chunk = os.read(master, 65536) if ready else b""
        except OSError:  # the other side is closed
            chunk = b""
        if not chunk:
            break
        text += chunk
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
    newmail = os.path.join(t.spool, "queue", "newmail")
    rig.wait_for(lambda: process.poll() is not None or os.path.isdir(newmail) and os.listdir(newmail), 30, "the first to move")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60 * rig.TIME_FACTOR)
    held, moved = t.files("hold"), t.files("queue")
    assert len(held) + len(moved) == 600 and not set(held) & set(moved) and not t.files("tmp"), (len(held), len(moved))
    if held:
        assert process.returncode == 1 and b"interrupted after" in err, (out, err)
    t.ctl("requeue", "--to", "newmail", "--in", "hold", "--all")
    assert len(t.files("queue")) == 600 and not t.files("hold")


class Administrators:
    """Do anything at random."""

    def __init__(self, t, chance):
        self.t, self.chance = t, chance
        self.done = collections.Counter()

    def some_id(self):
        ids = [i for name, found in self.t.places().items() if name != "quarantine" for i in found]
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
        assert status == 0 or re.search("no copy|is held|is a dead letter|is in the queue", err), (args, status, err)
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
        return not t.files("queue") and not t.files("hold") and not t.files("dead")

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
    assert not t.files("tmp") and not t.files("quarantine")
    # each at the destination that it was last meant for
    moved = dict(t.log_ids(r"(\w+): dest=\S+ requeued by an administrator, now dest=(\S+)"))
    first = dict(t.log_ids(r"(\w+): from=.* dest=([a-z]+), .*\(queued\)"))
    for name in NAMES:
        meant = {i for i in committed if moved.get(i, first[i]) == name} - set(deleted)
        assert set(t.delivered(name)) == meant, f"{name}: {set(t.delivered(name)) ^ meant}"


if __name__ == "__main__":
    rig.main(timeout=300)

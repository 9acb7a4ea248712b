#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl status: which daemons are expected to run, the copies that wait for a suspended destination, and the exit codes."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time

import rig
from rig import queue
from rig.daemons import program

NOBODY = 65534
OK, WARNING, CRITICAL = 0, 1, 2


class Machine:
    """splitrelay with one destination. splitmilter is expected to run only if `milter` has tables for it."""

    def __init__(self, r, start=False, milter="", hook=None):
        self.r = r
        self.sink = rig.Sink(r, "archive", hook=hook, start=start)
        self.address = ("127.0.0.1", r.free_port())
        os.mkdir(r.path("spool"), 0o700)
        r.write("mail/main.cf", f"compatibility_level = 3.6\nqueue_directory = {r.path('queue')}\n")
        self.text = (
            'log { target = "stderr" }\n'
            f'milter {{ socket = "unix:{r.path("milter.sock")}" {milter} }}\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} spool_directory = "{r.path("spool")}" min_free_space = "1k" }}\n'
            f'destination archive {{ relay_to = {{ "{self.sink.bracketed}" }} concurrency = 1 retry_min = "40s" retry_max = "40s" }}\n'
        )
        self.path = r.write("status.conf", self.text)
        self.relay = None

    def start(self):
        self.relay = rig.start_splitrelay(self.r, self.text, self.address)
        return self

    def put(self, count=1):
        for _ in range(count):
            assert rig.send(self.address, "s@x.test", ["a@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n").code == 250

    def ctl(self, *args, status=0):
        code, out, err = rig.run_splitctl(self.r, self.path, *args, check=False)
        assert code == status, f"{args}: exit {code}, not {status}\n{out}{err}"
        return out

    def status(self, *args, code=OK):
        """Run splitctl status in both forms: (the text, the object)."""
        text = self.ctl("status", *args, status=code)
        found = json.loads(self.ctl("status", "--json", *args, status=code))
        assert found["state"] == ("ok", "warning", "critical")[code], found
        first = ("OK", "WARNING", "CRITICAL")[code] + (f": {found['reason']}" if found["reason"] else "")
        assert re.sub(r"\d+ s", "", text.split("\n")[0]) == re.sub(r"\d+ s", "", first), (text, found)
        return text, found


def no_postfix(_r):
    os.environ["MAIL_CONFIG"] = "/nonexistent"


def test_what_belongs_here(r):
    """A daemon that the configuration needs is critical if it does not run; one that it does not need is shown as off."""
    no_postfix(r)
    t = Machine(r).start()
    text, found = t.status()
    assert re.search(r"(?m)^splitmilter +off +not of this machine: the configuration has no tables for it$", text), text
    assert (found["splitmilter"]["running"], found["splitmilter"]["belongs_here"]) == (False, False)
    assert (found["splitrelay"]["running"], found["splitrelay"]["belongs_here"]) == (True, True)
    t.relay.stop()
    text, found = t.status(code=CRITICAL)
    assert found["reason"] == "splitrelay does not run" and re.search("(?m)^splitrelay +STOPPED", text), text
    r.write("status.conf", t.text.replace("socket =", 'filter_maps = { "static:one" } socket =') + 'filter one { nexthop = "smtp:[127.0.0.1]:1" }\n')
    assert t.status(code=CRITICAL)[1]["reason"] == "splitmilter does not run; splitrelay does not run"


def test_enabled_units(r):
    """With systemd a daemon is expected to run if its unit or its socket is enabled, with any configuration."""
    no_postfix(r)
    t = Machine(r, milter='filter_maps = { "static:none" }')
    r.write("bin/systemctl", '#!/bin/sh\ncat "$0.$3"\n', 0o755)
    r.on_close(lambda path=os.environ["PATH"]: os.environ.__setitem__("PATH", path))
    os.environ["PATH"] = r.path("bin") + ":" + os.environ["PATH"]
    unit = "LoadState=loaded\nActiveState=inactive\nMainPID=0\nUnitFileState={}\nTriggeredBy={}\n"
    r.write("bin/systemctl.splitmilter.service", unit.format("disabled", ""))
    r.write("bin/systemctl.splitrelay.service", unit.format("disabled", ""))
    text, _ = t.status()
    assert re.search(r"(?m)^splitrelay +off +not of this machine: its unit is not enabled$", text), text
    os.rmdir(r.path("spool"))
    r.write("bin/systemctl.splitrelay.service", unit.format("masked", "").replace("loaded", "masked"))
    text, _ = t.status()
    assert "No such file" not in text.split("postfix ")[0], text
    os.mkdir(r.path("spool"), 0o700)
    r.write("bin/systemctl.splitmilter.service", unit.format("enabled", ""))
    assert t.status(code=CRITICAL)[1]["reason"] == "splitmilter does not run"
    r.write("bin/systemctl.splitrelay.service", unit.format("disabled", "splitrelay.socket"))
    assert t.status(code=CRITICAL)[1]["reason"] == "splitmilter does not run; splitrelay does not run"


def test_a_suspended_destination(r):
    """For a suspended destination status, queue, show and stats have all copies as waiting, with the time and the reason of the
    suspension, and no next attempt in the past."""
    no_postfix(r)
    t = Machine(r).start()
    begin = int(time.time())
    t.put(5)
    t.relay.wait_log("dest=archive: suspended for")
    t.put(15)
    text, found = t.status()
    (archive,) = found["splitrelay"]["destinations"]
    suspended = archive["suspended"]
    assert archive["active"] == 0 and archive["waiting"] + archive["deferred"] == 20 and archive["waiting"] >= 15, archive
    assert begin <= suspended["since"] <= time.time() < suspended["until"] <= time.time() + 60, suspended
    assert "Connection refused" in suspended["reason"], suspended
    assert re.search(r"(?m)^  copy archive +\d+ waiting, \d+ deferred, 0 dead, oldest \d+s\n +suspended since [-\d]+ [:\d]+, next attempt [:\d]+\n +\(.*Connection refused\)$", text), text
    copies = [json.loads(line) for line in t.ctl("queue", "--json").splitlines()]
    assert {c["queue_name"] for c in copies} == {"deferred"} and all(c["next_attempt"] >= suspended["until"] - 1 for c in copies), copies
    shown = t.ctl("show", copies[-1]["queue_id"])
    assert re.search(r"(?m)^next_attempt +\d{4}-", shown) and re.search(r"(?m)^suspended +\d{4}-", shown) and re.search("(?m)^because .*Connection refused", shown), shown
    assert "*" not in t.ctl("queue")
    assert re.search(r"(?m)^archive .* suspended$", t.ctl("stats"))
    assert json.loads(t.ctl("stats", "--json").splitlines()[0])["suspended"] is True
    t.sink.start()
    t.ctl("retry", "--all")
    rig.wait_for(lambda: len(t.sink.accepted) == 20, 20, "all copies")
    rig.wait_for(lambda: t.status()[1]["splitrelay"]["destinations"][0]["suspended"] is None, 20, "an end of the suspension")


def test_without_splitrelay_nothing_is_active(r):
    no_postfix(r)
    t = Machine(r).start()
    t.put(3)
    t.relay.wait_log("dest=archive: suspended for")
    t.relay.stop()
    _, found = t.status(code=CRITICAL)
    (archive,) = found["splitrelay"]["destinations"]
    assert archive["active"] == 0 and archive["waiting"] + archive["deferred"] == 3 and archive["suspended"] is None, archive
    now = int(time.time())
    for copy in (json.loads(line) for line in t.ctl("queue", "--json").splitlines()):
        assert copy["next_attempt"] >= now, copy
        assert json.loads(t.ctl("show", "--json", copy["queue_id"]))["next_attempt"] >= now


def test_thresholds(r):
    """--warn-dead and --warn-age make the state a warning at their thresholds."""
    no_postfix(r)
    t = Machine(r, start=True, hook=lambda stage, _conn, _arg: "550 5.1.1 unknown" if stage == "rcpt" else None).start()
    t.put(2)
    rig.wait_for(lambda: t.status()[1]["splitrelay"]["destinations"][0]["dead"] == 2, 20, "two dead letters")
    assert t.status("--warn-dead", "3")[1]["reason"] == ""
    assert t.status("--warn-dead", "2", code=WARNING)[1]["reason"] == "2 dead letters"
    t.status("--warn-age", "1s")  # dead letters do not count as waiting
    t.sink.stop()
    t.put()
    t.relay.wait_log("dest=archive: suspended for")
    t.status("--warn-age", "1h")
    rig.wait_for(lambda: rig.run_splitctl(r, t.path, "status", "--warn-age", "1s", check=False)[0] == WARNING, 20, "the copy to be too old")
    assert re.search(r"copies for archive: the oldest waits for \d+ s", t.status("--warn-age", "1s", code=WARNING)[1]["reason"])
    r.write("status.conf", t.text + "bogus\n")
    for args in (("--warn-dead", "0"), ("--warn-dead", "x"), ("--warn-age", "-1"), ("--warn-age", "soon"), ("--postfix", "relative"), ("--postfix", "/nonexist"), ("more",)):
        t.ctl("status", *args, status=64)
    t.ctl("status", status=78)


def test_many_destinations(r):
    """Each destination has its own copies in the output and in the level, however many destinations there are."""
    no_postfix(r)
    t = Machine(r)
    names = [f"d{i}" for i in range(250)]
    r.write("status.conf", t.text + "".join(f'destination {n} {{ relay_to = {{ "[127.0.0.1]:1" }} }}\n' for n in names))
    queue.fill(r.path("spool"), 500, 100, destinations=names)
    queue.put(r.path("spool"), "d249", state="dead")
    text, found = t.status("--warn-dead", "1", code=CRITICAL)
    assert "; 1 dead letter" in found["reason"], found["reason"]
    destinations = {d["name"]: (d["waiting"], d["dead"]) for d in found["splitrelay"]["destinations"]}
    assert destinations == {"archive": (0, 0), **{n: (2, 0) for n in names}, "d249": (2, 1)}, destinations
    assert re.search(r"(?m)^  copy d249 +2 waiting, 0 deferred, 1 dead", text), text


def fake_postfix(r, messages):
    """A Postfix that runs, with these messages in its queue: (queue, arrival, [(address, reason or "")])."""
    r.write("bin/postqueue", '#!/bin/sh\ncat "$0.lines"\n', 0o755)
    r.write("bin/postfix", "#!/bin/sh\n", 0o755)
    lines = []
    for name, arrival, recipients in messages:
        members = [{"address": a, **({"delay_reason": reason} if reason else {})} for a, reason in recipients]
        lines.append(json.dumps({"queue_name": name, "arrival_time": arrival, "recipients": members}))
    r.write("bin/postqueue.lines", "".join(f"{line}\n" for line in lines))
    if r.path("bin") not in os.environ["PATH"]:
        r.on_close(lambda path=os.environ["PATH"]: os.environ.__setitem__("PATH", path))
        os.environ["PATH"] = r.path("bin") + ":" + os.environ["PATH"]


PRIMARY, ARCHIVE = "{}@x.test.primary.filter.split.invalid", "{}@x.test.archive.copy.split.invalid"


def with_filter(t):
    """The configuration of the machine with a filter, and with tables for splitmilter elsewhere."""
    with open(t.path, "a", encoding="utf-8") as f:
        f.write('filter primary { nexthop = "smtp:[127.0.0.1]:10024" }\n')


def test_mail_at_a_filter_that_hangs(r):
    """Recipients that Postfix has not tried yet, because their filter hangs, count as waiting for it; others do not."""
    rig.need_root()
    t = Machine(r).start()
    with_filter(t)
    now = int(time.time())
    old = now - 7200
    fake_postfix(r, [
        ("active", old, [(PRIMARY.format("a"), ""), (PRIMARY.format("b"), ""), ("c@d.test", "")]),
        ("incoming", now, [(PRIMARY.format("d"), "")]),
        ("deferred", now, [(PRIMARY.format("e"), "later"), (PRIMARY.format("sent"), "")]),
        ("hold", old, [(ARCHIVE.format("f"), "")]),
    ])  # fmt: skip
    text, found = t.status("--warn-age", "1h", "--postfix", r.path("mail"), code=WARNING)
    assert re.fullmatch(r"filter primary: the oldest waits for \d+ s", found["reason"]), found["reason"]
    (way,) = found["postfix"][0]["deferred"]
    assert (way["name"], way["active"], way["deferred"], way["oldest"], way["last_error"]) == ("filter primary", 3, 1, old, "later"), way
    assert re.search(r"(?m)^  filter primary: 3 recipients active, 1 recipient deferred, oldest 2h\n +\(later\)$", text), text


def samples(text):
    """{'name{labels}': value} of the samples."""
    return {key: float(value) for key, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}


def test_metrics(r):
    """--metrics writes what waits in Postfix, for each filter and destination of the configuration, and for all else together."""
    rig.need_root()
    t = Machine(r).start()
    with_filter(t)
    now = int(time.time())
    fake_postfix(r, [
        ("active", now - 600, [(PRIMARY.format("a"), "")]),
        ("deferred", now - 3600, [(PRIMARY.format("b"), "later"), ("c@d.test", "later"), ("c@e.test", "later"), ("x@y.gone.filter.split.invalid", "later")]),
    ])  # fmt: skip
    r.write("mail/main.cf", f'compatibility_level = 3.6\nqueue_directory = {r.path("queue")}\nmulti_instance_name = postfix-"in"\n')
    path = r.write("out/split.prom", "old\n")
    reader = os.stat(path).st_ino
    out = t.ctl("status", "--metrics", path, "--postfix", r.path("mail"))
    assert out == "" and sorted(os.listdir(r.path("out"))) == ["split.prom"] and os.stat(path).st_ino != reader
    assert os.stat(path).st_mode & 0o777 == 0o644
    with open(path, encoding="utf-8") as f:
        text = f.read()
    found = samples(text)
    name = 'postfix="postfix-\\"in\\""'
    recipients = f"splitctl_postfix_waiting_recipients{{{name},"
    assert {k[len(recipients):-1]: v for k, v in found.items() if k.startswith(recipients)} == {
        'kind="filter",name="primary",state="active"': 1, 'kind="filter",name="primary",state="deferred"': 1,
        'kind="copy",name="archive",state="active"': 0, 'kind="copy",name="archive",state="deferred"': 0,
        'kind="other",name="",state="active"': 0, 'kind="other",name="",state="deferred"': 3,
    }, text  # fmt: skip
    assert 3600 <= found[f'splitctl_postfix_waiting_oldest_age_seconds{{{name},kind="filter",name="primary"}}'] < 3700, text
    assert found[f'splitctl_postfix_waiting_oldest_age_seconds{{{name},kind="copy",name="archive"}}'] == 0, text
    assert found[f"splitctl_postfix_up{{{name}}}"] == 1 and found[f'splitctl_postfix_queue_messages{{{name},queue="deferred"}}'] == 1, text
    assert now <= found["splitctl_status_timestamp_seconds"] <= time.time() and found["splitctl_status_level"] == OK, text
    # On stdout they are the same. A state that is not OK is a metric, not an exit code.
    t.relay.stop()
    found = samples(t.ctl("status", "--metrics", "-", "--postfix", r.path("mail")))
    assert found["splitctl_status_level"] == CRITICAL and found[f"splitctl_postfix_up{{{name}}}"] == 1
    t.ctl("status", "--metrics", r.path("missing/split.prom"), status=1)
    for args in (("--json",), ("--watch",)):
        t.ctl("status", "--metrics", "-", *args, status=64)
    # A queue that cannot be read has no numbers, rather than zeros.
    r.write("bin/postqueue", "#!/bin/sh\necho no >&2\nexit 1\n", 0o755)
    text = t.ctl("status", "--metrics", "-", "--postfix", r.path("mail"))
    assert "splitctl_postfix_waiting_recipients{" not in text and "splitctl_postfix_queue_messages{" not in text, text


def test_many_domains(r):
    """Mail for very many domains in the queue of Postfix does not hide the mail for a destination of copies."""
    rig.need_root()
    t = Machine(r).start()
    now = int(time.time())
    addresses = [(f"a@d{i}.test", now) for i in range(210)]
    addresses += [("a@x.test.archive.copy.split.invalid", now - 7200), ("a@x.test.gone.copy.split.invalid", now - 7200), ("b@d0.test", now)]
    fake_postfix(r, [("deferred", arrival, [(address, "later")]) for address, arrival in addresses])
    _, found = t.status("--warn-age", "1h", "--postfix", r.path("mail"), code=WARNING)
    assert re.fullmatch(r"copy archive: the oldest waits for \d+ s", found["reason"]), found["reason"]
    ways = {w["name"]: w["deferred"] for w in found["postfix"][0]["deferred"]}
    assert ways == {"d0.test": 2, **{f"d{i}.test": 1 for i in range(1, 200)}, "others": 11, "copy archive": 1}, ways


def test_a_last_reload_that_failed(r):
    no_postfix(r)
    t = Machine(r).start()
    r.write("splitrelay.conf", t.text + "bogus\n")
    t.relay.signal(rig.daemons.signal.SIGUSR1)
    t.relay.wait_log("configuration not reloaded")
    rig.wait_for(lambda: rig.run_splitctl(r, t.path, "status", check=False)[0] == WARNING, 20, "the verdict")
    assert "the last reload of splitrelay failed: " in t.status(code=WARNING)[1]["reason"]


def test_a_database_that_cannot_be_read(r):
    """Neither the copies nor the suspensions, on a machine to which splitrelay belongs or not."""
    no_postfix(r)
    t = Machine(r).start()
    t.put()
    t.relay.stop()
    database = r.path("spool/queue.db")
    elsewhere = "".join(line + "\n" for line in t.text.splitlines() if not line.startswith("destination"))
    r.write("status.conf", elsewhere)
    t.status(code=OK)
    with sqlite3.connect(database) as db:
        db.execute("ALTER TABLE suspended RENAME TO elsewhere")
    db.close()
    assert "queue.db" in t.status(code=WARNING)[1]["reason"]
    for path in (database, database + "-wal", database + "-shm"):
        if os.path.exists(path):
            os.unlink(path)
    r.write("spool/queue.db", "x" * 8192)
    text, found = t.status(code=WARNING)
    assert "queue.db" in found["reason"] and "  copies: " in text, text
    r.write("status.conf", t.text)
    assert "queue.db" in t.status(code=CRITICAL)[1]["reason"]
    shutil.rmtree(r.path("spool"))
    r.write("status.conf", elsewhere)
    t.status(code=OK)


def test_what_may_not_be_read_is_not_empty(r):
    rig.need_root()
    no_postfix(r)
    t = Machine(r).start()
    t.put(2)
    for args, status in ((["status"], WARNING), (["status", "--json"], WARNING), (["queue"], 69), (["stats"], 69)):
        done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", program("splitctl"), "-c", t.path, *args], capture_output=True, timeout=60, check=False)
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == status and "Permission denied" in text and "empty" not in text and '"active": 0' not in text, text


if __name__ == "__main__":
    rig.main()

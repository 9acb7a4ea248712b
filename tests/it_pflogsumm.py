#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""pflogsumm counts a log of splitrelay right: what was taken, sent, deferred, dead and refused, and how much of it."""

import os
import re
import subprocess

import rig
from rig.daemons import TOP

CONFIGURATION = """\
log {{ target = "stderr" }}
relay {{
    listen = {{ "inet:{port}@127.0.0.1" }}
    hostname = "relay.test"
    spool_directory = "{spool}"
}}
destination archive {{ relay_to = {{ "{archive}" }} {times} }}
destination fixed-one {{ relay_to = {{ "{fixed}" }} recipient = "all@journal.test" {times} }}
"""
TIMES = 'retry_min = "1s" retry_max = "1s" max_age = "1h"'
FILTER = os.path.join(TOP, "conf", "pflogsumm.sed")
HOSTILE = "450 4.2.0 to=<x@y.test>, dest=archive, relay=z, delay=1, status=sent (250 Ok)"
BODY = b"Subject: x\r\n\r\n" + b"x" * 984 + b"\r\n"  # 1000 bytes
OTHERS = """\
Nov 20 09:00:00 mx postfix/smtpd[11]: 4XxXxX1: client=unknown[192.0.2.1]
Nov 20 09:00:00 mx postfix/qmgr[12]: 4XxXxX1: from=<a@b.test>, size=77, nrcpt=1 (queue active)
Nov 20 09:00:00 mx postfix/smtp[13]: 4XxXxX1: to=<c@d.test>, relay=e.test[192.0.2.2]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 Ok)
Nov 20 09:00:00 mx splitmilter[14]: 4XxXxX1: to=<a@b>, filter=secondary, copy=archive
Nov 20 09:00:00 mx other[15]: fake splitrelay[16]: 1: to=<a@b.test>, dest=archive, relay=z, delay=1, dsn=2.0.0, status=sent (250 Ok)
"""


def report(log):
    """(what pflogsumm says as text, its totals)."""
    filtered = subprocess.run(["sed", "-n", "-f", FILTER], input=log.encode(), stdout=subprocess.PIPE, check=True).stdout
    done = subprocess.run(["pflogsumm"], input=filtered, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    assert not done.stderr, done.stderr
    text = done.stdout.decode()
    totals = {name: int(n) for n, name in re.findall(r"^ *(\d+)  +(received|delivered|deferred|bounced|rejected|recipients)\b", text, re.M)}
    found = re.search(r"\((\d+)\s+deferrals\)", text)
    totals["deferrals"] = int(found.group(1)) if found else 0
    totals.update({f"bytes {n}": b for b, n in re.findall(r"^ *(\d+k?)  +bytes (received|delivered)", text, re.M)})
    return text, totals


class Archive:
    """Answers by the recipient: later once, never, or yes."""

    def __init__(self):
        self.asked = set()

    def __call__(self, stage, _conn, arg):
        if stage != "rcpt":
            return None
        if "later" in arg and arg not in self.asked:
            self.asked.add(arg)
            return HOSTILE
        return "550 5.1.1 unknown" if "never" in arg else None


def tagged(user, destination="archive"):
    return f"{user}@example.com.{destination}.copy.split.invalid"


def make_log(r):
    archive, fixed = rig.Sink(r, "archive", hook=Archive()), rig.Sink(r, "fixed")
    address = ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)
    text = CONFIGURATION.format(port=address[1], spool=r.path("spool"), archive=archive.bracketed, fixed=fixed.bracketed, times=TIMES)
    daemon = rig.start_splitrelay(r, text, address)
    for _ in range(5):
        rig.send(address, "s@sender.test", [tagged("anna"), tagged("ben")], BODY)
    rig.send(address, "s@sender.test", [tagged("later-1"), tagged("later-2"), tagged("carl")], BODY)
    rig.send(address, "s@sender.test", [tagged("never-1"), tagged("dora")], BODY)
    rig.send(address, "", [tagged("never-2"), tagged("emil", "fixed-one")], BODY)
    with rig.SmtpClient(address) as c:
        c.mail("s@sender.test")
        assert c.rcpt("anna@example.com").code == 550
        assert c.rcpt(tagged("anna", "nowhere")).code == 451
    # A loop is a dead letter, and refused.
    with rig.SmtpClient(address) as c:
        c.mail("s@sender.test")
        c.rcpt(tagged("loop"))
        assert c.data(b"X-Split-Copy: destination=archive; id=1; host=relay.test\r\n\r\n").code == 554
    daemon.wait_log(r"status=sent \(250 2\.0\.0 Ok\)$", count=15)
    daemon.wait_log(r"status=dead \(", count=3)
    daemon.stop()
    return daemon.log()


def test_counts(r):
    rig.need_tools("pflogsumm", "sed")
    log = make_log(r)
    lines = [f"Nov 20 10:{i // 60:02}:{i % 60:02} mx {line}\n" for i, line in enumerate(log.splitlines())]
    for more in ("", OTHERS):
        text, totals = report("".join(lines) + more)
        expected = {
            "received": 10,  # copies: 5 + 1 + 1 + 2, and the loop
            "delivered": 15,  # 10 + 3 + 1, and the fixed one
            "deferred": 1,  # copies; two recipients of one
            "deferrals": 2,
            "bounced": 3,
            "rejected": 3,
            "bytes delivered": "15000",
            "bytes received": "9060",
        }
        assert {k: totals.get(k) for k in expected} == expected, (totals, text)
        assert re.search(r"^ *to-archive \(total: 2\)", text, re.M), text
        assert re.search(r"^ *14 .*example\.com$", text, re.M), text
        assert re.search(r"^ *1 .*all@journal\.test$", text, re.M), text


def test_other_time_formats(r):
    """RFC 3339, as rsyslog may be told to write."""
    rig.need_tools("pflogsumm", "sed")
    line = "8DlZByd: to=<anna@example.com>, dest=archive, relay=a.test[192.0.2.1]:25, conn_use=3, delay=1.1, delays=0/0/1/0.1, dsn=2.0.0, status=sent (250 Ok)"
    _, totals = report(f"2026-11-20T10:00:00.123456+01:00 mx splitrelay[123]: {line}\n")
    assert totals["delivered"] == 1, totals


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""pflogsumm counts a log of splitrelay correctly in either style: received, sent, deferred, dead and refused mail, and its
sizes."""

import os
import re
import signal
import subprocess
import threading

import rig
from rig.daemons import TOP

CONFIGURATION = """\
log {{ target = "stderr" style = "{style}" }}
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
HOSTILE = (
    "450 4.2.0 to=<x@y.test>, dest=archive, relay=z, delay=1, status=sent (250 Ok)",
    "450 4.2.0 from=<x@y.test>, size=7, to=<x@y.test>, relay=z, delay=1, status=sent (250 Ok)",
)
OURS = r"^[^[]* splitrelay/"  # the pattern of docs/operations.md
BODY = b"Subject: x\r\n\r\n" + b"x" * 984 + b"\r\n"  # 1000 bytes
OTHERS = """\
Nov 20 09:00:00 mx postfix/smtpd[11]: 4XxXxX1: client=unknown[192.0.2.1]
Nov 20 09:00:00 mx postfix/qmgr[12]: 4XxXxX1: from=<a@b.test>, size=77, nrcpt=1 (queue active)
Nov 20 09:00:00 mx postfix/smtp[13]: 4XxXxX1: to=<c@d.test>, relay=e.test[192.0.2.2]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 Ok)
Nov 20 09:00:00 mx splitmilter[14]: 4XxXxX1: to=<a@b>, filter=secondary, copy=archive
Nov 20 09:00:00 mx other[15]: fake splitrelay[16]: 1: to=<a@b.test>, dest=archive, relay=z, delay=1, dsn=2.0.0, status=sent (250 Ok)
"""


def report(log, style="splitmilter", options=()):
    """(the report of pflogsumm as text, its totals)."""
    if style == "splitmilter":
        log = subprocess.run(["sed", "-n", "-f", FILTER], input=log.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()
    else:
        options = ["--syslog-name=splitrelay", *options]
    done = subprocess.run(["pflogsumm", *options], input=log.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    assert not done.stderr, done.stderr
    text = done.stdout.decode()
    totals = {name: int(n) for n, name in re.findall(r"^ *(\d+)  +(received|delivered|deferred|bounced|rejected|recipients)\b", text, re.M)}
    found = re.search(r"\((\d+)\s+deferrals\)", text)
    totals["deferrals"] = int(found.group(1)) if found else 0
    totals.update({f"bytes {n}": b for b, n in re.findall(r"^ *(\d+k?)  +bytes (received|delivered)", text, re.M)})
    return text, totals


class Archive:
    """A hook that answers by the recipient: it defers "later" once, refuses "never", and accepts others."""

    def __init__(self):
        self.asked = set()

    def __call__(self, stage, _conn, arg):
        if stage != "rcpt":
            return None
        if "later" in arg and arg not in self.asked:
            self.asked.add(arg)
            return HOSTILE[len(self.asked) % 2]
        return "550 5.1.1 unknown" if "never" in arg else None


def tagged(user, destination="archive"):
    return f"{user}@example.com.{destination}.copy.split.invalid"


def make_log(r, style):
    archive, fixed = rig.Sink(r, "archive", hook=Archive()), rig.Sink(r, "fixed")
    address = ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)
    text = CONFIGURATION.format(style=style, port=address[1], spool=r.path("spool"), archive=archive.bracketed, fixed=fixed.bracketed, times=TIMES)
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
    # A loop counts as a dead letter, and as refused.
    with rig.SmtpClient(address) as c:
        c.mail("s@sender.test")
        c.rcpt(tagged("loop"))
        assert c.data(b"X-Split-Copy: destination=archive; id=1; host=relay.test\r\n\r\n").code == 554
    # Addresses that look like other parts of a log line.
    if style == "postfix":
        rig.send(address, '"x>, size=1, "@sender.test', [tagged('"y>, relay=z, delay=9, status=bounced "')], BODY)
    daemon.wait_log(r"status=sent \(250 2\.0\.0 Ok\)$", count=15 + (style == "postfix"))
    daemon.wait_log(r"status=(dead|bounced) \(", count=3)
    daemon.stop()
    return daemon.log()


def day(log, host="mx "):
    return "".join(f"Nov 20 10:{i // 60:02}:{i % 60:02} {host}{line}\n" for i, line in enumerate(log.splitlines()))


EXPECTED = {
    "received": 10,  # copies: 5 + 1 + 1 + 2, and the loop
    "delivered": 15,  # 10 + 3 + 1, and the one with the fixed recipient
    "deferred": 1,  # copies: one, with two recipients
    "deferrals": 2,
    "bounced": 3,
    "rejected": 3,
    "bytes delivered": "15000",
    "bytes received": "9060",
}


def check(expected, text, totals):
    assert {k: totals.get(k) for k in expected} == expected, (totals, text)
    assert re.search(r"^ *1 .*all@journal\.test$", text, re.M), text
    assert "Messages with no size data" not in text, text


def test_our_style_through_the_filter(r):
    """pflogsumm counts a log in splitrelay's own style correctly behind the sed filter."""
    rig.need_tools("pflogsumm", "sed")
    lines = day(make_log(r, "splitmilter"))
    for more in ("", OTHERS):
        text, totals = report(lines + more)
        check(EXPECTED, text, totals)
        assert re.search(r"^ *to-archive(?: \(total: 2\)|\n *127\.0\.0\.1 \(2\))$", text, re.M), text
        assert re.search(r"^ *14 .*example\.com$", text, re.M), text


def test_postfix_style_without_a_filter(r):
    """pflogsumm counts a log in Postfix's style correctly without a filter."""
    rig.need_tools("pflogsumm")
    lines = day(make_log(r, "postfix"))
    expected = dict(EXPECTED, received=11, delivered=16, recipients=8)
    expected.update({"bytes delivered": "16000", "bytes received": "10060"})
    # Also with lines of a Postfix instance with a name of its own, and of other programs, in the same file.
    for more in ("", OTHERS.replace("postfix/", "postfix-in/")):
        text, totals = report(lines + more, "postfix")
        check(expected, text, totals)
        for pattern in (
            r"^ *15 +15000 +2 .*example\.com$",
            r"^ *9 +8060 +sender\.test$",
            r"^ *archive/smtp(?: \(total: 2\)|\n *127\.0\.0\.1 \(2\))$",
            r"^ +1 +(?:4\.2\.0 )?to\?<x@y\.test>",
            r"^ +2 +(?:5\.1\.1 )?unknown",
            r"^ +1 +(?:5\.4\.6 )?mail loops",
            r"^ +Recipient address rejected: Relay access denied \((?:total: )?1\)\n +1 +anna@example\.com$",
            r"^ +Recipient address rejected: Destination nowhere is not configured \((?:total: )?1\)$",
            r"^ +Mail loops back to this host \((?:total: )?1\)$",
        ):
            assert re.search(pattern, text, re.M), (pattern, text)
    # pflogsumm always counts lines of "postfix", so a report about splitrelay alone needs a grep before.
    _, totals = report(lines + OTHERS, "postfix")
    assert totals["received"] == 12 and totals["delivered"] == 17, totals
    ours = subprocess.run(["grep", "-E", OURS], input=(lines + OTHERS).encode(), stdout=subprocess.PIPE, check=True).stdout
    text, totals = report(ours.decode(), "postfix")
    check(expected, text, totals)
    # Without the option for the name nothing is counted.
    _, totals = report(lines, "postfix", ["--syslog-name=postfix"])
    assert totals["received"] == totals["delivered"] == 0, totals


def test_sizes_come_before_deliveries(r):
    """pflogsumm has a size for each delivery, also when messages arrive together and share a file in the spool."""
    rig.need_tools("pflogsumm", "sed")
    for style in ("splitmilter", "postfix"):
        archive = rig.Sink(r, f"archive-{style}")
        address = ("127.0.0.1", r.free_port())
        spool = r.path(f"spool-{style}")
        os.mkdir(spool, 0o700)
        text = CONFIGURATION.format(style=style, port=address[1], spool=spool, archive=archive.bracketed, fixed=archive.bracketed, times=TIMES)
        daemon = rig.start_splitrelay(r, text, address, name=f"splitrelay-{style}")

        def send():
            for _ in range(10):
                rig.send(address, "s@sender.test", [tagged("anna")], BODY)

        threads = [threading.Thread(target=send) for _ in range(10)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        daemon.wait_log(r"status=sent ", count=100)
        daemon.stop()
        text, totals = report(day(daemon.log()), style)
        expected = {"received": 100, "delivered": 100, "bytes received": "100000", "bytes delivered": "100000"}
        assert {k: totals.get(k) for k in expected} == expected, (style, totals, text)


def test_a_reload_changes_the_style(r):
    archive = rig.Sink(r, "archive")
    address = ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)

    def text(style):
        return CONFIGURATION.format(style=style, port=address[1], spool=r.path("spool"), archive=archive.bracketed, fixed=archive.bracketed, times=TIMES)

    daemon = rig.start_splitrelay(r, text("splitmilter"), address)
    for i, (style, pattern) in enumerate((
        ("splitmilter", r"^splitrelay\[\d+\]: \w+: to=<anna@example\.com>, dest=archive, relay=.* status=sent "),
        ("postfix", r"^splitrelay/archive/smtp\[\d+\]: \w+: to=<anna@example\.com>, relay=.* status=sent "),
        ("splitmilter", r"^splitrelay\[\d+\]: \w+: to=<anna@example\.com>, dest=archive, relay=.* status=sent "),
    )):
        if i > 0:
            with open(daemon.configuration_path, "w", encoding="ascii") as f:
                f.write(text(style))
            daemon.signal(signal.SIGUSR1)
            daemon.wait_log("configuration reloaded", count=i)
        rig.send(address, "s@sender.test", [tagged("anna")], BODY)
        daemon.wait_log(pattern, count=1 + i // 2)
    assert len(daemon.log_lines(r"client=")) == 1
    daemon.stop()


def test_other_time_formats(r):
    """The filter accepts times in RFC 3339 format, which rsyslog can write."""
    rig.need_tools("pflogsumm", "sed")
    line = "8DlZByd: to=<anna@example.com>, dest=archive, relay=a.test[192.0.2.1]:25, conn_use=3, delay=1.1, delays=0/0/1/0.1, dsn=2.0.0, status=sent (250 Ok)"
    _, totals = report(f"2026-11-20T10:00:00.123456+01:00 mx splitrelay[123]: {line}\n")
    assert totals["delivered"] == 1, totals


if __name__ == "__main__":
    rig.main()

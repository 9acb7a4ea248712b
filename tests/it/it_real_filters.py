#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""docs/filters.md with the real filters: amavis and spampd of Debian's packages, each of which gets its own recipients; and copies
that a second splitmilter makes behind them."""

import itertools
import os
import pwd
import re
import socket
import threading

import rig
from rig.daemons import accepts as listens, program
from rig.guide import CONFIGURATION, MAIN

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
PORTS = {"amavis": 10024, "spampd": 10027}


class Syslog:
    """A listener at port 514, without which spampd does not start."""

    def __init__(self, r):
        self.path = r.path("syslog")
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 514))
        threading.Thread(target=self._take, daemon=True).start()
        r.show_on_failure("syslog", self.path)
        r.on_close(self.sock.close)

    def _take(self):
        with open(self.path, "ab", buffering=0) as f:
            while True:
                try:
                    f.write(self.sock.recv(8192) + b"\n")
                except OSError:
                    return


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def start(r, guide, name):
    """Start a filter as the unit of its package does."""
    user = pwd.getpwnam(name)
    directory = f"/run/{name}"
    os.makedirs(directory, exist_ok=True)
    os.chown(directory, user.pw_uid, user.pw_gid)
    # amavis does not start on a host without a domain; and in sid not if it is to listen at ::1, too.
    guide.write("/etc/amavis/conf.d/60-host", '$myhostname = "mail.example.com";\n$inet_socket_bind = "127.0.0.1";\n1;\n')
    argv = ["amavisd", "foreground"]
    if name == "spampd" and os.path.exists("/usr/share/spampd"):  # Debian 12
        # The jail has no journal, so spampd logs over the network.
        with open("/etc/default/spampd", "a", encoding="ascii") as f:
            f.write("LOGINET=1\n")
        guide.run("sh /usr/share/spampd/process_arguments.sh")
        with open("/run/spampd/spampd.arguments", encoding="ascii") as f:
            argv = ["spampd", "--nodetach", *f.read().partition("=")[2].replace('"', "").split()]
    elif name == "spampd":
        argv = ["spampd", "--nodetach", "--config", "/etc/spampd.cfg", "--logfile=stderr"]
    daemon = rig.Daemon(r, name, argv, env={"PATH": rig.environment()["PATH"]})
    daemon.start(lambda: accepts(PORTS[name]), seconds=40)
    r.on_close(daemon.kill)  # after SIGTERM a Perl daemon has another exit status than 0
    return daemon


AFTER = "/var/spool/postfix-out/splitmilter/after.sock"
# What Postfix cannot deliver at once is tried again soon.
SOON = "queue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\n"
# amavis refuses a double extension, and discards a message with a bad header.
VERDICTS = "$final_banned_destiny = D_REJECT;\n$final_bad_header_destiny = D_DISCARD;\n1;\n"
RCPTS = ["abuse@example.com", "anna@example.com", "ben@example.com"]


class Behind:
    """The system of docs/filters.md with copies behind the filters. `copies` and `mails` have the recipients by subject."""

    def __init__(self, r, destination=""):
        rig.need_tools("amavisd", "spampd")
        self.r = r
        self.guide = rig.Guide(r)
        self.mailbox, self.archive = rig.Sink(r, "mailbox"), rig.Sink(r, "archive")
        self.guide.fresh(self.mailbox, {})
        self.guide.write("/etc/postfix/main.cf", MAIN.format(mailbox=self.mailbox.bracketed) + SOON)
        Syslog(r)
        self.guide.run("postfix start")
        self.guide.follow("filters.md", until="apt install rspamd")
        with open("/etc/amavis/conf.d/50-user", "a", encoding="ascii") as f:
            f.write(VERDICTS)
        with open(CONFIGURATION, "a", encoding="ascii") as f:
            f.write(
                f'milter after {{ socket = "unix:{AFTER}" copy_maps = {{ "static:archive" }} }}\n'
                'relay { min_free_space = "1k" }\n'
                f'destination archive {{ relay_to = {{ "{self.archive.bracketed}" }} retry_min = "1s" retry_max = "2s" {destination} }}\n'
            )
        self.guide.run("splitctl setup-postfix --multi --copies=after-filter --apply")
        self.filters = {name: start(r, self.guide, name) for name in PORTS}
        for name in ("splitrelay", "splitmilter", "postfix"):
            self.guide.service("restart", name)
        self.after = rig.Daemon(r, "after", [program("splitmilter"), "-c", CONFIGURATION, "-n", "after"])
        self.after.start(lambda: listens(AFTER))

    @staticmethod
    def send(subject, *rcpts, body=b"text\r\n", more=b""):
        head = f"From: s@example.net\r\nTo: list@example.com\r\nMessage-Id: <{subject}@example.net>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n"
        content = head.encode() + b"Subject: " + subject.encode() + b"\r\n" + more + b"\r\n" + body
        rig.send(("127.0.0.1", 25), "s@example.net", rcpts, content)

    @staticmethod
    def by_subject(sink):
        found = {}
        for t in sink.accepted:
            for subject in (h for h in t.headers("Message-Id") if h.endswith("@example.net>")):
                found.setdefault(subject[1 : -len("@example.net>")], []).extend((a, t) for a in t.addrs)
        return found

    def idle(self, seconds=60):
        """Wait until no message is in a queue of Postfix or splitrelay."""
        def is_idle():
            return self.guide.run("postmulti -x mailq").count("Mail queue is empty") == 3 and self.guide.run("splitctl queue --json") == ""

        rig.wait_for(is_idle, seconds, "empty queues", lambda: self.guide.run("postmulti -x mailq; splitctl queue; tail -n 50 /var/log/mail.log"))


def test_copies_of_what_the_filters_let_through(r):
    """What a filter refuses or discards is not copied; what it marks is copied once, with its mark; the rest once."""
    s = Behind(r)
    s.send("plain", *RCPTS)
    s.send("spam", *RCPTS, body=GTUBE)
    mixed = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    s.send("refused", *RCPTS, more=mixed, body=b'--b\r\nContent-Type: application/octet-stream; name="invoice.doc.exe"\r\n\r\nMZ\r\n--b--\r\n')
    s.send("discarded", *RCPTS, more=b"X-Bad: \xe4\xf6\xfc\r\n")
    rig.wait_for(lambda: len(s.by_subject(s.mailbox)) == 4, 60, "all messages", lambda: s.guide.run("cat /var/log/mail.log"))
    s.idle()
    mails, copies = s.by_subject(s.mailbox), s.by_subject(s.archive)
    for subject, wanted in (("plain", RCPTS), ("spam", RCPTS), ("refused", [RCPTS[0], RCPTS[2]]), ("discarded", [RCPTS[0], RCPTS[2]])):
        assert sorted(a for a, _ in mails[subject]) == sorted(a for a, _ in copies[subject]) == wanted, (subject, mails, copies)
    # Each copy is what the mailbox got, verdict included.
    marks = {a: (t.headers("X-Spam-Flag"), t.headers("X-Spam-Status"), t.headers("X-Spam-Checker-Version")) for a, t in copies["spam"]}
    assert marks == {a: (t.headers("X-Spam-Flag"), t.headers("X-Spam-Status"), t.headers("X-Spam-Checker-Version")) for a, t in mails["spam"]}
    assert marks["anna@example.com"][0] == ["YES"] and marks["ben@example.com"][1][0].startswith("Yes") and not any(marks["abuse@example.com"]), marks
    log = s.guide.run("cat /var/log/mail.log")
    assert re.search(r"postfix-in/.*status=bounced", log) and not s.guide.daemons["splitmilter"].log_lines("copy="), log


def test_an_archive_without_spam(r):
    """With unless_header the archive gets what the filters have not marked, and the history has the rest as skipped."""
    s = Behind(r, 'unless_header = { "X-Spam-Flag: YES", "X-Spam-Status: Yes*" }')
    s.send("plain", *RCPTS)
    s.send("spam", *RCPTS, body=GTUBE)
    rig.wait_for(lambda: sorted(map(len, s.by_subject(s.mailbox).values())) == [3, 3], 60, "all messages", lambda: s.guide.run("cat /var/log/mail.log"))
    s.idle()
    copies = {subject: sorted(a for a, _ in found) for subject, found in s.by_subject(s.archive).items()}
    # Nothing has marked the mail of abuse@, which goes through no filter.
    assert copies == {"plain": RCPTS, "spam": RCPTS[:1]}, copies
    history = s.guide.run("splitctl history --json")
    assert len(re.findall('"skipped"', history)) == 2, history


def test_kill_everything_in_between(r):
    """Filters, both splitmilters, splitrelay and Postfix are killed while mail passes: nothing that was accepted is missing."""
    s = Behind(r)
    each = int(os.environ.get("SPLIT_AFTER_MESSAGES", "4"))
    numbers, accepted = itertools.count(), []

    def send(count):
        for _ in range(count):
            subject = f"kill{next(numbers)}"
            try:
                s.send(subject, *RCPTS)
                accepted.append(subject)
            except (OSError, rig.SmtpError):
                pass  # not accepted: its sender would try again

    def victims():
        for name, daemon in s.filters.items():
            yield name, daemon.kill, lambda name=name, daemon=daemon: daemon.start(lambda: accepts(PORTS[name]), seconds=40)
        for name, daemon, address in (("splitmilter", s.guide.daemons["splitmilter"], "/var/spool/postfix-in/splitmilter/milter.sock"), ("after", s.after, AFTER), ("splitrelay", s.guide.daemons["splitrelay"], ("127.0.0.1", 10030))):
            yield name, daemon.kill, lambda daemon=daemon, address=address: daemon.start(lambda: listens(address))
        yield "postfix", s.guide.jail.stop_postfix, lambda: s.guide.run("postfix start")

    for name, kill, restart in victims():
        before = len(accepted)
        send(each)
        assert len(accepted) == before + each, f"not all of the messages before the end of {name} were accepted"
        kill()
        send(2)
        restart()
    s.idle(seconds=120)
    mails, copies = s.by_subject(s.mailbox), s.by_subject(s.archive)
    for subject in accepted:
        for what, found in (("mail", mails), ("copies", copies)):
            assert {a for a, _ in found.get(subject, ())} == set(RCPTS), (what, subject, found.get(subject))
    once = sum(len(copies[subject]) == len(RCPTS) for subject in accepted)
    print(f"  {len(accepted)} messages accepted, {once} of them with each copy once")
    assert once >= len(accepted) // 2, "most copies came twice"


def test_each_recipient_has_its_filter(r):
    rig.need_tools("amavisd", "spampd")
    guide = rig.Guide(r)
    mailbox = rig.Sink(r, "mailbox")
    guide.fresh(mailbox, {})
    Syslog(r)
    guide.run("postfix start")
    guide.follow("filters.md")
    for name in PORTS:
        start(r, guide, name)
    for name in ("splitrelay", "splitmilter", "postfix"):
        guide.service("restart", name)
    body = b"From: s@example.net\r\nTo: list@example.com\r\nSubject: offer\r\nMessage-Id: <1@example.net>\r\n\r\n" + GTUBE
    rcpts = ["anna@example.com", "ben@example.com", "abuse@example.com"]
    rig.send(("127.0.0.1", 25), "s@example.net", rcpts, body)
    mailbox.wait_recipients(3, seconds=60)
    seen = {a: t for t in mailbox.accepted for a in t.addrs}
    assert sorted(seen) == sorted(rcpts) and len(mailbox.accepted) == 3, mailbox.describe()

    anna, ben, abuse = (seen[a] for a in rcpts)
    passed = {a: [h for h in t.headers("Received") if "amavis" in h] for a, t in seen.items()}
    assert len(passed[rcpts[0]]) == 1 and not passed[rcpts[1]] and not passed[rcpts[2]], passed
    assert anna.headers("X-Spam-Flag") == ["YES"] and not anna.headers("X-Spam-Checker-Version"), anna.data
    assert ben.headers("X-Spam-Checker-Version"), ben.data
    assert re.match("Yes", ben.headers("X-Spam-Status")[0]), ben.data
    assert not abuse.headers("X-Spam-Status"), abuse.data
    # amavis got the client's attributes, and Postfix still has them behind the filter.
    log = guide.run("cat /var/log/mail.log")
    assert re.search(r"reinject/smtpd.*orig_client=", log), log
    assert "loops back" not in log


if __name__ == "__main__":
    rig.main(timeout=400)

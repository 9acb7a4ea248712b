#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Local users and the tag domain with one instance (setup-postfix --single): sendmail(1), .forward files and bounces cannot send
to it, and a message that postsuper -r puts back into the queue is still delivered to its filter."""

import os
import pwd
import re
import subprocess

import rig
from rig.setup_system import System

USER = "nobody"
FORGED = (
    "forged@example.com.archive.copy.split.invalid",
    "forged@EXAMPLE.com.archive.copy.Split.Invalid",
    "forged%example.com.archive.copy.split.invalid@mail.example.com",
    "forged@example.com.primary.filter.split.invalid",
    "forged@split.invalid",
)
MORE = """\
forward_path = {directory}/forward-$user
local_recipient_maps =
alias_maps =
transport_maps = inline:{{{{ example.com=smtp:[127.0.0.1]:{port} }} {{ sender.test=smtp:[127.0.0.1]:{port} }}}}
"""


class LocalSystem(System):
    """A System whose set_up() uses --single, with $user's .forward in a directory of the test."""

    def set_up(self, main="", **options):
        self.forwards = self.r.path(f"forwards{self.number}")
        os.makedirs(self.forwards)
        os.chmod(self.forwards, 0o755)
        self.fresh(main=MORE.format(directory=self.forwards, port=self.mailbox.address[1]) + main, **options)
        out = self.ctl("--single", "--apply")
        self.start()
        return out

    def forward_to(self, address):
        path = f"{self.forwards}/forward-{USER}"
        self.write(path, f"{address}\n")
        os.chmod(path, 0o644)
        os.chown(path, pwd.getpwnam(USER).pw_uid, -1)

    def submit(self, subject, *recipients, sender="s@sender.test"):
        """Send a message with sendmail(1), as a user without privileges."""
        uid = pwd.getpwnam(USER).pw_uid
        done = subprocess.run(
            ["sendmail", "-i", "-f", sender, *recipients],
            input=f"Subject: {subject}\n\n{subject}\n".encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=rig.environment(),
            user=uid,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode()

    def settle(self):
        def is_empty():
            return not [p for q in ("maildrop", "incoming", "active", "deferred") for p in self.files(q)]

        rig.wait_for(is_empty, 30, "empty queues", self.log)
        spool = self.r.path(f"spool{self.number - 1}/queue")
        rig.wait_for(lambda: not [f for _, _, names in os.walk(spool) for f in names], 30, "an empty spool")

    @staticmethod
    def files(queue):
        return [os.path.join(d, f) for d, _, names in os.walk(f"/var/spool/postfix/{queue}") for f in names]

    def everywhere(self, word):
        """The sorted (place, recipient) of all messages with this word. Bounces have it in the returned message."""
        places = {"mailbox": self.mailbox, "archive": self.archive, **self.filters}
        return sorted((p, a) for p, sink in places.items() for t in sink.accepted if word.encode() in t.data for a in t.addrs)


def setup(r):
    return LocalSystem(r)


def test_sendmail_is_closed(s):
    """A message from sendmail(1) to the tag domain, or from it, is returned to its sender, and arrives nowhere else."""
    s.set_up()
    for number, recipient in enumerate(FORGED):
        s.submit(f"forged-{number}-", recipient)
    s.submit("returned-", "anna@example.com", sender=FORGED[0])
    s.submit("undeliverable-", "x@no such domain", sender=FORGED[0])
    s.settle()
    for number in range(len(FORGED)):
        assert s.everywhere(f"forged-{number}-") == [("mailbox", "s@sender.test")], s.everywhere(f"forged-{number}-")
    assert s.everywhere("returned-") == s.everywhere("undeliverable-") == [], s.everywhere("returned-")
    # Other local mail is delivered as before, without a warning in the log.
    s.submit("cron-", "carl@example.com")
    s.settle()
    assert s.everywhere("cron-") == [("mailbox", "carl@example.com")], s.everywhere("cron-")
    assert not s.daemons[-1].log_lines("did not come by SMTP")
    assert len(s.daemons[-1].log_lines(r": refused \(550 5.7.1 Internal routing domain\)")) == len(FORGED) + 2


def test_forward_is_closed(s):
    """A .forward file cannot send to the tag domain; other .forward files work."""
    s.set_up()
    for number, recipient in enumerate(FORGED):
        s.forward_to(recipient)
        rig.send(("127.0.0.1", 25), "s@sender.test", [f"{USER}@mail.example.com"], f"Subject: forward-{number}-\r\n\r\n".encode())
        s.settle()
        assert s.everywhere(f"forward-{number}-") == [("mailbox", "s@sender.test")], s.everywhere(f"forward-{number}-")
    s.forward_to("carl@example.com")
    s.submit("onward-", f"{USER}@mail.example.com")
    s.settle()
    assert s.everywhere("onward-") == [("mailbox", "carl@example.com")], s.everywhere("onward-")


def test_a_message_put_back_goes_its_way(s):
    """A message that postsuper -r puts back is delivered to its filter, although it passes pickup(8) with its suffix."""
    s.set_up()
    for filter_ in s.filters.values():
        filter_.stop()
    rig.send(("127.0.0.1", 25), "s@sender.test", ["ben@example.com"], b"Subject: again-\r\n\r\n")
    rig.wait_for(lambda: "archive.copy.split.invalid>" in s.log() and s.files("deferred") and not s.files("active"), 20, "the message to wait", s.log)
    s.run("postsuper", "-r", "ALL")
    s.run("postqueue", "-f")
    rig.wait_for(lambda: re.search(r"pickup\[\d+\]: \w+: uid=\d+ from=<s@sender.test> orig_id=", s.log()), 20, "the message in pickup", s.log)
    rig.wait_for(lambda: len(re.findall(r"to=<ben@example.com.secondary.filter.split.invalid>.*status=deferred", s.log())) > 1, 20,
                 "another attempt", s.log)
    assert "bounced" not in s.log()
    s.archive.wait_recipients(1)
    assert s.everywhere("again-") == [("archive", "ben@example.com")], s.everywhere("again-")
    for queue in ("deferred", "active", "incoming"):
        for path in s.files(queue):
            os.unlink(path)


def test_settings_of_the_administrator(s):
    """The administrator's maps and milters for cleanup(8) still apply to local mail, and --remove restores everything."""
    s.set_up(main=f"recipient_canonical_maps = inline:{{{{old@example.com=carl@example.com}}}}\nnon_smtpd_milters = {{ inet:127.0.0.1:{s.own.address[1]}, protocol=6 }}\n")
    asked = s.own.asked
    s.submit("mapped-", "old@example.com")
    s.submit("forged-", FORGED[0])
    s.settle()
    assert s.own.asked >= asked + 1, "the administrator's milter was not asked"
    assert s.everywhere("mapped-") == [("mailbox", "carl@example.com")], s.everywhere("mapped-")
    assert s.everywhere("forged-") == [("mailbox", "s@sender.test")], s.everywhere("forged-")
    assert "Nothing to do" in s.ctl("--single", "--apply")
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before
    assert [n for n in os.listdir("/etc/postfix") if "split" in n] == []


def test_it_says_what_stays_open(s):
    """If main.cf names another cleanup service, the preview says that local users can send to the tag domain."""
    s.fresh(main="cleanup_service_name = mine")
    s.write("/etc/postfix/master.cf", s.systems_own["master.cf"] + "mine unix n - n - 0 cleanup\n")
    out = s.ctl("--single")
    assert "local users" in out and "put messages into archives" in out, out
    s.fresh()
    assert "local users" not in s.ctl("--single")


if __name__ == "__main__":
    rig.main()

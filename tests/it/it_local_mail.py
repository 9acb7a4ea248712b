#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Mail that does not come by SMTP, on a real Postfix whose cleanup(8) asks splitmilter (non_smtpd_milters,
internal_mail_filter_classes): no recipient gets it twice, and no message stays in the maildrop queue."""

import subprocess

import rig
from rig.postfix import environment
from rig.split_scenarios import CANONICAL, COPIES, FILTERS, by_subject, message

MAIN = {
    "non_smtpd_milters": "$smtpd_milters",
    "internal_mail_filter_classes": "bounce, notify",
    "receive_override_options": "",
    "virtual_alias_domains": "alias.test",
    "virtual_alias_maps": "inline:{{one@alias.test=anna@example.com} {both@alias.test=carl@example.com,dora@example.com}}",
    "recipient_canonical_maps": "inline:{{old@example.com=ben@example.com}}",
    "alias_maps": "",
}


def setup(r):
    return rig.Tower(r, CANONICAL, FILTERS, COPIES, front_main=MAIN, short=True)


def submit(t, subject, *recipients, sender="s@sender.test"):
    """Send a message with sendmail(1), as a local user does."""
    done = subprocess.run(
        ["sendmail", "-C", t.front.etc, "-i", "-f", sender, *recipients],
        input=message(subject),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


def arrivals(t, subject):
    """The sorted (recipient, place) of all arrivals."""
    found = []
    for place, sink in (("mailbox", t.mailbox), *t.taps.items(), *t.backups.items()):
        if place != "relay":
            found += [(a, place) for txn in by_subject(sink.accepted, subject) for a in txn.addrs]
    return sorted(found)


def test_rewritten_recipients_come_once(t):
    """Mail from sendmail(1) is not changed, and arrives once, because cleanup(8) shows the milter rewritten recipients, but
    deletes recipients by their original form. The log has a warning."""
    submit(t, "local", "one@alias.test", "both@alias.test", "old@example.com", "emil@example.com")
    t.settle()
    everyone = [f"{name}@example.com" for name in ("anna", "ben", "carl", "dora", "emil")]
    assert arrivals(t, "local") == [(a, "mailbox") for a in everyone], arrivals(t, "local")
    lines = t.milter.wait_log(r"warning: [0-9A-F]+: status=unchanged \(this message did not come by SMTP; .*non_smtpd_milters")
    assert len(lines) == 1, lines


def test_bounces_are_left_alone(t):
    """A bounce that passes the milter arrives at the sender once."""
    submit(t, "undeliverable", "x@[192.0.2.1:x", sender="anna@example.com")
    t.settle()
    found = [txn.addrs for txn in t.mailbox.accepted if txn.sender == ""]
    assert found == [["anna@example.com"]], found
    t.milter.wait_log("did not come by SMTP", count=3)  # the messages of two tests, and the bounce


def test_smtp_is_as_ever(t):
    """Mail that comes by SMTP through the same instance is split as usual."""
    t.send(["carl@example.com", "emil@example.com"], message("smtp"))
    t.settle()
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    expected = [("carl@example.com", place) for place in ("archive", "newmail", "primary")] + [("emil@example.com", "mailbox")]
    assert arrivals(t, "smtp") == expected, arrivals(t, "smtp")


def test_tag_domain_is_closed(t):
    """A message from sendmail(1) to or from the tag domain is returned. No copy is forged, and no message stays in maildrop."""
    recipients = ("someone@x.archive.copy.split.invalid", "someone@x.no-such.copy.split.invalid", "a%b.primary.filter.split.invalid@here.test")
    before = len([txn for txn in t.mailbox.accepted if txn.sender == ""])
    for number, recipient in enumerate(recipients):
        submit(t, f"tag {number}", recipient, "emil@example.com")
    submit(t, "tag from", "emil@example.com", sender="x@y.archive.copy.split.invalid")
    rig.wait_for(lambda: len(t.front.log_lines(r"milter-reject: END-OF-MESSAGE")) == 4, 20, "four refusals", t.front.log)
    t.settle()
    assert len([txn for txn in t.mailbox.accepted if txn.sender == ""]) == before + 3, t.mailbox.describe()
    for subject in ("tag 0", "tag 1", "tag 2", "tag from"):
        assert arrivals(t, subject) == [], arrivals(t, subject)
    assert len(t.milter.log_lines(r": refused \(550 5.7.1 Internal routing domain\)")) == 4


if __name__ == "__main__":
    rig.main()

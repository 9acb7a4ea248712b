#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Bounces and other reports to senders have the recipients as the senders wrote them, without suffix, in the text and in the
report."""

import re

import rig
from rig.setup_system import HERE, MAIN, System

SENDER = "s@sender.test"
LONG = "bad." + "x" * 55 + "@" + "y" * 50 + ".example.com"
# The body looks like a line of a report.
BODY = b"Subject: both\r\n\r\nFinal-Recipient: rfc822; x@example.com.primary.filter.split.invalid\r\n"
# Bounces to senders elsewhere go to the mailbox, as all mail does in this test.
BASE = MAIN.replace("relayhost = [127.0.0.1]:1", "relay_domains_reject_code = 554")


def setup(r):
    system = System(r)
    for filter_ in system.filters.values():
        filter_.extensions = ("8BITMIME",)  # without DSN, so that Postfix itself reports a success
        passed_on = filter_.hook
        filter_.hook = lambda stage, conn, arg, go=passed_on: (
            "550 5.1.1 no such user" if stage == "rcpt" and "bad" in arg else go(stage, conn, arg)
        )
    return system


def reports(s, count):
    """Wait for this number of reports to the sender, and return their texts."""

    def there():
        return [t for t in s.mailbox.accepted if t.addrs == [SENDER]]

    rig.wait_for(lambda: len(there()) >= count, 40, f"{count} reports", s.log)
    return [t.data.decode() for t in there()]


def run(s, form, main=""):
    s.fresh("/var/spool/postfix-in" if form == "--multi" else "/var/spool/postfix", main=main, base=BASE)
    s.write("/etc/splitmilter-filter", "carl@example.com none\n* primary\n")
    s.ctl(form, "--apply")
    s.start()
    rig.send((HERE, 25), SENDER, ["bad1@example.com", '"bad 2"@example.com', LONG, ("anna@example.com", "NOTIFY=SUCCESS")], BODY)
    failed, success = sorted(reports(s, 2), key=lambda text: "relayed" in text or "expanded" in text)
    for text in (failed, success):
        head, _, returned = text.rpartition("Content-Type: ")
        assert "split.invalid" not in head, head
        assert returned.startswith(("message/rfc822", "text/rfc822-headers")), returned
    for address in ("bad1@example.com", '"bad 2"@example.com', LONG):
        assert f"Final-Recipient: rfc822; {address}\r\n" in failed and f"\r\n<{address}>: " in failed.replace(":\r\n    ", ": "), failed
        assert f"Original-Recipient: rfc822;{address}\r\n" in failed.replace('"bad+202"', '"bad 2"'), failed
    assert "Final-Recipient: rfc822; anna@example.com\r\n" in success, success
    # The message itself is not changed.
    (mail,) = [t for t in s.mailbox.accepted if t.addrs == ["anna@example.com"]]
    assert mail.data.endswith(BODY.split(b"\r\n\r\n", 1)[1]), mail.data
    return failed


def test_single(s):
    """With setup-postfix --single reports to senders have no suffix."""
    run(s, "--single")
    assert "split_bounce" in s.run("postconf", "-M", "splitbounce/unix")
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before


def test_multi(s):
    """With setup-postfix --multi reports to senders have no suffix."""
    run(s, "--multi")


def test_checks_of_the_administrator(s):
    """The administrator's header checks apply to bounces if they did so before setup-postfix, and only then."""
    for more, seen in (("", []), ("\ninternal_mail_filter_classes = bounce", ["Undelivered Mail Returned to Sender"])):
        s.fresh(main="header_checks = regexp:/etc/postfix/own_checks" + more, base=BASE)
        s.write("/etc/postfix/own_checks", "/^Subject: (Undelivered .*)/ PREPEND X-Seen: $1\n")
        s.write("/etc/splitmilter-filter", "* primary\n")
        s.ctl("--single", "--apply")
        s.start()
        rig.send((HERE, 25), SENDER, ["bad1@example.com"], b"Subject: one\r\n\r\n")
        (failed,) = reports(s, 1)
        assert "split.invalid" not in failed, failed
        assert re.findall(r"(?m)^X-Seen: (.*?)\r$", failed) == seen, failed


if __name__ == "__main__":
    rig.main(timeout=150)

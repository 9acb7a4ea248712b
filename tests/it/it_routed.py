#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Recipients with a route: "sam%example.com@front.test" is sam@example.com if front.test is the MTA, and untrusted clients may
send to it. The tables are searched for the address that the MTA makes of it, and no recipient gets the mail twice. With a real
Postfix and a real Sendmail."""

import rig
from rig.split_scenarios import by_subject, message

FILTERS = "sam@example.com secondary\nexample.com primary\n"
COPIES = "sam@example.com archive\n"
ROUTED = (
    "sam%example.com@front.test",
    "example.com!sam@front.test",
    "@front.test:sam%example.com@front.test",
)
POSTFIX = (
    "sam%example.com%front.test",
    "sam@example.com@front.test",
    "sam%example.com@[127.0.0.1]",
    '"sam@example.com"@front.test',
    '"sam@example.com"',
    "@front.test:sam%example.com",
    "sam@example",  # append_dot_mydomain
)


def places(t, subject):
    found = []
    for place, sink in (("mailbox", t.mailbox), *t.taps.items(), *t.backups.items()):
        if place != "relay":
            found += [(place, a) for txn in by_subject(sink.accepted, subject) for a in txn.addrs]
    return sorted(found)


def check(t, recipients, must_be_taken):
    """Send a message to each recipient, and check that each one that the MTA accepts arrives at its filter and its backup."""
    taken = []
    for number, recipient in enumerate(recipients):
        with rig.SmtpClient(t.front.address) as c:
            assert c.mail("s@sender.test").code == 250
            reply = c.rcpt(recipient)
            assert reply.code == 250 or not must_be_taken, (recipient, reply)
            if reply.code == 250:
                assert c.data(message(f"way {number}")).code == 250
                taken.append((number, recipient))
    t.settle()
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    for number, recipient in taken:
        found = places(t, f"way {number}")
        assert found == [("archive", "sam@example.com"), ("secondary", "sam@example.com")], (recipient, found)
    return len(taken)


def through_postfix(r, kind):
    main = {
        "relay_domains": "example.com",
        "mydestination": "front.test",
        "mydomain": "com",
        "append_dot_mydomain": "yes",
        "mynetworks": "192.0.2.1",
    }
    t = rig.Tower(r, "", FILTERS, COPIES, short=True, front_main=main, milter_socket=kind)
    check(t, ROUTED + POSTFIX, True)


def test_postfix_unix(r):
    """With a Postfix and a unix socket each recipient with a route arrives at its filter and its backup."""
    through_postfix(r, "unix")


def test_postfix_inet(r):
    """With a Postfix and an inet socket each recipient with a route arrives at its filter and its backup."""
    through_postfix(r, "inet")


def test_sendmail(r):
    """With a Sendmail each accepted recipient with a route arrives at its filter and its backup."""
    check(rig.SendmailTower(r, "", FILTERS, COPIES, short=True), ROUTED, False)


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Recipients with a way in them: "sam%example.com@front.test" is sam@example.com where front.test is the MTA itself, and strangers may
send there. The tables are asked for what the MTA makes of it, and nobody gets the mail twice. Real Postfix, real Sendmail."""

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
    """Each by itself. What the MTA refuses goes nowhere."""
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
    through_postfix(r, "unix")


def test_postfix_inet(r):
    through_postfix(r, "inet")


def test_sendmail(r):
    check(rig.SendmailTower(r, "", FILTERS, COPIES, short=True), ROUTED, False)


if __name__ == "__main__":
    rig.main()

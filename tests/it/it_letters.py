#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Letters outside ASCII that Postfix folds to others. If Postfix accepts a recipient because it folds by Unicode, the tables of
splitmilter find the recipient, too, and its mail does not pass unfiltered. The Postfix is real, and the clients are untrusted."""

import rig
from rig.split_scenarios import by_subject, message

FILTERS = """\
sam@example.com       secondary
J\u00dcRGEN@example.com  secondary
kiosk.example         primary
office.example        primary
"""
COPIES = "kiosk.example archive\n"
PATTERNS = """\
/^sam@example\\.com$/       secondary
/^j\u00fcrgen@example\\.com$/ secondary
/@(kiosk|office)\\.example$/ primary
"""
# Recipients with a long s, a Kelvin sign, a ligature ffi or a sharp s, and the places where they arrive.
CASES = (
    ("\u017fam@example.com", "secondary"),
    ("a@\u212aiosk.example", "primary"),
    ("a@kio\u017fk.EXAMPLE", "primary"),
    ("a@o\ufb03ce.example", "primary"),
    ("j\u00fcrgen@example.com", "secondary"),
    ("stra\u00dfe@example.com", "mailbox"),
)


def places(t, subject):
    found = []
    for place, sink in (("mailbox", t.mailbox), *t.taps.items(), *t.backups.items()):
        if place != "relay":
            found += [place for txn in by_subject(sink.accepted, subject) for _ in txn.addrs]
    return sorted(found)


def check(t, name, cases=CASES):
    for number, (recipient, _) in enumerate(cases):
        with rig.SmtpClient(t.front.address) as c:
            assert c.mail("s@sender.test", "SMTPUTF8").code == 250
            reply = c.rcpt(recipient)
            assert reply.code == 250, (recipient, reply)
            assert c.data(message(f"{name} {number}")).code == 250
    t.settle()
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    for number, (recipient, place) in enumerate(cases):
        expected = sorted([place, "archive"] if "io" in recipient else [place])
        assert places(t, f"{name} {number}") == expected, (recipient, places(t, f"{name} {number}"))


def tower(r, **options):
    main = {"relay_domains": "example.com kiosk.example office.example", "mynetworks": "192.0.2.1"}
    return rig.Tower(r, "", FILTERS, COPIES, short=True, front_main=main, **options)


def test_keys(r):
    """Tables of keys find recipients that Postfix folds by Unicode."""
    check(tower(r), "keys", (*CASES, ("J\u00dcRGEN@Example.com", "secondary")))


def test_patterns(r):
    """Tables of patterns find recipients that Postfix folds by Unicode."""
    t = tower(r, start=False)
    old = t.configuration
    t.configuration = old.replace(f"filter_maps = {{ \"texthash:{t.tables['filter']}\"", f"filter_maps = {{ \"pcre:{r.write('tables/pcre', PATTERNS)}\"")
    assert t.configuration != old
    t.start()
    check(t, "patterns")


if __name__ == "__main__":
    rig.main()

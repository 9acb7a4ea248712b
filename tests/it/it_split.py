#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The split through real Postfix instances: each recipient of a message has its own filter, address and copies."""

import rig
from rig.split_scenarios import (  # noqa: F401
    CANONICAL,
    COPIES,
    FILTERS,
    by_subject,
    message,
    words,
    test_six_recipients,
    test_log_lines,
    test_tag_domain_is_closed,
    test_address_that_cannot_carry_a_tag,
    test_two_that_become_one,
    test_many_messages_in_one_session,
    test_unusual_addresses,
)


def setup(r):
    """A tower whose front does not refuse the tag domain itself, so that splitmilter has to."""
    return rig.Tower(r, CANONICAL, FILTERS, COPIES, front_main={"smtpd_recipient_restrictions": ""})


def test_orcpt_of_both_types(t):
    """An ORCPT outside ASCII, of type utf-8 (RFC 6533) or rfc822, arrives with one level of encoding at filters and in copies."""
    octets, more = "ORCPT=rfc822;j+C3+BCrgen+2Bx@sender.test", "ORCPT=rfc822;ida@example.com"
    recipients = (
        ("anna@example.com", r"ORCPT=utf-8;j\x{FC}rgen\x{2B}x@sender.test", octets),
        ("carl@example.com", "ORCPT=utf-8;jürgen\\x{2B}x@sender.test", octets),
        ("frida@example.com", octets, octets),
        ("ida@example.com", "", more),
        ("jürgen@example.net", "", "ORCPT=rfc822;j+C3+BCrgen@example.net"),
    )
    t.send([r[:2] for r in recipients], message("orcpt"), mail_params="SMTPUTF8")
    rig.wait_for(lambda: sum(len(txn.rcpts) for txn in by_subject(t.backups["archive"].accepted, "orcpt")) == 5, 20, "five copies")
    t.settle()
    expected = {r[0]: r[2] for r in recipients}
    copies = words(by_subject(t.backups["archive"].accepted, "orcpt"))
    assert copies == {a: ["NOTIFY=NEVER", orcpt] for a, orcpt in expected.items()}, copies
    filtered = words(by_subject(t.taps["secondary"].transactions + t.taps["primary"].transactions, "orcpt"))
    assert filtered == {a: [expected[a]] for a in expected if a != "frida@example.com"}, filtered
    delivered = words(by_subject(t.mailbox.accepted, "orcpt"))
    assert delivered.pop("alias123@application.com") == [octets]
    assert delivered == {a: [expected[a]] for a in expected if a != "frida@example.com"}, delivered


if __name__ == "__main__":
    rig.main()

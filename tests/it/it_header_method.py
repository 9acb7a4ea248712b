#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""filter_method = "header": a message whose recipients have the same filter gets a header for FILTER; recipients with different
filters get suffixes or are deferred."""

import rig

FILTERS = """\
anna@example.com    secondary
ben@example.com     secondary
carl@example.com    primary
emil@example.com    none
gina@example.com    secondary
"""
COPIES = "gina@example.com archive\n"


def tower(r, mixed):
    """A tower whose front has milter_header_checks with FILTER, which leads to the taps of the filter instances."""
    t = rig.Tower(
        r,
        "",
        FILTERS,
        COPIES,
        milter=f'    filter_method = "header"\n    mixed_filters = "{mixed}"\n',
        front_main={"milter_header_checks": "pcre:$config_directory/header_checks"},
        start=False,
    )
    t.front.write("header_checks", "/^X-Split-Filter:\\s+(\\S+)$/ FILTER $1\n")
    t.start()
    return t


def delivered(t, subject, count):
    """Wait for `count` recipients: {address: filters passed}."""

    def there():
        found = {
            x.addr: txn.headers("X-Filtered-By")
            for txn in t.mailbox.accepted
            if subject in txn.headers("Subject")
            for x in txn.rcpts
        }
        return found if len(found) >= count else None

    return rig.wait_for(there, 20, f"{count} recipients of {subject}", t.mailbox.describe)


def test_one_filter_is_a_header(r):
    """With mixed_filters = "tag" recipients with one filter get a header, and others get suffixes."""
    t = tower(r, "tag")
    t.send(["anna@example.com", "ben@example.com"], b"Subject: agree\r\n\r\n")
    assert delivered(t, "agree", 2) == {"anna@example.com": ["secondary"], "ben@example.com": ["secondary"]}
    txn = t.taps["secondary"].transactions[0]
    assert txn.headers("X-Split-Filter") == [f"smtp:{t.taps['secondary'].bracketed}"], txn.data
    assert t.front.log_lines(r"to=<anna@example\.com>, .*status=sent"), "anna was tagged"

    t.send(["anna@example.com", "carl@example.com"], b"Subject: differ\r\n\r\n")
    assert delivered(t, "differ", 2) == {"anna@example.com": ["secondary"], "carl@example.com": ["primary"]}
    assert t.front.log_lines(r"to=<carl@example\.com\.primary\.filter\.split\.invalid>, .*status=sent")

    t.send(["anna@example.com", "emil@example.com"], b"Subject: one without\r\n\r\n")
    assert delivered(t, "one without", 2) == {"anna@example.com": ["secondary"], "emil@example.com": []}

    t.send(["gina@example.com"], b"Subject: with a copy\r\n\r\n")
    assert delivered(t, "with a copy", 1) == {"gina@example.com": ["secondary"]}
    copy = t.backups["archive"].wait(1)[0]
    assert copy.addrs == ["gina@example.com"] and not copy.headers("X-Filtered-By"), copy

    forged = f"X-Split-Filter: smtp:{t.taps['primary'].bracketed}\r\nSubject: forged\r\n\r\n".encode()
    t.send(["emil@example.com"], forged)
    assert delivered(t, "forged", 1) == {"emil@example.com": []}
    t.settle()


def test_mixed_filters_defer(r):
    """With mixed_filters = "defer" a recipient with another filter than the first one gets 451."""
    t = tower(r, "defer")
    with rig.SmtpClient(t.front.address) as c:
        c.mail("s@sender.test")
        assert c.rcpt("anna@example.com").code == 250
        reply = c.rcpt("carl@example.com")
        assert reply.code == 451 and reply.lines[0].startswith("4.5.3"), reply
        assert c.rcpt("ben@example.com").code == 250
        assert c.data(b"Subject: first\r\n\r\n").code == 250
        c.mail("s@sender.test")
        assert c.rcpt("carl@example.com").code == 250
        assert c.data(b"Subject: second\r\n\r\n").code == 250
        c.quit()
    assert delivered(t, "first", 2) == {"anna@example.com": ["secondary"], "ben@example.com": ["secondary"]}
    assert delivered(t, "second", 1) == {"carl@example.com": ["primary"]}
    t.settle()
    assert not t.front.log_lines(r"filter\.split\.invalid"), "a tag was used"


if __name__ == "__main__":
    rig.main()

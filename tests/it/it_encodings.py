#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Addresses and replies in other encodings than UTF-8, with the queue in SQLite and in PostgreSQL, which holds UTF-8 only."""

import rig

LATIN, UTF8 = b"<j\xfcrgen@x.test>", "<jürgen@x.test>".encode()


def say(client, command, path):
    client.write(command + b":" + path + b"\r\n")
    return client.read()


def send(duplicator, sender, recipients):
    """Send a message to those that are accepted. Returns the replies to RCPT."""
    with rig.SmtpClient(duplicator.address) as c:
        assert say(c, b"MAIL FROM", sender).code == 250
        replies = [say(c, b"RCPT TO", path) for path in recipients]
        assert c.data("Subject: x\r\n\r\nx\r\n".encode()).code == 250
    return [r.code for r in replies]


def test_sqlite(r):
    """A recipient in any encoding gets a copy, if the primary takes it."""
    d = rig.Duplicator(r)
    assert send(d, b"<s@x.test>", [LATIN, UTF8]) == [250, 250]
    rig.wait_for(lambda: d.backups["newmail"].accepted, 20, "the copy")
    assert len(d.backups["newmail"].accepted[0].addrs) == 2


def test_postgresql(r):
    """A recipient that the database cannot hold is refused. Senders and replies are made valid."""
    uri = rig.Postgres(r, "db").create_database("splitmilter")
    sink = rig.Sink(r, "newmail", hook=lambda stage, _conn, _arg: "550 5.1.1 no \xfc here" if stage == "rcpt" else None)
    d = rig.Duplicator(r, relay=f'queue = "{uri}" queue_replicated = "no" node = "one"', backups=[sink])
    rig.queue.use(d.spool, uri)
    assert send(d, LATIN, [LATIN, UTF8]) == [553, 250]
    assert d.primary.accepted[0].addrs == ["jürgen@x.test"], d.primary.accepted[0].addrs
    rows = rig.wait_for(lambda: rig.queue.select(d.spool, "SELECT address, reason FROM recipient WHERE state = 'dead'"), 20, "a dead letter")
    assert rows[0][0] == "jürgen@x.test" and "no " in rows[0][1] and " here" in rows[0][1], rows
    assert rig.queue.select(d.spool, "SELECT sender FROM message") == [("j?rgen@x.test",)]


if __name__ == "__main__":
    rig.main()

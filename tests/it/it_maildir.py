#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A Maildir as a destination. Python's mailbox module reads it, and no copy is lost after kill -9 or on a full disk."""

import mailbox
import os
import random
import re
import time

import it_content
import rig
from rig.daemons import accepts

COPY = "archive.copy.split.invalid"
CONTENTS = {**it_content.PLAIN, "lone CR": it_content.LONE_CR, "empty": b"", "CR at the end": it_content.HEAD + b"x\r\r\n"}


class Relay:
    """splitrelay with one destination, a Maildir."""

    def __init__(self, r, path, lines='format = "envelope-headers"'):
        self.rig, self.path = r, path
        self.address = ("127.0.0.1", r.free_port())
        os.mkdir(r.path("spool"), 0o700)
        self.text = (
            f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test"\n'
            f'spool_directory = "{r.path("spool")}" min_free_space = "1k" }}\n'
            f'destination archive {{ relay_to = {{ "maildir:{path}" }} retry_min = "1s" retry_max = "1s" {lines} }}\n'
        )
        self.daemon = rig.start_splitrelay(r, self.text, self.address)

    def send(self, content, recipients=("anna@example.com",), sender="s@sender.test"):
        rig.send(self.address, sender, [f"{x}.{COPY}" for x in recipients], content, mail_params="BODY=8BITMIME")

    def files(self, name="new"):
        directory = os.path.join(self.path, name)
        return sorted(os.listdir(directory)) if os.path.isdir(directory) else []

    def wait_files(self, count, seconds=20):
        rig.wait_for(lambda: len(self.files()) >= count, seconds, f"{count} files in new/", self.daemon.log)
        return self.files()

    def spooled(self):
        return rig.queue.ids(self.rig.path("spool"), "queued")


def read(t, name):
    with open(os.path.join(t.path, "new", name), "rb") as f:
        return f.read()


def setup(r):
    return Relay(r, r.path("mail"))


def test_each_content_is_kept(t):
    """A file has all bytes of the content, with an LF for each CRLF and nowhere else."""
    for name, content in CONTENTS.items():
        before = set(t.files())
        t.send(content, ["anna@example.com", "ben@example.com"])
        t.wait_files(len(before) + 1)
        (new,) = set(t.files()) - before
        data = read(t, new)
        assert len(data) == int(re.fullmatch(r"\d{10}\.[0-9A-Za-z]+\.relay\.test,S=(\d+)", new).group(1)), new
        own = b"Return-Path: <s@sender.test>\nX-Envelope-From: <s@sender.test>\nX-Envelope-To: <anna@example.com>,\n\t<ben@example.com>\n"
        assert data.startswith(own + b"Received: "), f"{name}: {data[:300]!r}"
        _, rest = rig.split_trace(data[len(own) :].replace(b"\n", b"\r\n"))
        assert rest == content, f"{name}: {rest[:200]!r}"
    rig.wait_for(lambda: not t.files("tmp"), 10, "an empty tmp/")
    t.daemon.wait_log(r"to=<anna@example\.com>, dest=archive, relay=maildir:\S+/mail, .*dsn=2\.0\.0, status=sent \(delivered to maildir\)")


def test_python_reads_it(t):
    t.send(b"Subject: for python\r\nFrom: a@x.test\r\n\r\nhello\r\n", sender="")
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    box = mailbox.Maildir(t.path, create=False)
    found = [m for m in box if m["Subject"] == "for python"]
    assert len(found) == 1 and found[0]["Return-Path"] == "<>" and found[0].get_payload() == "hello\n"
    assert found[0].get_subdir() == "new"


def with_own_rig(function):
    def test(t):
        r = rig.Rig(t.rig.session, function.__name__)
        try:
            function(r)
        finally:
            wrong = r.close()
        assert not wrong, wrong

    test.__name__, test.__doc__ = function.__name__, function.__doc__
    return test


@with_own_rig
def test_full_disk(r):
    """On a full disk a copy is deferred, a smaller one is still delivered, and no file of the attempt is left."""
    small = r.mount_tmpfs("small", "2M")
    t = Relay(r, os.path.join(small, "mail"))
    filler = os.path.join(small, "filler")
    with open(filler, "wb") as f:
        f.write(b"\0" * 1000000)
    t.send(b"Subject: large\r\n\r\n" + (b"x" * 98 + b"\r\n") * 15000)
    t.daemon.wait_log(r"dest=archive, relay=maildir:\S+, .*dsn=4\.3\.1, status=deferred \(maildir .*: write: No space left on device\)")
    t.send(b"Subject: small\r\n\r\nx\r\n")
    assert b"Subject: small\n" in read(t, t.wait_files(1)[0])
    os.unlink(filler)
    t.wait_files(2)
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    assert not t.files("tmp") and len(t.files()) == 2
    assert not t.daemon.log_lines("suspended")


@with_own_rig
def test_missing_directory(r):
    """If the Maildir cannot be made, the destination is suspended. It works again when the directory can be made."""
    t = Relay(r, r.path("missing", "mail"))
    for i in range(3):
        t.send(b"Subject: %d\r\n\r\nx\r\n" % i)
    t.daemon.wait_log(r"dest=archive: suspended for .*: maildir \S+: open: No such file or directory")
    assert rig.run_splitctl(r, t.daemon.configuration_path, "check", check=False)[1].count("cannot be written to") == 1
    os.mkdir(r.path("missing"))
    t.wait_files(3)
    assert os.stat(t.path).st_mode & 0o7777 == 0o700
    t.daemon.wait_log("dest=archive: works again")


@with_own_rig
def test_kill(r):
    """With kill -9 at random moments each message arrives complete and once. Only tmp/ may have leftovers."""
    t = Relay(r, r.path("mail"), 'format = "raw" concurrency = 4')
    rng = random.Random(1)
    sent = 0
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for _ in range(rng.randrange(5, 25)):
            t.send(b"Subject: %d\r\n\r\n" % sent + b"y" * rng.randrange(0, 30000) + b"\r\nend\r\n")
            sent += 1
        t.daemon.kill()
        t.daemon.start(lambda: accepts(t.address))
    rig.wait_for(lambda: not t.spooled(), 30, "an empty spool", t.daemon.log)
    seen = {}
    for name in t.files():
        data = read(t, name)
        assert len(data) == int(name.split("S=")[1]) and data.endswith(b"\nend\n"), name
        number = int(re.search(rb"\nSubject: (\d+)\n", data).group(1))
        seen[number] = seen.get(number, 0) + 1
    assert sorted(seen) == list(range(sent)), f"{len(seen)} of {sent}"
    twice = [n for n, count in seen.items() if count > 1]
    assert not twice, f"delivered twice although nobody had read it: {twice}"
    print(f"{sent} messages, each once; {len(t.files('tmp'))} leftovers in tmp/")


if __name__ == "__main__":
    rig.main()

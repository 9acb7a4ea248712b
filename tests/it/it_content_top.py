#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The header fields above a content. A content that begins with a blank must not become a part of them, and no byte is changed."""

import email
import email.policy
import os

import rig

COPY = "copy.split.invalid"
CONTENTS = {
    "text": b" just text\r\n",
    "tab": b"\tjust text; host=other.test\r\n",
    "a blank line": b" \r\nSubject: x\r\n\r\ny\r\n",
    "as a parameter": b" ; destination=other; id=1; host=other.test\r\nSubject: x\r\n\r\ny\r\n",
    "fields below": b" Sun, 1 Jan 2017 00:00:00 +0000\r\nFrom: a@x.test\r\nSubject: x\r\n\r\ny\r\n",
    "one blank": b" \r\n",
    "dots": b" .\r\n.\r\n..\r\n",
}
FIELDS = {"archive": ["Received", "X-Split-Copy"], "listed": ["X-Envelope-From", "X-Envelope-To", "Received", "X-Split-Copy"]}
FIELDS["files"] = ["Return-Path", *FIELDS["listed"]]


class Relay:
    """splitrelay with a destination of each kind, and a listener."""

    def __init__(self, r):
        self.sinks = {name: rig.Sink(r, name) for name in ("archive", "listed", "journal", "primary")}
        self.address = ("127.0.0.1", r.free_port())
        self.listener = ("127.0.0.1", r.free_port())
        self.maildir = r.path("mail")
        os.mkdir(r.path("spool"), 0o700)
        to = {name: sink.bracketed for name, sink in self.sinks.items()}
        self.daemon = rig.start_splitrelay(
            r,
            f'log {{ target = "stderr" }}\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{r.path("spool")}" }}\n'
            f'destination archive {{ relay_to = {{ "{to["archive"]}" }} concurrency = 1 }}\n'
            f'destination listed {{ relay_to = {{ "{to["listed"]}" }} format = "envelope-headers" }}\n'
            f'destination journal {{ relay_to = {{ "{to["journal"]}" }} format = "journal" }}\n'
            f'destination files {{ relay_to = {{ "maildir:{self.maildir}" }} format = "envelope-headers" }}\n'
            f'listener migration {{ listen = {{ "inet:{self.listener[1]}@127.0.0.1" }} primary = {{ "{to["primary"]}" }} }}\n',
            self.address,
        )

    def copy_to(self, name, content):
        """Send the content, and return it as this destination gets it."""
        directory = os.path.join(self.maildir, "new")
        old = set(os.listdir(directory)) if os.path.isdir(directory) else set()
        before = len(self.sinks[name].accepted) if name in self.sinks else 0
        rig.send(self.address, "s@x.test", [f"a@x.test.{name}.{COPY}"], content)
        if name in self.sinks:
            return self.sinks[name].wait(before + 1)[before].data
        rig.wait_for(lambda: os.path.isdir(directory) and len(os.listdir(directory)) > len(old), 20, "a file in new/")
        (new,) = set(os.listdir(directory)) - old
        with open(os.path.join(directory, new), "rb") as f:
            return f.read().replace(b"\n", b"\r\n")


def setup(r):
    return Relay(r)


def check(name, data, content, fields):
    """Check that the header has exactly these fields, without text from the content, and that the content is the body."""
    assert data.endswith(b"\r\n\r\n" + content), f"{name}: {data!r}"
    message = email.message_from_bytes(data, policy=email.policy.compat32)
    assert message.keys() == fields, f"{name}: {message.keys()}"
    assert not message.defects, f"{name}: {message.defects}"
    for value in message.values():
        assert "just" not in value and "other.test" not in value and "2017" not in value, f"{name}: {value!r}"


def test_copies(t):
    """A copy has its header fields, and below them the content as its body."""
    for destination, fields in FIELDS.items():
        for name, content in CONTENTS.items():
            data = t.copy_to(destination, content)
            check(f"{destination}: {name}", data, content, fields)
            copy = email.message_from_bytes(data)["X-Split-Copy"]
            assert copy.startswith(f"destination={destination}; id=") and copy.endswith("; host=relay.test"), copy


def test_journal(t):
    """A journal report has its header fields, and the content unchanged in its second part."""
    for name, content in CONTENTS.items():
        data = t.copy_to("journal", content)
        report = email.message_from_bytes(data)
        assert report["X-Split-Copy"].endswith("; host=relay.test") and report["Received"].endswith("00"), name
        assert b"\r\n\r\n" + content + b"\r\n--" in data, f"{name}: {data!r}"


def test_loop_is_seen(t):
    """A copy that comes back to splitrelay is refused as a loop, also if its content begins with a blank."""
    for destination in FIELDS:
        for name, content in CONTENTS.items():
            back = b"Received: from a by b; Sun, 1 Jan 2017 00:00:00 +0000\r\n" + t.copy_to(destination, content)
            with rig.SmtpClient(t.address) as c:
                c.mail("s@x.test")
                c.rcpt(f"a@x.test.{destination}.{COPY}")
                reply = c.data(back)
            assert str(reply).startswith("554 5.4.6 "), f"{destination}: {name}: {reply}"


def test_listener(t):
    """The primary gets the content below one Received field."""
    for name, content in CONTENTS.items():
        before = len(t.sinks["primary"].accepted)
        rig.send(t.listener, "s@x.test", ["a@x.test"], content)
        check(name, t.sinks["primary"].wait(before + 1)[before].data, content, ["Received"])


def test_others_are_as_before(t):
    """No empty line is inserted above contents that do not need one."""
    for content in (b"Subject: x\r\n\r\ny\r\n", b"\r\n y\r\n", b"text\r\n y\r\n", b"\r y\r\n", b""):
        data = t.copy_to("archive", content)
        trace, rest = rig.split_trace(data)
        assert rest == content and b"\r\n\r\n" not in trace, data
        before = len(t.sinks["primary"].accepted)
        rig.send(t.listener, "s@x.test", ["a@x.test"], content)
        data = t.sinks["primary"].wait(before + 1)[before].data
        assert data.endswith(b"+0000\r\n" + content) or data.endswith(b"00\r\n" + content), data


def test_server_that_offers_nothing(t):
    """If the server offers neither 8BITMIME nor SMTPUTF8, a copy that needs them is sent unchanged, and the log says so once for
    each connection."""
    sink = t.sinks["archive"]
    sink.extensions, offered = (), sink.extensions
    sink.cut()
    before = len(sink.accepted)
    for words in ("", "BODY=8BITMIME SMTPUTF8", "BODY=8BITMIME"):
        rig.send(t.address, "s@x.test", [f"a@x.test.archive.{COPY}"], b"Subject: \xc3\xa4\r\n\r\n\xc3\xa4\r\n", mail_params=words)
        txn = sink.wait(before + 1)[before]
        before += 1
        assert txn.mail_params == [] and rig.split_trace(txn.data)[1] == b"Subject: \xc3\xa4\r\n\r\n\xc3\xa4\r\n"
        assert len(t.daemon.log_lines("dest=archive: host .* does not offer")) == (words != ""), words
    t.daemon.wait_log("does not offer 8BITMIME: copies that need it are sent to it as they are")
    sink.extensions = offered


if __name__ == "__main__":
    rig.main()

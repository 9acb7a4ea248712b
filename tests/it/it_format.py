#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The option format: independent parsers read the copies for archives, and find the original message in them, byte for byte."""

import email
import os
import shutil

import it_content
import rig
from rig.journal import perl_parts, python_parts

COPY = "copy.split.invalid"
CONTENTS = {**it_content.PLAIN, "lone CR": it_content.LONE_CR, "empty": b"", "CR at the end": it_content.HEAD + b"x\r\r\n"}


class Relay:
    """splitrelay with a sink for each format."""

    def __init__(self, r):
        self.rig = r
        self.address = ("127.0.0.1", r.free_port())
        self.sinks = {name: rig.Sink(r, name) for name in ("envelope", "journal", "other")}
        os.mkdir(r.path("spool"), 0o700)
        lines = {
            "envelope": 'format = "envelope-headers"',
            "journal": 'format = "journal" recipient = "journal@archive.test" sender = "null" journal_from = "relay@archive.test"',
            "other": 'format = "journal"',
        }
        self.daemon = rig.start_splitrelay(
            r,
            f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test"\n'
            f'spool_directory = "{r.path("spool")}" }}\n'
            + "".join(
                f'destination {n} {{ relay_to = {{ "{s.bracketed}" }} retry_min = "1s" retry_max = "1s" {lines[n]} }}\n'
                for n, s in self.sinks.items()
            ),
            self.address,
        )

    def copy(self, name, content, recipients=("anna@example.com",), sender="s@sender.test", params="BODY=8BITMIME"):
        """Send a message. Returns the transaction that the sink of this name got for it."""
        before = len(self.sinks[name].accepted)
        rcpts = [f"{x}.{name}.{COPY}" if isinstance(x, str) else (f"{x[0]}.{name}.{COPY}", x[1]) for x in recipients]
        rig.send(self.address, sender, rcpts, content, mail_params=params)
        return self.sinks[name].wait(before + 1)[before]


def setup(r):
    return Relay(r)


def assert_same(name, found, content):
    if found != content:
        at = next((i for i, (a, b) in enumerate(zip(found, content)) if a != b), min(len(found), len(content)))
        raise AssertionError(f"{name}: differs at {at}: {found[at:at + 60]!r}, should be {content[at:at + 60]!r}")


def label_of(content):
    lines = content.split(b"\r\n")
    if b"\0" in content or any(b"\r" in ln or b"\n" in ln or len(ln) > 998 for ln in lines):
        return "binary"
    return "8bit" if any(c > 127 for c in content) else "7bit"


def test_python_reads_journals(t):
    """Python's email package finds the original message and the report in a journal."""
    for name, content in CONTENTS.items():
        txn = t.copy("journal", content)
        whole, report, second, found = python_parts(txn.data)
        assert_same(name, found, content)
        assert second["Content-Transfer-Encoding"] == label_of(content), f"{name}: {second['Content-Transfer-Encoding']}"
        assert whole["X-MS-Journal-Report"] == "" and whole["From"] == "relay@archive.test", whole.items()
        assert whole["To"] == "journal@archive.test" == txn.addrs[0] and txn.sender == ""
        assert whole["X-Envelope-From"] == "<s@sender.test>" and whole["X-Split-Copy"].startswith("destination=journal; id=")
        assert report.splitlines()[-1].split(": ")[1] == "anna@example.com", report
        assert f"SIZE={len(txn.data)}" in txn.mail_params, (txn.mail_params, len(txn.data))
        needs_8bit = any(c > 127 for c in content)
        assert ("BODY=8BITMIME" in txn.mail_params) == needs_8bit, f"{name}: {txn.mail_params}"


def test_perl_reads_journals(t):
    """Perl's MIME::Parser finds the original message and the report in a journal."""
    directory = t.rig.path("perl")
    os.mkdir(directory)
    files = {}
    for number, (name, content) in enumerate(CONTENTS.items()):
        files[name] = os.path.join(directory, str(number))
        with open(files[name], "wb") as f:
            f.write(t.copy("journal", content).data)
    for name, parts in zip(files, perl_parts(list(files.values())), strict=True):
        found, content = parts["message"], CONTENTS[name]
        if label_of(content) != "binary":  # without lone CR and LF; MIME::Parser changes some CRLF to LF
            found, content = found.replace(b"\r\n", b"\n"), content.replace(b"\r\n", b"\n")
        assert_same(name, found, content)
        assert parts["text"].startswith("Sender: "), name
    shutil.rmtree(directory)


def test_journal_classes(t):
    """A journal report lists each recipient by its class in the header: To, Cc, or Recipient."""
    head = (
        b"From: The Chief <chief@example.com>\r\nSender: anna@example.com\r\nTo: \"B, en\" <Ben@EXAMPLE.com>, x@y.test\r\n"
        b"Cc: old+1@example.com,\r\n\tlist: carl@example.com;\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= und\r\n mehr\r\n"
        b"Message-ID: <1@example.com>\r\n\r\nDora is blind\r\n"
    )
    rcpts = ["ben@example.com", ("new@example.com", "ORCPT=rfc822;old+2B1@example.com"), "carl@example.com", "dora@example.com"]
    txn = t.copy("journal", head, rcpts)
    _, report, _, found = python_parts(txn.data)
    assert found == head
    assert report.splitlines() == [
        "Sender: anna@example.com",
        "On-Behalf-Of: chief@example.com",
        "Subject: Grüße und mehr",
        "Message-Id: <1@example.com>",
        "To: ben@example.com",
        "Cc: new@example.com, Forwarded: old+1@example.com",
        "Cc: carl@example.com",
        "Recipient: dora@example.com",
    ], report


def test_journal_only_of_who_was_accepted(t):
    """A journal report lists only the recipients that the server accepted."""
    sink = t.sinks["other"]
    sink.hook = lambda stage, _c, arg: "550 5.1.1 no" if stage == "rcpt" and "ben@" in arg else None
    txn = t.copy("other", it_content.HEAD + b"x\r\n", ["anna@example.com", "ben@example.com", "carl@example.com"])
    sink.hook = None
    assert txn.addrs == ["anna@example.com", "carl@example.com"]
    whole, report, _, _ = python_parts(txn.data)
    assert [ln for ln in report.splitlines() if "@example.com" in ln] == ["To: anna@example.com", "Recipient: carl@example.com"], report
    assert whole["From"] == "postmaster@relay.test" and whole["To"] == "undisclosed-recipients:;", whole.items()
    size = next(int(w[5:]) for w in txn.mail_params if w.startswith("SIZE="))
    assert size >= len(txn.data)


HOSTILE = (
    b"Subject: a\rTo: evil@x.test\r\n\r\n",
    b"Subject: " + b"\xff\x01\xe2\x80\xa8 \x1b[2J" * 10 + b"\r\n\r\n",
    b"Subject: " + "世界".encode() * 500 + b"\r\n\r\n",
    b"Subject: =?utf-8?B?DQpUbzogZXZpbEB4?=\r\n\r\n",
    b"Subject: x\r\n\tTo: evil@x.test\r\n --=_0\r\n\r\n",
    b"From: \"a\r\n\tTo: evil\"@x.test\r\nSubject: x\r\n\r\n",
    b"From: <\x0bTo:evil@x.test>\r\nMessage-ID: <\x0c\x00>\r\n\r\n",
    b"To: " + b"(" * 3000 + b")" * 2999 + b" anna@example.com\r\n\r\n",
)


def test_nothing_of_a_report_can_be_forged(t):
    for content in HOSTILE:
        data = t.copy("journal", content).data
        whole, report, _, found = python_parts(data)
        assert found == content
        lines = report.split("\r\n") if "\r\n" in report else report.split("\n")
        names = [ln.split(":")[0] for ln in lines[:-1]]
        assert names == ["Sender", "Subject", "Message-Id", "Recipient"] and lines[-1] == "", (content[:60], report)
        head = data.split(b"\r\n\r\n")[0]
        assert all(0x20 <= c < 0x7F or c in b"\r\n\t" for c in head), head
        assert b"\r" not in head.replace(b"\r\n", b"") and max(map(len, head.split(b"\r\n"))) <= 998
        assert set(whole.keys()) == {
            "X-Envelope-From", "Received", "X-Split-Copy", "From", "To", "Subject", "Date", "Message-ID", "MIME-Version",
            "X-MS-Journal-Report", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
        }, whole.keys()


def test_envelope_headers(t):
    """envelope-headers puts the sender and the recipients above the unchanged message."""
    for name, content in CONTENTS.items():
        txn = t.copy("envelope", content, ["anna@example.com", '"b, n"@example.com'])
        own = b'X-Envelope-From: <s@sender.test>\r\nX-Envelope-To: <anna@example.com>,\r\n\t<"b, n"@example.com>\r\n'
        assert txn.data.startswith(own), f"{name}: {txn.data[:200]!r}"
        _, rest = rig.split_trace(txn.data[len(own) :])
        assert_same(name, rest, content)
        parsed = email.message_from_bytes(txn.data)
        assert parsed.get_all("X-Envelope-From") == ["<s@sender.test>"], name
        found = email.utils.getaddresses(parsed.get_all("X-Envelope-To"))
        assert [a for _, a in found] == ["anna@example.com", '"b, n"@example.com'], f"{name}: {found}"
        assert f"SIZE={len(txn.data)}" in txn.mail_params


def test_envelope_headers_of_the_sender_stay_below(t):
    content = b"X-Envelope-From: <forged@x.test>\r\nX-Envelope-To: <forged@x.test>\r\nSubject: s\r\n\r\nx\r\n"
    txn = t.copy("envelope", content, sender="")
    assert txn.headers("X-Envelope-From") == ["<>", "<forged@x.test>"]
    assert txn.headers("X-Envelope-To") == ["<anna@example.com>", "<forged@x.test>"]
    assert txn.data.endswith(b"host=relay.test\r\n" + content)


def test_journals_pass_postfix(t):
    """Postfix accepts a journal report, and passes it on without a change."""
    r = rig.Rig(t.rig.session, "postfix")
    try:
        mailbox = rig.Sink(r, "mailbox")
        postfix = rig.Postfix(r, "archive", {"relay_domains": "archive.test", "relayhost": mailbox.bracketed, "strict_mime_encoding_domain": "yes"})
        postfix.start()
        for count, (name, content) in enumerate((n, c) for n, c in CONTENTS.items() if label_of(c) != "binary"):
            data = t.copy("journal", content).data
            rig.send(postfix.address, "", ["journal@archive.test"], data, mail_params="BODY=8BITMIME")
            passed = mailbox.wait(count + 1)[count].data
            assert passed.endswith(data), f"{name}: {passed[:2000]!r}"
            assert_same(name, python_parts(passed)[3], content)
    finally:
        wrong = r.close()
    assert not wrong, wrong


def test_loops_end_in_every_format(t):
    """A copy that comes back to splitrelay is refused as a loop in every format."""
    for name in t.sinks:
        data = t.copy(name, it_content.HEAD + b"loop\r\n").data
        with rig.SmtpClient(t.address) as c:
            assert c.mail("s@sender.test").code == 250 and c.rcpt(f"anna@example.com.{name}.{COPY}").code == 250
            reply = c.data(data)
            assert reply.code == 554 and "5.4.6" in reply.lines[0], f"{name}: {reply}"


def test_size_limit_is_that_of_the_whole(t):
    """A copy is a dead letter without an attempt if the whole report exceeds the server's SIZE, although the message alone would
    fit (RFC 1870 6.1)."""
    sink = t.sinks["other"]
    content = it_content.HEAD + b"x" * 500 + b"\r\n"
    sink.extensions = ("SIZE 1000",)
    sink.cut()
    before = len(sink.transactions)
    rig.send(t.address, "s@sender.test", [f"anna@example.com.other.{COPY}"], content)
    t.daemon.wait_log(r"dest=other, .*dsn=5\.3\.4, status=dead \(.*exceeds size limit 1000")
    assert len(sink.transactions) == before


if __name__ == "__main__":
    rig.main()

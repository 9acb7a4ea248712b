#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A copy equals the content that the MTA queued, byte for byte, below the two trace headers of splitrelay."""

import rig

HEAD = b"From: a@sender.test\r\nTo: anna@example.com\r\nSubject: content\r\n\r\n"

LONE_CR = HEAD + b"a\rb\r\n\rc\r\nd\r\re\r\n"

# Contents that Postfix does not change. The copy must end with exactly these bytes.
PLAIN = {
    "text": HEAD + b"hello\r\n",
    "8-bit": HEAD + bytes(range(128, 256)) + b"\r\n",
    "8-bit in the header": b"Subject: \xe4\xf6\xfc \xff\r\n\r\nx\r\n",
    "UTF-8": HEAD + "Grüße, 世界\r\n".encode(),
    "NUL": HEAD + b"a\0b\0\0\r\n\0\r\n",
    "control characters": HEAD + bytes(c for c in range(1, 32) if c not in (10, 13)) + b"\x7f\r\n",
    "line of 998": HEAD + b"x" * 998 + b"\r\n",
    "line of 999": HEAD + b"x" * 999 + b"\r\n",
    "line of 100,000": HEAD + b"y" * 100000 + b"\r\nnext\r\n",
    "line of 100,000 with dots": HEAD + b"." * 100000 + b"\r\n.\r\n",
    "dots": HEAD + b".\r\n..\r\n...\r\n. \r\n.x\r\nx.\r\n\r\n.\r\n",
    "first line a dot": b".\r\n",
    "ends in a dot": HEAD + b"x\r\n.\r\n",
    "no header": b"\r\nbody without header\r\n",
    "no header, no empty line": b"just text, no colon at its start\r\n",
    "header only": b"Subject: only\r\n",
    "header and empty line": b"Subject: only\r\n\r\n",
    "empty lines": HEAD + b"\r\n" * 50,
    "trailing blanks": HEAD + b"a \t \r\n \r\n\t\r\n",
    "long header": b"Subject: " + b"z" * 5000 + b"\r\n\r\nx\r\n",
    "folded header": b"Subject: a\r\n b\r\n\tc\r\n\r\nx\r\n",
    "many header fields": b"".join(b"X-%d: v\r\n" % i for i in range(500)) + b"\r\nx\r\n",
    "looks like SMTP": HEAD + b"QUIT\r\nRSET\r\nMAIL FROM:<x@y>\r\nDATA\r\n",
    "From line in the body": HEAD + b"From here\r\n>From there\r\n",
    "own trace of another host": b"X-Split-Copy: destination=archive; id=1; host=other.test\r\n" + HEAD + b"x\r\n",
}

# Contents that Postfix changes (mostly line ends). The copy must be what Postfix sends.
CHANGED = {
    "empty": b"",
    "bare LF": HEAD + b"a\nb\n\nc\r\n",
    "LF dot LF": HEAD + b"a\n.\nb\r\n",
    "lone CR": LONE_CR,
    "CR before CRLF": HEAD + b"a\r\r\nb\r\r\r\n",
    "first line begins with a blank": b" just text\r\nSubject: x\r\n\r\ny\r\n",
    "mbox line": b"From someone Fri Nov 20 16:00:00 2026\r\n" + HEAD + b"x\r\n",
}


def setup(r):
    # Postfix folds no header when it sends. With this limit it does not cut long ones, either.
    return rig.Tower(r, "", "* none\n", "anna@example.com archive\n", front_main={"header_size_limit": "1000000"})


def transfer(t, content):
    """Send the content to anna. Returns (the content that Postfix sent to splitrelay, the content that the backup got)."""
    sink, tap = t.backups["archive"], t.taps["relay"]
    before, tapped = len(sink.accepted), len(tap.transactions)
    t.send(["anna@example.com"], content, mail_params="BODY=8BITMIME")
    copy = sink.wait(before + 1)[before]
    rig.wait_for(lambda: len(tap.transactions) > tapped, 10, "the transaction at the tap")
    return tap.transactions[tapped].data, copy.data


def check(t, name, content, whole):
    queued, copy = transfer(t, content)
    trace, rest = rig.split_trace(copy)
    assert trace.startswith(b"Received: ") and b"\r\nX-Split-Copy: destination=archive; id=" in trace, f"{name}: {trace}"
    if rest != queued:
        at = next((i for i, (a, b) in enumerate(zip(rest, queued)) if a != b), min(len(rest), len(queued)))
        raise AssertionError(f"{name}: differs at {at}: copy {rest[at:at + 60]!r}, queued {queued[at:at + 60]!r}")
    assert not whole or rest.endswith(content), f"{name}: Postfix changed it: {rest[-200:]!r}"


def test_what_postfix_keeps(t):
    """A copy ends with exactly the content that was sent, if Postfix does not change it."""
    for name, content in PLAIN.items():
        check(t, name, content, True)


def test_what_postfix_changes(t):
    """A copy has the content that Postfix sends, if Postfix changes it."""
    for name, content in CHANGED.items():
        check(t, name, content, False)
    # Postfix puts an empty line above such a content, as trace_end() does.
    queued, _ = transfer(t, CHANGED["first line begins with a blank"])
    assert queued.endswith(b"\r\n\r\n just text\r\nSubject: x\r\n\r\ny\r\n"), queued


def test_without_postfix(t):
    """Contents that are sent directly to splitrelay are not changed, either. One has a lone CR, which Postfix never sends."""
    sink = t.backups["archive"]
    for name, content in {**PLAIN, "lone CR": LONE_CR, "empty": b""}.items():
        before = len(sink.accepted)
        rig.send(t.relay_address, "s@sender.test", ["anna@example.com.archive.copy.split.invalid"], content)
        _, rest = rig.split_trace(sink.wait(before + 1)[before].data)
        assert rest == content, f"{name}: {rest[:200]!r}"


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A message that the front accepts is copied for any sender, HELO name and ESMTP words, and the log has its queue id."""

import rig

SENDERS = [
    "a" * 1100 + "@sender.test",
    "a" * 1900 + "@sender.test",
    '"a\x01b"@sender.test',
    "a\x7fb@sender.test",
    '"a\\\\\\"b c"@sender.test',
    "a..b.@sender.test",
    "a@sender..test",
    "a@[foo]",
    "no-at",
    "@a,@b:c@sender.test",
]
UTF8_SENDERS = ["a\u0085b@sender.test", "a@\u00e9.test"]
HELOS = ["+" * 2000, "\u00e9" * 1000, "x" * 300, "=" * 2000, "a\x01b", "a b=c+d"]
MAIL_WORDS = ["ENVID=" + "e" * 300, "ENVID=a+0Ab", "RET=HDRS"]
RCPT_WORDS = ["ORCPT=rfc822;" + "a" * 1500, "ORCPT=rfc822;+0D+0A", "ORCPT=rfc822;+20", "ORCPT=rfc822;a+00b", "ORCPT=x;y"]


def setup(r):
    return rig.Tower(r, copies="anna@example.com archive\n")


def offer(t, subject, sender="s@sender.test", helo="client.test", mail_words="", rcpt_words=""):
    """Send a message. True: the front accepted it."""
    with rig.SmtpClient(t.front.address, helo=helo) as c:
        replies = [c.mail(sender, mail_words), c.rcpt("anna@example.com", rcpt_words)]
        if any(x.code != 250 for x in replies):
            return False
        return c.data(f"Subject: {subject}\r\n\r\nx\r\n".encode()).code == 250


def copied(t, prefix, cases):
    """Offer all cases, and check that each accepted message arrives at the backup."""
    taken = {f"{prefix}{i}" for i, case in enumerate(cases) if offer(t, f"{prefix}{i}", **case)}
    assert len(taken) > len(cases) / 2, taken

    def missing():
        return taken - {s for x in t.backups["archive"].accepted for s in x.headers("Subject")}

    rig.wait_for(lambda: not missing(), 30, f"copies of {prefix}", lambda: f"{missing()}\n{t.relay.log()[-3000:]}")


def test_senders(t):
    """A message with any sender that the front accepts is copied."""
    copied(t, "sender", [{"sender": s} for s in SENDERS] + [{"sender": s, "mail_words": "SMTPUTF8"} for s in UTF8_SENDERS])


def test_helos(t):
    """With any HELO name the log has the queue id, which is in the same XFORWARD command."""
    before = len(t.relay.log_lines(r"\(queued\)"))
    copied(t, "helo", [{"helo": h} for h in HELOS])
    lines = t.relay.log_lines(r"\(queued\)")[before:]
    assert len(lines) == len(HELOS) and not any("queue_id=-" in ln for ln in lines), lines


def test_words(t):
    """A message with any ESMTP words that the front accepts is copied."""
    copied(t, "words", [{"mail_words": w} for w in MAIL_WORDS] + [{"rcpt_words": w} for w in RCPT_WORDS])


if __name__ == "__main__":
    rig.main()

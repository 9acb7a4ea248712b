#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A primary that misbehaves at random, with many clients at once over shared connections: each reply to a client is true.

SPLIT_SEED repeats a run, SPLIT_RANDOM_MESSAGES makes it longer."""

import os
import random
import re
import threading

import rig

SEED = int(os.environ.get("SPLIT_SEED") or random.randrange(1 << 30))
MESSAGES = int(os.environ.get("SPLIT_RANDOM_MESSAGES") or 400)
CLIENTS = 6


class Message:
    """One attempt of a client, and the replies to it."""

    def __init__(self, number, count):
        self.sender = f"s{number}@x.test"
        self.offered = [f"u{number}-{i}@x.test" for i in range(count)]
        self.subject = f"m{number}"
        self.body = f"Subject: {self.subject}\r\n\r\n.{number}\r\n".encode() * (1 if number % 5 else 2000)
        self.taken = []  # recipients that were accepted at RCPT
        self.good = []  # recipients with a positive reply to the content
        self.text = ""  # the replies to the content
        self.heard = ""  # the reply to the content, or the best of several: "2", "4", "5"; "?" if none arrived

    def send(self, c, dice, lmtp):
        """Send the message, as far as the replies allow."""
        self.heard = "4"
        assert c.cmd("RSET").code == 250
        if dice.random() < 0.5:
            commands = [f"MAIL FROM:<{self.sender}>"] + [f"RCPT TO:<{a}>" for a in self.offered]
            c.write("".join(f"{x}\r\n" for x in commands))
            replies = [c.read() for _ in commands]
        else:
            replies = [c.mail(self.sender)]
            if replies[0].code == 250:
                replies += [c.rcpt(a) for a in self.offered]
        self.taken = [a for a, reply in zip(self.offered, replies[1:]) if reply.code == 250]
        if replies[0].code != 250 or not self.taken:
            return
        if dice.random() < 0.1:
            return
        if c.cmd("DATA").code != 354:
            return
        self.heard = "?"
        if dice.random() < 0.05:
            c.write(self.body[: len(self.body) // 2])
            c.close()
            return
        c.write(rig.quote_message(self.body))
        replies = [c.read() for _ in (self.taken if lmtp else self.taken[:1])]
        self.text = str(replies)
        codes = [str(reply.code)[0] for reply in replies]
        self.good = [a for a, code in zip(self.taken, codes if lmtp else codes * len(self.taken)) if code == "2"]
        self.heard = min(codes)


def client(d, numbers, seed, messages, lmtp):
    """Have sessions of a few messages each, until all are sent."""
    dice = random.Random(seed)
    numbers = list(numbers)
    while numbers:
        try:
            with d.client(lmtp=lmtp) as c:
                for _ in range(dice.randrange(1, 5)):
                    if not numbers:
                        break
                    m = Message(numbers.pop(), dice.randrange(1, 6))
                    messages.append(m)
                    m.send(c, dice, lmtp)
        except (OSError, ValueError, rig.SmtpError):
            pass  # the session has ended: by this client, or with 421


def is_unknown(log, m):
    """Return true if the primary's reply to the content did not arrive. The primary may have the message then, and the client tries
    again."""
    pattern = rf"reject: END-OF-MESSAGE.*(timed out|lost connection) .*from=<{re.escape(m.sender)}>"
    return re.search(pattern, log) is not None


def check(messages, primary, backup, lmtp, log):
    """The contradictions between replies and arrivals, as texts."""
    faults = []
    at_primary, at_backup = {}, {}
    for found, sink in ((at_primary, primary), (at_backup, backup)):
        for t in sink.accepted:
            subjects = t.headers("Subject")
            found.setdefault(subjects[0], []).append(t)
    for m in messages:
        taken, copies = at_primary.get(m.subject, []), at_backup.get(m.subject, [])
        for t in taken:
            if t.sender != m.sender or sorted(t.addrs) != sorted(m.taken) or not t.data.endswith(m.body):
                faults.append(f"{m.subject}: the primary has <{t.sender}> {t.addrs} {len(t.data)}, sent was <{m.sender}> {m.taken} {len(m.body)}")
        copied = sorted(a for t in copies for a in t.addrs)
        if m.heard == "2" and (len(taken) != 1 or copied != sorted(m.good)):
            faults.append(f"{m.subject}: 250, but {len(taken)} at the primary, copies {copied} of {m.good}")
        # With LMTP a malformed reply for one recipient makes those for the others unknown as well.
        if m.heard in "45" and (copies or (taken and not lmtp and not is_unknown(log, m))):
            faults.append(f"{m.subject}: {m.heard}xx, but {len(taken)} at the primary, {len(copies)} copies: {m.text}")
        if copies and not taken:
            faults.append(f"{m.subject}: a copy of what the primary did not take")
        if any(rig.split_trace(t.data)[1] != m.body for t in copies):
            faults.append(f"{m.subject}: the copy has another content")
        if len(faults) > 0 and faults[-1].startswith(f"{m.subject}:"):
            faults += [line for line in log.split("\n") if f"<{m.sender}>" in line or any(f"<{a}>" in line for a in m.offered)]
    known = {m.subject for m in messages}
    faults += [f"{s}: nobody sent that" for s in set(at_primary) | set(at_backup) if s not in known]
    return faults


def run(r, listener, lmtp):
    print(f"SPLIT_SEED={SEED}")
    primary = rig.Sink(r, "primary", hook=rig.Chaos(SEED))
    options = 'command_timeout = "3s" connect_timeout = "3s" max_messages_per_connection = 7'
    d = rig.Duplicator(r, listener=f"{options} {listener}", primary=primary)
    backup = d.backups["newmail"]
    messages = []
    threads = [
        threading.Thread(target=client, args=(d, range(i, MESSAGES, CLIENTS), SEED + i, messages, lmtp)) for i in range(CLIENTS)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    primary.hook = None
    rig.wait_for(lambda: not d.spooled(), 30, "an empty spool", d.daemon.log)
    heard = {h: sum(m.heard == h for m in messages) for h in "245?"}
    assert len(messages) == MESSAGES and heard["2"] > MESSAGES / 10 and heard["4"] > MESSAGES / 20, heard
    faults = check(messages, primary, backup, lmtp, d.daemon.log())
    assert not faults, "\n".join([f"SPLIT_SEED={SEED}", str(heard), *faults])
    rig.send(d.address, "s@x.test", ["a@x.test"], b"Subject: end\r\n\r\nx\r\n", lmtp=lmtp)
    d.daemon.stop()


def test_smtp(r):
    """With SMTP each reply to a client is true, and each message that got 250 is copied once."""
    run(r, "", False)


def test_lmtp(r):
    """With LMTP each reply to a client is true, and each recipient that got 250 is copied once."""
    run(r, 'protocol = "lmtp"', True)


if __name__ == "__main__":
    rig.main()

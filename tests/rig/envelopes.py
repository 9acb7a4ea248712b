# SPDX-License-Identifier: ISC
"""Random envelopes, and a book that records which recipients were accepted, and where they arrived.

Every recipient has an id in its local part. The id remains, however an MTA reads the address. The domain determines where the
recipient has to arrive.
"""

import itertools
import random
import re
import string
import threading
from collections import Counter

from .base import Failure, TIME_FACTOR
from .client import SmtpClient

CANONICAL = "@canon.test @moved.test\n"
FILTERS = """\
sec.test        secondary
.sec.test       secondary
pri.test        primary
none.test       none
canon.test      none
*               primary
"""
COPIES = """\
sec.test        archive, newmail
arch.test       archive
none.test       newmail
"""
# domain -> the places where a recipient in it has to arrive; for other domains: primary
ENDS = {
    "sec.test": ("secondary", "archive", "newmail"),
    "sub.sec.test": ("secondary",),
    "pri.test": ("primary",),
    "none.test": ("mailbox", "newmail"),
    "canon.test": ("mailbox",),
    "arch.test": ("primary", "archive"),
    "other.test": ("primary",),
}
ID = re.compile(r"id(\d+)x", re.IGNORECASE)
SPECIALS = "!#$%&'*/=?^_`{|}~-+.:;,()<>[]\\\"@ \t|"


def ends_of(path):
    """The places where the recipient with this path (as in RCPT TO) has to arrive."""
    domain = path.rsplit("@", 1)[1].rstrip(">").rstrip(".").lower() if "@" in path else ""
    return ENDS.get(domain) or (("secondary",) if domain.endswith(".sec.test") else ("primary",))


def plain_local(rng, name):
    """A local part that every MTA understands."""
    return rng.choice(
        (
            name,
            name.upper(),
            f"{name}+lists",
            f"{name}+a=b.c",
            f"first.{name}",
            f"o'hara.{name}",
            f'"{name} with blanks"',
            f'"{name}@home"',
            f'"a\\"{name}"',
            f"{name}=x#y",
            f"{name}/a_b",
        )
    )


def odd_path(rng, name, domain):
    """A path that is difficult for the parsers of MTAs. Most of these should be refused, and are."""
    junk = "".join(rng.choice(SPECIALS + string.ascii_letters) for _ in range(rng.randint(1, 12)))
    tag = rng.choice((".secondary.filter.split.invalid", ".archive.copy.SPLIT.invalid", ".nix.copy.split.invalid", ".split.invalid"))
    long = rng.randint(150, 250)
    return rng.choice(
        (
            lambda: f"<{name}%x.test@{domain}>",
            lambda: f"<x.test!{name}@{domain}>",
            lambda: f"<{name}!a@{domain}>",
            lambda: f"<@r1.test,@r2.test:{name}@{domain}>",
            lambda: f"@r1.test,@r2.test:{name}@{domain}",
            lambda: f"<a:{name}@{domain}>",
            lambda: f"<a:{name}@{domain};>",
            lambda: f"<{name};@{domain}>",
            lambda: f"<{name}(comment)@{domain}>",
            lambda: f"<{name}(a@b.test)@{domain}>",
            lambda: f"<{name}@{domain}(comment)>",
            lambda: f"<{name}@(x){domain}>",
            lambda: f"<{name}@{domain}.>",
            lambda: f"<{name}@{domain}..>",
            lambda: f"<{name},b@{domain}>",
            lambda: f"{name},b@{domain}",
            lambda: f"<a\\,{name}@{domain}>",
            lambda: f"@r1.test,@r2.test:{name}(x)@{domain}",
            lambda: f"@r1.test,@r2.test:{name}@[127.0.0.1]",
            lambda: f"{name}@{domain}",
            lambda: f"{name}@{domain};",
            lambda: f"Name<{name}@{domain}>",
            lambda: f'"Name"<{name}@{domain}>',
            lambda: f"<{name}@{domain}>junk",
            lambda: f"<<{name}@{domain}>>",
            lambda: f"<{name}@{domain}",
            lambda: f'<"{name}@{domain}>',
            lambda: f"<{name}\\@{domain}>",
            lambda: f"<a\\b{name}@{domain}>",
            lambda: f'<"a\\\\{name}"@{domain}>',
            lambda: f'<"{name}"x@{domain}>',
            lambda: f'<a."{name}".b@{domain}>',
            lambda: f"<{name}@a@{domain}>",
            lambda: f"<.{name}@{domain}>",
            lambda: f"<{name}.@{domain}>",
            lambda: f"<{name}..b@{domain}>",
            lambda: f"<|{name}@{domain}>",
            lambda: f"</{name}@{domain}>",
            lambda: f'<"|{name} x"@{domain}>',
            lambda: f"<:include:/{name}@{domain}>",
            lambda: f"<${{{name}}}$&x@{domain}>",
            lambda: f"<$m{name}$@{domain}>",
            lambda: f"<{name}@[127.0.0.1]>",
            lambda: f"<{name}@[IPv6:::1]>",
            lambda: f"<{name}@-{domain}>",
            lambda: f"<{name}@a_b.{domain}>",
            lambda: f"<{name}@localhost.{domain}>",
            lambda: f"<{name}@{domain}{tag}>",
            lambda: f"<{name}%{domain}{tag}@x.test>",
            lambda: f"<{domain}{tag}!{name}>",
            lambda: f'<"{name}@{domain}{tag}"@x.test>',
            lambda: f"<{name}@{domain}{tag}.test>",
            lambda: f"<{name}\xe4\xf6@{domain}>",
            lambda: f"<{name}@b\xfccher.{domain}>",
            lambda: f"<{name}{'y' * long}@{domain}>",
            lambda: f"<{name}@{'.'.join(['l' * 50] * rng.randint(1, 4))}.{domain}>",
            lambda: f"<{name}{junk}@{domain}>",
            lambda: f"<{junk}{name}@{domain}>",
            lambda: f"<{name}@{junk}{domain}>",
            lambda: f"<{name}>",
        )
    )()


def edge_path(rng, name, domain):
    """A path whose tagged form is about as long as an address may be."""
    return f"<{name.ljust(rng.randint(215, 232) - len(domain), 'z')}@{domain}>"


def plain_words(rng, name):
    """ESMTP words as a correct client sends them."""
    words = []
    if rng.random() < 0.4:
        words.append("NOTIFY=" + rng.choice(("NEVER", "SUCCESS", "FAILURE,DELAY", "success,failure,delay", "Failure")))
    if rng.random() < 0.3:
        words.append(f"ORCPT=rfc822;orig+2B{name}@was.test")
    return words


def odd_words(rng):
    return [
        rng.choice(
            (
                "NOTIFY=NEVER,SUCCESS",
                "NOTIFY=",
                "NOTIFY=SUCCESS,SUCCESS",
                "NOTIFY=NEVER NOTIFY=SUCCESS",
                "ORCPT=rfc822;a+2bb@c.test",
                "ORCPT=rfc822;a+zz",
                "ORCPT=;x",
                "ORCPT=x",
                "ORCPT=rfc822;",
                "ORCPT=utf-8;a\\x{E4}@b.test",
                "ORCPT=rfc822;" + "o" * 490,
                "ORCPT=rfc822;" + "o" * 600,
                "ORCPT=rfc822;a ORCPT=rfc822;b",
                "FOO=bar",
                "FOO",
                "SIZE=1",
                "NOTIFY=NEVER=",
                "RRVS=2014-04-03T23:01:00Z",
            )
        )
        for _ in range(rng.randint(1, 2))
    ]


class Book:
    """Records the recipients that an MTA accepted, and compares them with the arrivals."""

    def __init__(self, seed):
        self.seed = seed
        self.taken = {}  # (message number, id) -> {path: [words, once for each time that it was accepted]}
        self.messages = 0
        self.refused = Counter()
        self._lock = threading.Lock()

    def next_message(self):
        """(message number, its random numbers). They depend only on the seed, not on the order of the threads."""
        with self._lock:
            self.messages += 1
            return self.messages, random.Random(self.seed * 1000003 + self.messages)

    def take(self, message, ident, path, words):
        with self._lock:
            self.taken.setdefault((message, ident), {}).setdefault(path, []).append(words)

    def check(self, sinks):
        """Check that every accepted recipient arrived once at each of its places, with its own message, and that no other
        recipient arrived. sinks: name -> Sink. Returns the number of arrivals."""
        arrived = {}
        count = 0
        for name, sink in sinks.items():
            for txn in sink.accepted:
                message = int((txn.headers("Subject") or ["0"])[0].split()[-1])
                for rcpt in txn.rcpts:
                    found = ID.search(rcpt.addr)
                    ident = int(found.group(1)) if found else rcpt.addr
                    arrived.setdefault((message, ident), []).append((name, rcpt.addr))
                    count += 1
        wrong = []
        for key, paths in self.taken.items():
            got = arrived.pop(key, [])
            counts = Counter(name for name, _ in got)
            # The same recipient in several spellings may arrive once in each of them, or once in all. Postfix delivers twice to a
            # recipient that was given twice, if splitmilter does not change it.
            most = Counter(end for path, times in paths.items() for end in ends_of(path) for _ in (times if end == "mailbox" else "1"))
            if set(counts) != set(most) or any(n > most[name] for name, n in counts.items()):
                wrong.append(f"{key}: {paths}: expected at {dict(most)}, arrived at {got}")
        wrong += [f"{key}: arrived without having been taken: {got}" for key, got in arrived.items()]
        if wrong:
            raise Failure(f"{len(wrong)} of {len(self.taken)} recipients (seed {self.seed}):\n" + "\n".join(wrong[:20]))
        return count


def content(message):
    return f"From: a@sender.test\r\nSubject: random {message}\r\n\r\nText.\r\n".encode()


def _one_message(book, client, make_recipients, next_id):
    message, rng = book.next_message()
    sender = rng.choice(("s@sender.test", "", '"odd sender"@sender.test', "S+x@SENDER.test"))
    params = rng.choice(("", "RET=HDRS", "RET=FULL ENVID=e1", "BODY=8BITMIME", "SIZE=1000"))
    reply = client.mail(sender, params)
    if reply.code != 250:
        raise Failure(f"MAIL <{sender}> {params}: {reply}")
    taken = []
    for path, words in make_recipients(rng, next_id):
        client.write(f"RCPT TO:{path}{''.join(f' {w}' for w in words)}\r\n".encode("utf-8" if rng.random() < 0.5 else "latin-1"))
        reply = client.read()
        if reply.code in (250, 251):
            taken.append((int(ID.search(path).group(1)), path, words))
        else:
            book.refused[f"{reply.code} {reply.lines[0][:5]}"] += 1
    if rng.random() < 0.02:
        return client.cmd("RSET")
    if not taken:
        return client.cmd("RSET")
    reply = client.data(content(message))
    if reply.code == 250:
        for ident, path, words in taken:
            book.take(message, ident, path, words)
    else:
        book.refused[f"data {reply.code} {reply.lines[0][:5]}"] += 1
    return reply


def send_all(book, address, count, make_recipients, threads=2, pause=None):
    """Send `count` messages, several on each connection. make_recipients(rng, next_id) -> [(path, words)]. Every line from the
    server has to be an SMTP reply to a command. pause() is called now and then, and may wait."""
    failures = []
    ids = itertools.count(1)

    def next_id():
        return f"id{next(ids)}x"

    def run(share):
        try:
            while share > 0:
                some = min(share, 25)
                with SmtpClient(address, timeout=60) as client:
                    for _ in range(some):
                        _one_message(book, client, make_recipients, next_id)
                    reply = client.quit()
                    if reply.code != 221:
                        raise Failure(f"the dialogue is out of step: QUIT was answered by {reply}")
                share -= some
                if pause:
                    pause()
        except Exception as e:  # reported by the test's own thread
            failures.append(e)

    workers = [threading.Thread(target=run, args=(count // threads,), daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=(60 + count) * TIME_FACTOR)
        if worker.is_alive():
            raise Failure("the clients hang")
    if failures:
        raise failures[0]


def sane(rng, next_id):
    """Up to 20 recipients as real clients send them, some of them twice."""
    recipients = []
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8, 20))):
        name = next_id()
        domain = rng.choice(tuple(ENDS))
        path = f"<{plain_local(rng, name)}@{rng.choice((domain, domain, domain.upper(), domain.title()))}>"
        recipients.append((path, plain_words(rng, name)))
        if rng.random() < 0.05:
            recipients.append((path, plain_words(rng, name)))
    rng.shuffle(recipients)
    return recipients


def hostile(rng, next_id):
    """Mostly odd recipients, and a few normal ones among them, which must arrive all the same."""
    recipients = sane(rng, next_id)[:3]
    for _ in range(rng.randint(1, 6)):
        name = next_id()
        domain = rng.choice(tuple(ENDS))
        path = edge_path(rng, name, domain) if rng.random() < 0.2 else odd_path(rng, name, domain)
        words = odd_words(rng) if rng.random() < 0.2 else plain_words(rng, name)
        recipients.append((path, words))
        if rng.random() < 0.2:
            recipients.append((f"<{name}@{domain}>", plain_words(rng, name)))
    rng.shuffle(recipients)
    return recipients

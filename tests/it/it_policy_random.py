#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Random messages through a real Postfix, and a real Sendmail, while the socketmap server for all decisions is restarted, hangs,
answers once for each connection, and answers garbage.

With on_failure = "tempfail" no message is accepted without the filter and the copies of the tables. With "accept" no message is
refused or lost, and the log has those that pass unchanged. SPLIT_RANDOM_MESSAGES: the number for each test (default 600);
SPLIT_SEED: other random numbers.
"""

import collections
import os
import random
import re
import threading
import time
import zlib

import rig

MESSAGES = int(os.environ.get("SPLIT_RANDOM_MESSAGES", "600"))
SEED = int(os.environ.get("SPLIT_SEED", "1"))
CLIENTS = 4
QUEUE_FILES = 400
HANG_SECONDS = 0.15  # then the connection is closed; in it_policy_failures.py the server never answers
MAPS = ("canonical", "filters", "copies", "sender_filters", "sender_copies")
DOMAINS = ("example.com", "example.net", "domain.com", "application.com")
SENDERS = ("s@sender.test", "boss@sender.test", "audit@sender.test", "")
BACKUPS = ("archive", "newmail")
NO_ERROR_LIMITS = {"smtpd_soft_error_limit": "1000000", "smtpd_hard_error_limit": "1000000", "smtpd_error_sleep_time": "0s"}


def number_of(text, salt):
    return zlib.crc32(f"{salt}:{text.lower()}".encode())


def canonical_of(address):
    """The new address; one address in four is rewritten, and a new address is not rewritten again."""
    if address.startswith("new.") or number_of(address, "canonical") % 4:
        return address
    return f"new.{address.lower()}"  # requests are in lower case


def filter_of(sender, address):
    if sender == "boss@sender.test":
        return "secondary"
    return (None, "primary", "secondary")[number_of(address, "filter") % 3]


def copies_of(sender, address):
    names = {(), ("archive",), ("newmail",), BACKUPS}
    own = set(sorted(names)[number_of(address, "copies") % 4])
    return own | ({"archive"} if sender == "audit@sender.test" else set())


def look_up(name, key):
    """The reply of the server."""
    if name == "canonical":
        new = canonical_of(key)
        return b"NOTFOUND " if new == key else b"OK " + new.encode()
    if name == "filters":
        return b"OK " + (filter_of("", key) or "none").encode()
    if name == "copies":
        return b"OK " + (", ".join(sorted(copies_of("", key))) or "none").encode()
    if name == "sender_filters":
        return b"OK secondary" if key == "boss@sender.test" else b"NOTFOUND "
    return b"OK archive" if key == "audit@sender.test" else b"NOTFOUND "


class Weather:
    """The faults of the server, each of which lasts for some requests. restart is set now and then."""

    FAULTS = ("garbage", "cut", "close", "hang", "once", "once", "once", b"TEMP busy", b"PERM no", b"OK nosuchname")

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.left = 40
        self.fault = None
        self.restart = threading.Event()
        self.seen = collections.Counter()

    def __call__(self):
        """Called with the server's lock held."""
        self.left -= 1
        if self.left <= 0:
            if self.fault is None:
                self.fault = self.rng.choice(self.FAULTS)
                self.left = 2 if self.fault == "hang" else self.rng.randrange(2, 20)
            else:
                self.fault = None
                self.left = self.rng.randrange(10, 100)
            if self.rng.randrange(6) == 0:
                self.restart.set()
        self.seen[self.fault] += 1
        return self.fault


class Book:
    """The recipients by the MTA's replies; each address is used once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.accepted = {}  # address: sender
        self.refused = collections.Counter()
        self.not_accepted = set()
        self.messages = self.next = 0
        self.faults = []

    def take_number(self):
        with self.lock:
            self.next += 1
            return self.next if self.next <= MESSAGES else None


def send_messages(book, t, refusals, which):
    """One client: it sends messages over one connection, until there are enough."""
    try:
        with rig.SmtpClient(t.front.address) as c:
            while (number := book.take_number()) is not None:
                if number % 50 == 0:
                    rig.wait_for(lambda: len(t.front.queue_files()) < QUEUE_FILES, 120, "a shorter queue")
                send_one(book, c, number, refusals)
    except Exception as e:  # pylint: disable=broad-except
        book.faults.append(f"client {which}: {e!r}")


def send_one(book, c, number, refusals):
    rng = random.Random(SEED * 1000003 + number)
    sender = rng.choice(SENDERS)
    reply = c.mail(sender)
    assert reply.code == 250, reply
    taken = []
    for i in range(rng.randrange(1, 6)):
        address = f"{rng.choice(('u', 'U.', 'x-'))}{number}.{i}@{rng.choice(DOMAINS)}"
        reply = c.rcpt(address)
        assert reply.code == 250 or (refusals and reply.code == 451 and reply.lines[0].startswith("4.3.0")), (address, reply)
        with book.lock:
            if reply.code == 250:
                taken.append(address)
            else:
                book.refused[reply.code] += 1
                book.not_accepted.add(address)
    if not taken:
        c.cmd("RSET")
        return
    reply = c.data(f"Subject: {number}\r\n\r\nx\r\n".encode())
    assert reply.code == 250, reply
    with book.lock:
        book.messages += 1
        book.accepted.update({address: sender for address in taken})


def restarts(server, weather, done, counter):
    """Restart the server each time that weather.restart is set."""
    while not done.is_set():
        if weather.restart.wait(0.05):
            weather.restart.clear()
            server.stop()
            done.wait(0.02)
            server.start()
            counter.append(time.monotonic())


def arrivals(t):
    """{place: {address as it arrived there: count}}"""
    sinks = {"mailbox": t.mailbox, **t.backups, **{n: t.taps[n] for n in ("primary", "secondary")}}
    return {name: collections.Counter(a for txn in sink.accepted for a in txn.addrs) for name, sink in sinks.items()}


def run(r, on_failure, make):
    """Send all messages. Returns the tower, the book and the arrivals."""
    path = r.path("map.sock")
    server = rig.SocketMap(r, path, look_up)
    server.hang_seconds = HANG_SECONDS
    options = dict(zip(("canonical_maps", "filter_maps", "copy_maps", "sender_filter_maps", "sender_copy_maps"), MAPS))
    lines = "".join(f'    {option} += {{ "socketmap:unix:{path}:{name}" }}\n' for option, name in options.items())
    t = make(
        r,
        milter=f'{lines}    on_failure = "{on_failure}"\n',
        short=True,
        front_main=NO_ERROR_LIMITS if make is rig.Tower else "",
        make_sink=lambda *args, **more: rig.Sink(*args, keep_data=False, **more),
    )
    weather, book, restarted, done = Weather(SEED), Book(), [], threading.Event()
    server.fault = weather
    threads = [
        threading.Thread(target=send_messages, args=(book, t, on_failure == "tempfail", i), daemon=True) for i in range(CLIENTS)
    ]
    threads.append(threading.Thread(target=restarts, args=(server, weather, done, restarted), daemon=True))
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads[:-1]:
        thread.join(60 + MESSAGES / 2)
        assert not thread.is_alive(), "a client does not end"
    done.set()
    threads[-1].join(20 * rig.TIME_FACTOR)
    sent = time.monotonic() - start
    assert not book.faults, book.faults
    t.settle(120 + MESSAGES / 20)
    rig.wait_for(lambda: not t.spooled(), 120, "an empty spool")
    asked = ", ".join(f"{name or 'answered'} {count}" for name, count in sorted(weather.seen.items(), key=str))
    print(
        f"  {make.__name__}, {on_failure}: seed {SEED}, {book.next - CLIENTS} messages, {book.messages} accepted, {len(book.accepted)} recipients accepted, "
        f"{sum(book.refused.values())} refused; {server.asked} questions ({asked}), {server.broken} broken off, "
        f"{len(restarted)} restarts; {sent:.0f} s, all in {time.monotonic() - start:.0f} s",
        flush=True,
    )
    assert server.broken > MESSAGES / 25 and restarted, "the server was too well"
    return t, book, arrivals(t)


def wanted(sender, address):
    """[(place, address there)], from the tables."""
    ends = [(filter_of(sender, address) or "mailbox", canonical_of(address))]
    return ends + [(name, address) for name in copies_of(sender, address)]


def places(found, address):
    """The places where a recipient arrived, with its old or new address."""
    both = {address, f"new.{address.lower()}"}
    return sorted((place, a) for place, counts in found.items() for a in both for _ in range(counts[a]))


def check_refused(book, found):
    for address in book.not_accepted:
        assert not places(found, address), f"{address} was refused, and arrived at {places(found, address)}"


def tempfail(r, make):
    t, book, found = run(r, "tempfail", make)
    for address, sender in book.accepted.items():
        assert places(found, address) == sorted(wanted(sender, address)), (sender, address, places(found, address), wanted(sender, address))
    check_refused(book, found)
    assert not t.milter.log_lines("status=unchanged")
    total = len(book.accepted) + len(book.not_accepted)
    assert total / 20 < len(book.not_accepted) < total * 0.95, "the server is too well, or too ill"


def accept(r, make):
    t, book, found = run(r, "accept", make)
    said = {re.search("to=<(.*?)>, status=unchanged", ln).group(1) for ln in t.milter.log_lines("status=unchanged")}
    for address, sender in book.accepted.items():
        end = [("mailbox", address)] if address in said else sorted(wanted(sender, address))
        assert places(found, address) == end, (sender, address, places(found, address), end)
    assert not book.not_accepted
    assert len(book.accepted) / 20 < len(said) < len(book.accepted) * 0.95, "the server is too well, or too ill"


def test_tempfail_postfix(r):
    """With a Postfix and "tempfail" each accepted recipient arrives exactly where the tables send it."""
    tempfail(r, rig.Tower)


def test_accept_postfix(r):
    """With a Postfix and "accept" each recipient arrives where the tables send it, or unchanged with a line in the log."""
    accept(r, rig.Tower)


def test_tempfail_sendmail(r):
    """With a Sendmail and "tempfail" each accepted recipient arrives exactly where the tables send it."""
    tempfail(r, rig.SendmailTower)


def test_accept_sendmail(r):
    """With a Sendmail and "accept" each recipient arrives where the tables send it, or unchanged with a line in the log."""
    accept(r, rig.SendmailTower)


if __name__ == "__main__":
    rig.main(timeout=200 + MESSAGES)

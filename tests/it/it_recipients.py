#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What goes in comes out: random messages through real MTAs, counted per recipient at filters, mailbox and backups.

SPLIT_COUNT_MESSAGES and SPLIT_FUZZ_ENVELOPES: how many (defaults: 150 and 200); SPLIT_SEED: other random numbers.
"""

import os
import time

import rig
from rig import envelopes

COUNT = int(os.environ.get("SPLIT_COUNT_MESSAGES", "150"))
FUZZ = int(os.environ.get("SPLIT_FUZZ_ENVELOPES", "200"))
SEED = int(os.environ.get("SPLIT_SEED", "1"))
QUEUE_FILES = 400


def make_tower(r, tower, **options):
    return tower(
        r,
        envelopes.CANONICAL,
        envelopes.FILTERS,
        envelopes.COPIES,
        short=True,
        relay="    max_connections = 500\n",
        **options,
    )


def run(t, count, make_recipients):
    """Send, wait for everything to arrive, compare."""
    sinks = {"mailbox": t.mailbox, **t.backups, "secondary": t.taps["secondary"], "primary": t.taps["primary"]}
    book = envelopes.Book(SEED)
    start = time.monotonic()

    def pause():
        rig.wait_for(lambda: len(t.front.queue_files()) < QUEUE_FILES, 120, "a shorter queue")

    envelopes.send_all(book, t.front.address, count, make_recipients, pause=pause)
    sent = time.monotonic() - start
    t.settle(120)
    rig.wait_for(lambda: not t.spooled(), 120, "an empty spool")
    arrivals = book.check(sinks)
    print(
        f"  {t.front.name}: {book.messages} messages, {len(book.taken)} recipients taken, {sum(book.refused.values())} refused "
        f"{dict(book.refused.most_common(12))}, {arrivals} arrivals; sent in {sent:.0f} s, all in {time.monotonic() - start:.0f} s"
    )
    return book


def test_count_postfix(r):
    """Per recipient, what a Postfix took arrives once at its filter or mailbox, and once at each of its backups."""
    run(make_tower(r, rig.Tower), COUNT, envelopes.sane)


def test_count_sendmail(r):
    """The same with a Sendmail."""
    run(make_tower(r, rig.SendmailTower), COUNT, envelopes.sane)


def test_hostile_envelopes_sendmail(r):
    """No envelope from outside loses a recipient, or puts a foreign word into the SMTP dialogue."""
    book = run(make_tower(r, rig.SendmailTower), FUZZ, envelopes.hostile)
    assert len(book.taken) > FUZZ and sum(book.refused.values()) > FUZZ, "the envelopes are all good or all bad"


def test_hostile_envelopes_postfix(r):
    """The same with a Postfix."""
    run(make_tower(r, rig.Tower), FUZZ, envelopes.hostile)


if __name__ == "__main__":
    rig.main(timeout=100 + (COUNT + FUZZ) // 2)

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""No recipient is lost or doubled: random messages through real MTAs are counted per recipient at filters, mailbox and backups.

SPLIT_COUNT_MESSAGES and SPLIT_FUZZ_ENVELOPES: their numbers (defaults: 150 and 200); SPLIT_SEED: other random numbers.
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
    """Send all messages, wait for all arrivals, and compare."""
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
    """Each recipient that a Postfix accepts gets its mail once at its filter or mailbox, and once at each of its backups."""
    run(make_tower(r, rig.Tower), COUNT, envelopes.sane)


def test_count_sendmail(r):
    """Each recipient that a Sendmail accepts gets its mail once at its filter or mailbox, and once at each of its backups."""
    run(make_tower(r, rig.SendmailTower), COUNT, envelopes.sane)


def test_hostile_envelopes_sendmail(r):
    """Hostile envelopes lose no recipient behind a Sendmail, and every reply in the dialogue belongs to a command."""
    book = run(make_tower(r, rig.SendmailTower), FUZZ, envelopes.hostile)
    assert len(book.taken) > FUZZ and sum(book.refused.values()) > FUZZ, "the envelopes are all good or all bad"


def test_hostile_envelopes_postfix(r):
    """Hostile envelopes lose no recipient behind a Postfix, and every reply in the dialogue belongs to a command."""
    run(make_tower(r, rig.Tower), FUZZ, envelopes.hostile)


if __name__ == "__main__":
    rig.main(timeout=100 + (COUNT + FUZZ) // 2)

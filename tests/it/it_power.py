#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A power failure at any moment: what the disk may hold then is made from a record, and the queue is opened on it.

Everything that was answered with 250 and not delivered is there, with its content and its recipients; what was reported as deleted,
held, released or requeued is so; what is gone by delivery to a Maildir is in the Maildir; mail is taken again. And faults that are
planted into the record are found. SPLIT_POWER_STATES (10000; 1000000 for a long run), SPLIT_SEED.
"""

import os
import sys
import time

from rig import power
from rig.base import Skip

SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))
PLANTED = [
    ("lost_syncs", "/spool/large", "the names of large files are not synced"),
    ("lost_syncs", "/spool/queue.db-wal", "mail is answered, and changes are reported, before the commit is on the disk"),
    ("lost_syncs", "/spool", "the names of the database and its log are not synced"),
    ("lost_syncs", "/box-x.test/mail/new", "the name of a file in a Maildir is not synced"),
    ("lost_syncs", "/box-x.test/mail", "the directories of a new Maildir are not synced"),
    ("lost_syncs", "/box-x.test", "the name of a new Maildir is not synced in the directory that its template makes"),
    ("early_removes", "/spool/large", "a large file is removed before its row"),
]


def main():
    states = int(power.amount("SPLIT_POWER_STATES", 10000, 1000))
    with power.memory_directory() as directory:
        record = power.Record(directory).run_both()
        assert record.skipped == 0, f"{record.skipped} steps of the workload were skipped"
        print(f"SPLIT_SEED={SEED}, calls: {record.calls}")
        begin = time.monotonic()
        count, wrong, texts = record.replay(states, seed=SEED)
        print(f"{count} states of the disk, {wrong} of them wrong, {time.monotonic() - begin:.0f} s\n{texts}", flush=True)
        assert wrong == 0 and count >= min(states, 10000), f"{count} states, {wrong} wrong"
        for option, path, what in PLANTED:
            count, wrong, texts = record.replay(20000, seed=SEED, wrong=1, sparse=4, **{option: path})
            assert wrong > 0, f"not found in {count} states: {what}"
            print(f"found after {count} states: {what}\n  {texts.strip().splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Skip as e:
        print(f"SKIP: {e}")
        sys.exit(77)

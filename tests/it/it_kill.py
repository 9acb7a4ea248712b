#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitrelay is killed again and again under load: no copy is missing at the backup.

SPLIT_KILL_MESSAGES (2000) and SPLIT_KILL_COUNT (5) say how much; SPLIT_SEED repeats a run.
"""

import os
import random
import subprocess
import time

import rig

MESSAGES = int(os.environ.get("SPLIT_KILL_MESSAGES", "2000"))
KILLS = int(os.environ.get("SPLIT_KILL_COUNT", "5"))
SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))


def message_ids(sink):
    return [i for txn in sink.accepted for i in txn.headers("Message-Id")]


def test_no_copy_is_lost(r):
    print(f"{MESSAGES} messages, {KILLS} kills, SPLIT_SEED={SEED}")
    chance = random.Random(SEED)
    t = rig.Tower(r, "", "* none\n", "anna@example.com archive\n", front_main={"relayhost": "", "default_transport": "discard:", "relay_transport": "discard:"})
    archive = t.backups["archive"]
    source = subprocess.Popen(
        ["smtp-source", "-s", "5", "-m", str(MESSAGES), "-l", "2000", "-f", "s@sender.test", "-t", "anna@example.com"]
        + [f"inet:127.0.0.1:{t.front.address[1]}"],
        env=rig.postfix.environment(),
        start_new_session=True,
    )
    r.session.record_process(source.pid, "smtp-source")
    for number in range(KILLS):
        share = (number + chance.random()) * MESSAGES / (KILLS + 1)
        rig.wait_for(lambda share=share: len(archive.accepted) >= share, 60, f"{share:.0f} copies", archive.describe)
        time.sleep(chance.random() * 0.05)  # any moment, not the one just after a copy
        t.relay.kill()
        t.start_relay()
    rig.wait_for(lambda: source.poll() is not None, 120, "the end of smtp-source")
    assert source.returncode == 0, f"smtp-source: exit {source.returncode}"
    # The names are read only when there are enough copies: it takes time from the server, which runs in this process.
    rig.wait_for(lambda: len(archive.accepted) >= MESSAGES and len(set(message_ids(archive))) >= MESSAGES, 120 + MESSAGES // 100, f"{MESSAGES} copies",
                 lambda: f"{len(set(message_ids(archive)))} there, {len(t.front.queue_files())} queued, {len(t.spooled())} spooled")
    found = message_ids(archive)
    print(f"{len(found)} copies arrived, {len(found) - len(set(found))} of them twice")
    assert len(set(found)) == MESSAGES
    t.front.wait_empty(60)
    rig.wait_for(lambda: not t.spooled(), 60, "an empty spool")
    assert not t.spooled("dead") and not t.spooled("held")
    rig.wait_for(lambda: not rig.queue.leftovers(t.spool), 20, "an empty queue", lambda: str(rig.queue.leftovers(t.spool)[:9]))


if __name__ == "__main__":
    rig.main(timeout=200 + MESSAGES // 20)

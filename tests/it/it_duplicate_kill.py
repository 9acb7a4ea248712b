#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Front Postfix -> splitrelay -> primary Postfix and backup Postfix; splitrelay and the primary are killed again and again.

Every message that the front accepted arrives at the primary's mailbox and at the backup's. SPLIT_DUPLICATE_MESSAGES (1000; 10000
before a release) and SPLIT_DUPLICATE_KILLS (4) set the numbers; SPLIT_SEED repeats a run.
"""

import os
import random
import signal
import subprocess
import time

import rig
from rig.guardian import start_time

MESSAGES = int(os.environ.get("SPLIT_DUPLICATE_MESSAGES", "1000"))
KILLS = int(os.environ.get("SPLIT_DUPLICATE_KILLS", "4"))
SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))


def message_ids(sink):
    return [i for txn in sink.accepted for i in txn.headers("Message-Id")]


def kill_postfix(instance):
    """Send SIGKILL to all processes of the instance, as in a power failure; then start it again."""
    master, instance.master = instance.master, None
    os.killpg(master, signal.SIGKILL)
    rig.wait_for(lambda: start_time(master) is None, 10, "the end of master")

    os.chmod(instance.maillog, 0o666)  # postsuper(1) logs warnings as user postfix

    def starts():
        try:
            instance.start()
        except rig.Failure:  # a process that ends slowly still has the address or the lock
            return False
        return True

    rig.wait_for(starts, 30, "Postfix to start again")


def test_no_message_is_missing_anywhere(r):
    print(f"{MESSAGES} messages, {KILLS} kills of each, SPLIT_SEED={SEED}")
    chance = random.Random(SEED)
    mailbox, archive = rig.Sink(r, "mailbox"), rig.Sink(r, "archive")
    primary = rig.Postfix(r, "primary", {"relayhost": mailbox.bracketed, "relay_domains": "example.com"})
    backup = rig.Postfix(r, "backup", {"relayhost": archive.bracketed, "relay_domains": "example.com"})
    primary.start()
    backup.start()
    d = rig.Duplicator(r, primary=primary, backups=(backup,))
    front = rig.Postfix(
        r,
        "front",
        {
            "relay_domains": "example.com",
            "transport_maps": f"inline:{{example.com=smtp:[127.0.0.1]:{d.address[1]}}}",
            # a restart of splitrelay must not make Postfix treat its host as dead for a while
            "default_destination_concurrency_failed_cohort_limit": "0",
            "smtp_destination_concurrency_failed_cohort_limit": "0",
        },
    )
    front.start()
    source = subprocess.Popen(
        ["smtp-source", "-s", "5", "-m", str(MESSAGES), "-l", "2000", "-f", "s@sender.test", "-t", "r@example.com"]
        + [f"inet:127.0.0.1:{front.address[1]}"],
        env=rig.postfix.environment(),
        start_new_session=True,
    )
    r.session.record_process(source.pid, "smtp-source")
    for number in range(KILLS * 2):
        share = (number + chance.random()) * MESSAGES / (KILLS * 2 + 1)
        rig.wait_for(lambda share=share: len(mailbox.accepted) >= share, 120, f"{share:.0f} messages", mailbox.describe)
        time.sleep(chance.random() * 0.05)  # a random moment, not always just after a message
        if number % 2 == 0:
            d.daemon.kill()
            d.restart()
        else:
            kill_postfix(primary)
    rig.wait_for(lambda: source.poll() is not None, 300, "the end of smtp-source")
    assert source.returncode == 0, f"smtp-source: exit {source.returncode}"
    for sink in (mailbox, archive):
        rig.wait_for(
            lambda sink=sink: len(set(message_ids(sink))) >= MESSAGES,
            60 + MESSAGES // 50,
            f"{MESSAGES} messages at {sink.name}",
            lambda sink=sink: f"{len(set(message_ids(sink)))} there, {len(front.queue_files())} in front, "
            f"{len(primary.queue_files())} at the primary, {len(backup.queue_files())} at the backup, {len(d.spooled())} spooled",
        )
        found = message_ids(sink)
        print(f"{sink.name}: {len(found)} arrived, {len(found) - len(set(found))} of them twice")
        assert len(set(found)) == MESSAGES
    front.wait_empty(60)
    rig.wait_for(lambda: not d.spooled(), 60, "an empty spool")
    assert not rig.queue.leftovers(d.spool), rig.queue.leftovers(d.spool)[:9]


if __name__ == "__main__":
    rig.main(timeout=150 + MESSAGES // 20)

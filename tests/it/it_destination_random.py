#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A destination that misbehaves at random: each recipient gets its copy once, or its copy is a dead letter because of a 5xx.

SPLIT_SEED repeats a run, SPLIT_RANDOM_MESSAGES makes it longer."""

import json
import os
import random
import time

import rig

SEED = int(os.environ.get("SPLIT_SEED") or random.randrange(1 << 30))
MESSAGES = int(os.environ.get("SPLIT_RANDOM_MESSAGES") or 150)
CHAOS_SECONDS = 30


def waiting(d):
    return d.spooled("queued")


def send_all(d):
    """Send all messages: {recipient: (sender, content)}."""
    dice = random.Random(SEED)
    wanted = {}
    for i in range(MESSAGES):
        recipients = [f"u{i}-{k}@x.test" for k in range(dice.randrange(1, 5))]
        content = f"Subject: m{i}\r\n\r\n.{i}\r\n".encode() * (1 if i % 5 else 2000)
        rig.send(d.address, f"s{i}@x.test", recipients, content)
        wanted.update({a: (f"s{i}@x.test", content) for a in recipients})
    return wanted


def dead_recipients(r, d):
    """{recipient of a dead letter: the reason}."""
    _, out, _ = rig.run_splitctl(r, d.daemon.configuration_path, "queue", "--json")
    items = [item for line in out.splitlines() for item in json.loads(line)["recipients"]]
    return {item["address"]: item["delay_reason"] for item in items if item["status"] == "dead"}


def test_random(r):
    """Each recipient gets its copy once, from its sender and with its content, or the copy is a dead letter because of a
    5xx."""
    print(f"SPLIT_SEED={SEED}")
    limits = 'command_timeout = "2s" connect_timeout = "2s" concurrency = 5 max_messages_per_connection = 9'
    d = rig.Duplicator(r, destination=limits)
    backup = d.backups["newmail"]
    backup.hook = rig.Chaos(SEED, 0.1)
    wanted = send_all(d)
    end = time.monotonic() + CHAOS_SECONDS
    rig.wait_for(lambda: len(waiting(d)) < MESSAGES / 20 or time.monotonic() > end, 2 * CHAOS_SECONDS, "most of the copies")
    backup.hook = None
    rig.wait_for(lambda: not waiting(d), 60, "an empty queue", d.daemon.log)
    dead = dead_recipients(r, d)
    got = {}
    for t in backup.accepted:
        for a in t.addrs:
            got.setdefault(a, []).append(t)
    faults = [f"{a}: nobody sent that" for a in got if a not in wanted]
    for a, (sender, content) in wanted.items():
        copies = got.get(a, [])
        if len(copies) + (a in dead) != 1:
            faults.append(f"{a}: {len(copies)} copies, {dead.get(a)}")
        if a in dead and " said: 5" not in dead[a]:
            faults.append(f"{a}: dead for {dead[a]}")
        faults += [f"{a}: another sender or content" for t in copies if t.sender != sender or rig.split_trace(t.data)[1] != content]
    assert not faults, "\n".join([f"SPLIT_SEED={SEED}", *faults])
    assert len(dead) < len(wanted) / 4, len(dead)
    d.daemon.stop()


if __name__ == "__main__":
    rig.main()

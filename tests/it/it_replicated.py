#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A machine of the database is lost with its disk, twice, and each splitrelay is killed five times, while mail flows from a real
Postfix through two splitrelays: no copy is missing, and nothing has to be done but to replace machines.

SPLIT_REPLICATED_MESSAGES (2000; 20000 before a release); SPLIT_REPLICATED_TTL (20): Patroni's ttl; SPLIT_SEED repeats a run.
"""

import collections
import os
import random
import re
import signal
import subprocess
import time

import rig
from rig.node import Load, Node

MESSAGES = int(os.environ.get("SPLIT_REPLICATED_MESSAGES", "2000"))
TTL = int(os.environ.get("SPLIT_REPLICATED_TTL", "20"))
SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))
KILLS, LOSSES = 5, 2
CONCURRENCY = 10


class Site:
    """The cluster, two splitrelays with their destination, and a front that gives copies to either."""

    def __init__(self, r):
        self.r = r
        self.cluster = rig.Patroni(r, ttl=TTL)
        self.uri = self.cluster.create_database("splitmilter")
        self.archive = rig.Sink(r, "archive")
        self.nodes = [Node(r, name, self.uri, self.archive, destination=f"concurrency = {CONCURRENCY}", start=False).serve() for name in ("one", "two")]
        one, two = (f"[127.0.0.1]:{n.address[1]}" for n in self.nodes)
        self.front = rig.Postfix(
            r, "front", {"transport_maps": f"randmap:{{first:{one},second:{two}}}"},
            services="".join(f"{name} unix - - n - - smtp -o smtp_fallback_relay={other}\n" for name, other in (("first", two), ("second", one))),
        )
        self.front.start()
        self.outages, self.kills = [], []  # [begin, end] of each time without a primary; times of kills

    def execute(self, sql):
        return self.cluster.execute(sql, database="splitmilter")

    def left(self):
        """Rows of each table that has to be empty in the end."""
        try:
            return {t: n for t in ("copy", "message", "body", "recipient") if (n := self.execute(f"SELECT count(*) FROM {t}")[0][0])}
        except rig.libpq.SqlError as e:
            return {"the database": str(e)}


def arrivals(sink):
    """{message: [(time, id of the copy)]}, by Message-Id, in the order of arrival."""
    found = collections.defaultdict(list)
    for t in sink.accepted:
        for i in t.headers("Message-Id"):
            found[i].append((t.when, re.search(r"id=(\w+);", t.headers("X-Split-Copy")[0])[1]))
    return found


def history(s, names):
    """When the messages came, by which node, and what happened; in seconds since the first event."""
    events = [(t, "a kill") for t in s.kills] + [(t, "without a primary" if i == 0 else "a primary") for span in s.outages for i, t in enumerate(span)]
    for t in s.archive.accepted:
        for i in set(t.headers("Message-Id")) & set(names):
            events.append((t.when, f"{i} {re.search('by ([a-z]+).test', ' '.join(t.headers('Received')))[1]} {t.headers('X-Split-Copy')[0]}"))
    start = min(events)[0]
    return "\n".join(f"{t - start:8.2f} {text}" for t, text in sorted(events))


def may_come_again(s, times):
    """Return true if the arrivals of one message have a reason. Several copies, each once, are right: the front had no reply to the
    first one, and sent the message again. One copy may come twice if the outcome of its delivery was not recorded when a process was
    killed: the copy was in delivery, or was sent in the last moments. Without a primary, outcomes wait in memory for longer; and an
    outcome that a primary had not given to its standby is lost with the primary."""
    copies = [copy for _, copy in times]
    when = next((t for t, copy in times if copies.count(copy) > 1), None)
    if when is None:
        return True
    slack = 3 * rig.TIME_FACTOR
    spans = [(kill - slack, kill) for kill in s.kills]
    spans += [(begin - slack, begin + slack) for begin, _ in s.outages]
    spans += [(begin - slack, kill) for begin, end in s.outages for kill in s.kills if begin < kill < end + 10 * rig.TIME_FACTOR]
    return any(begin <= when <= end for begin, end in spans)


def plan(chance):
    """What happens, in this order, at even distances: kills of each node, and losses of the primary."""
    events = ["kill one", "kill two"] * KILLS
    chance.shuffle(events)
    for place in sorted((len(events) * (n + 1) // (LOSSES + 1) for n in range(LOSSES)), reverse=True):
        events.insert(place, "lose")
    return events


def lose_primary(s):
    """Lose the primary's machine. When another member is primary, replace the machine."""
    lost = s.cluster.primary()
    begin = time.monotonic()
    s.outages.append([begin, begin])
    s.cluster.lose(lost)
    new = rig.wait_for(lambda: [m for m in s.cluster.with_role("primary") if m is not lost], 60 + TTL, "another primary", s.cluster.describe)[0]
    s.outages[-1][1] = time.monotonic()
    print(f"{lost.name} is lost with its disk; {new.name} is primary after {s.outages[-1][1] - begin:.1f} s")
    s.cluster.replace(lost)


def test_a_lost_machine(r):
    print(f"{MESSAGES} messages, SPLIT_SEED={SEED}")
    chance = random.Random(SEED)
    s = Site(r)
    source = subprocess.Popen(
        ["smtp-source", "-s", "5", "-m", str(MESSAGES), "-l", "2000", "-f", "s@sender.test", "-t", "anna@example.com.archive.copy.split.invalid"]
        + [f"inet:127.0.0.1:{s.front.address[1]}"],
        env=rig.postfix.environment(), start_new_session=True,
    )
    r.session.record_process(source.pid, "smtp-source")
    probe = Load(s.nodes, prefix="probe", pause=0.1)
    events = plan(chance)
    for number, event in enumerate(events):
        share = (number + chance.random()) * MESSAGES / (len(events) + 1)
        rig.wait_for(lambda share=share: len(s.archive.accepted) >= share, 120 + TTL, f"{share:.0f} copies", lambda: f"{len(s.archive.accepted)}\n{s.cluster.describe()}")
        if event == "lose":
            s.cluster.wait_redundant(120)  # without the standby no other machine has all copies
            lose_primary(s)
            continue
        node = s.nodes[event == "kill two"]
        time.sleep(chance.random() * 0.05)  # any moment, not the one just after a copy
        node.kill()
        s.kills.append(time.monotonic())
        node.serve()
    rig.wait_for(lambda: source.poll() is not None, 120, "the end of smtp-source")
    assert source.returncode == 0, f"smtp-source: exit {source.returncode}"
    check(s, probe)


def check(s, probe):
    def state():
        return f"{len(s.archive.accepted)} there, {len(s.front.queue_files())} at the front, {s.left()}\n{s.nodes[0].logs()[-1500:]}{s.nodes[1].logs()[-1500:]}"

    s.front.wait_empty(120 + MESSAGES // 50)
    probe.end()
    rig.wait_for(lambda: not s.left(), 120 + MESSAGES // 50, "an empty queue", state)
    found = arrivals(s.archive)
    again = {i: times for i, times in found.items() if len(times) > 1}
    resent = sum(len(set(copy for _, copy in times)) > 1 for times in again.values())
    strange = [i for i, times in again.items() if not may_come_again(s, times)]
    probes = {x for t in s.archive.accepted for x in t.headers("Subject") if x.startswith("probe")}
    missing = set(probe.taken) - probes
    gap = max(probe.gaps)
    print(f"{len(found)} of {MESSAGES} arrived, {len(again)} of them again, {resent} of these because the front had no reply; {len(probe.taken)} probes, missing {sorted(missing)[:5]}")
    print(f"longest time without a message taken: {gap:.1f} s; refusals {dict(probe.replies)}, after {max(probe.waits, default=0) + 1} s at most")
    assert len(found) == MESSAGES, f"lost: {MESSAGES - len(found)}"
    assert not missing, f"lost: {sorted(missing)}"
    assert max(probe.waits, default=0) < 10 * rig.TIME_FACTOR, probe.waits
    assert not strange, f"{len(strange)} came again without a reason:\n{history(s, strange[:20])}"
    for node in s.nodes:
        wrong = re.findall(r"(?m)^.*(?:panic|assert).*$", node.logs())
        assert not wrong, wrong
    s.cluster.wait_redundant(120)


def test_a_third_server_that_was_ahead(r):
    """The primary is lost. What it had given to the third server, but not to the synchronous standby, which is primary now, was never
    committed for anybody. The third server gives it up, and is a standby again, without help."""
    cluster = rig.Patroni(r, ttl=TTL)
    lost, (standby,), (third,) = cluster.primary(), cluster.with_role("sync_standby"), cluster.with_role("replica")
    frozen = rig.daemons.stop_all(standby.postmaster())  # what is in the buffers of its sockets will still come
    uri = lost.superuser_uri("postgres")
    with rig.libpq.Connection(uri) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("CREATE TABLE ahead AS SELECT generate_series(1, 500000) AS n")
        end = connection.execute("SELECT pg_current_wal_flush_lsn()::text")[0][0]
    reached = f"SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{end}'"
    rig.wait_for(lambda: rig.libpq.execute(third.superuser_uri("postgres"), reached), 20, "the third server to have more", cluster.describe)
    cluster.lose(lost)
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    rig.wait_for(lambda: standby.role() == "primary", 60 + TTL, "the standby to be primary", cluster.describe)
    cluster.replace(lost)
    cluster.wait_redundant(120)
    assert cluster.execute("SELECT count(*) FROM pg_class WHERE relname = 'ahead'") == [(0,)]


if __name__ == "__main__":
    rig.main(timeout=600 + MESSAGES // 20)

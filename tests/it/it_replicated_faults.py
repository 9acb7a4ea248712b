#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A PostgreSQL that does not replicate, cannot be reached, or answers late: no copy is taken that could be lost, the MTA gets 451 in
time, and nothing is forgotten.

SPLIT_CUT_SECONDS (25): the duration of a cut network; use 300 before a release.
"""

import os
import re
import subprocess
import threading
import time

import rig
from rig.daemons import program
from rig.node import Load, Node, arrived

CUT_SECONDS = int(os.environ.get("SPLIT_CUT_SECONDS", "25"))
REPLY_SECONDS = 10  # until the MTA has its 451
CONCURRENCY = 3
EX_UNAVAILABLE, EX_CONFIG = 69, 78  # systemd does not start splitrelay again after 78


class Site:
    """A primary behind a wire or a cable, its synchronous standby, a sink and a node."""

    def __init__(self, r, hook=None, start=True, has_cable=False):
        self.r = r
        self.wire = cable = rig.Cable(r) if has_cable else None
        self.primary, self.standby = rig.postgres_pair(r, cable=cable)
        self.direct = self.uri = self.primary.create_database("splitmilter")
        if not has_cable:
            self.wire = rig.Wire(r, self.primary.address)
            self.uri = self.direct.replace(f":{self.primary.port}/", f":{self.wire.port}/")
        self.sink = rig.Sink(r, "archive", hook=hook)
        self.node = Node(r, "one", self.uri, self.sink, destination=f"concurrency = {CONCURRENCY}", start=start)
        rig.queue.use(self.node.spool, self.primary.superuser_uri("splitmilter"))  # not over the wire

    def rows(self):
        return rig.queue.select(self.node.spool, "SELECT id, state, due, attempts, owner FROM copy LIMIT 5")

    def wait_empty(self, seconds=60):
        def is_empty():
            return not rig.queue.ids(self.node.spool) and not rig.queue.leftovers(self.node.spool)

        rig.wait_for(is_empty, seconds, "an empty queue",
                     lambda: f"{self.rows()}, {rig.queue.leftovers(self.node.spool)[:5]}\n{self.node.daemon.log()[-4000:]}")

    def refused(self, subject):
        """Send a message that has to be refused in time. Returns the text of the reply."""
        reply, took = self.node.timed_put(subject)
        assert reply.code == 451, reply
        assert took < REPLY_SECONDS * rig.TIME_FACTOR, f"{took:.1f} s"
        return str(reply)

    def wait_taken(self, subject, seconds=30):
        rig.wait_for(lambda: self.node.put(subject).code == 250, seconds, "mail to be taken", lambda: f"{self.node.is_ready()}\n{self.node.daemon.log()[-3000:]}")

    def wait_ready(self, status, seconds=30):
        """Wait for this status of /readyz. Returns its text."""
        rig.wait_for(lambda: self.node.is_ready()[0] == status, seconds, f"/readyz to be {status}", lambda: str(self.node.is_ready()))
        return self.node.is_ready()[1]


def refusal(node, status=EX_CONFIG):
    """splitrelay does not start. Returns what it says."""
    done = subprocess.run([program("splitrelay"), "-c", node.configuration], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30 * rig.TIME_FACTOR, check=False)
    text = done.stdout.decode()
    assert done.returncode == status, f"exit {done.returncode}: {text}"
    return text


def held_until(event):
    """A hook with which the sink answers to contents after the event."""
    def hook(stage, _conn, _arg):
        if stage == "dot":
            assert event.wait(120 * rig.TIME_FACTOR)

    return hook


def test_asynchronous(r):
    """Without synchronous replication splitrelay does not start, and names the setting, or the right that its role lacks to see it."""
    s = Site(r, start=False)
    s.primary.replicate()
    assert "synchronous_standby_names" in refusal(s.node)
    s.primary.replicate(s.standby)
    for level in ("off", "local", "remote_write"):
        s.primary.set(synchronous_commit=level)
        assert "synchronous_commit" in refusal(s.node), level
    s.primary.set(synchronous_commit="on")
    s.primary.execute("REVOKE pg_monitor FROM splitrelay")
    assert "pg_monitor" in refusal(s.node)
    s.primary.execute("GRANT pg_monitor TO splitrelay")
    for level in ("on", "remote_apply"):
        s.primary.set(synchronous_commit=level)
        s.node.start()
        assert s.node.put(level).code == 250
        s.node.stop()
    s.primary.replicate()
    alone = Node(r, "alone", s.direct, s.sink, replicated="no")
    assert alone.put("alone").code == 250
    rig.wait_for(lambda: len(arrived(s.sink)) == 3, 20, "all mail")


def test_started_too_early(r):
    """While the standby, or the primary, is not there yet, splitrelay waits for it, or ends, and systemd starts it again. In both
    cases it serves in the end."""
    s = Site(r, start=False)
    for server in (s.standby, s.primary):
        server.stop()
        helper = threading.Thread(target=s.node.serve, daemon=True)
        helper.start()
        rig.wait_for(lambda: s.node.daemon is not None and s.node.logs(), 20, "an attempt to start")
        server.start()
        helper.join(60 * rig.TIME_FACTOR)
        assert not helper.is_alive() and s.node.daemon.running, s.node.logs()
        s.wait_taken(f"after {server.name}")
        s.node.stop()
        s.node.daemon = None


def test_wrong_settings(r):
    """A database with another encoding, and a wrong password, are reported as such, and no output has the password."""
    s = Site(r, start=False)
    s.primary.execute("CREATE DATABASE latin OWNER splitrelay TEMPLATE template0 ENCODING 'LATIN1'")
    latin = Node(r, "latin", s.primary.uri("latin"), s.sink, start=False)
    assert "UTF8" in refusal(latin, EX_UNAVAILABLE)
    secret = "Open5esame"
    for name, uri in (("wrong", f"postgresql://splitrelay:{secret}@127.0.0.1:{s.primary.port}/splitmilter"),
                      ("query", f"postgresql://splitrelay@127.0.0.1:{s.primary.port}/splitmilter?password={secret}")):
        node = Node(r, name, uri, s.sink, start=False)
        done = subprocess.run([program("splitrelay"), "-c", node.configuration], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30 * rig.TIME_FACTOR, check=False)
        text = done.stdout.decode()
        assert done.returncode not in (0, -6, -11) and "password authentication failed" in text, f"{done.returncode}: {text}"
        text += "".join(map(str, node.ctl("status", check=False))) + "".join(map(str, node.ctl("queue", check=False)))
        text += "".join(map(str, node.ctl("check", check=False)))
        assert secret not in text, text


def test_replication_is_taken_away(r):
    """When the setting or the standby goes away while splitrelay runs, the MTA gets 451 and /readyz is 503, until it is back."""
    s = Site(r)
    assert s.node.put("before").code == 250
    assert s.node.is_ready()[0] == 200, s.node.is_ready()
    s.primary.replicate()
    assert "synchronous_standby_names" in s.wait_ready(503)
    assert "synchronous_standby_names" in s.refused("asynchronous") + s.node.logs()
    assert "asynchronous" not in arrived(s.sink)
    s.primary.replicate(s.standby)
    s.wait_ready(200)
    assert s.node.put("synchronous").code == 250

    s.standby.stop()  # commits wait from now on
    for n in range(3):
        s.refused(f"no standby {n}")
    s.wait_ready(503)
    s.node.daemon.wait_log("error: no mail is taken: .*no standby of synchronous_standby_names")
    s.standby.start()
    s.wait_ready(200)
    s.wait_taken("again")
    s.wait_empty()
    found = arrived(s.sink)
    assert {"before", "synchronous", "again"} <= set(found), found
    assert all(found[x] == 1 for x in ("before", "synchronous", "again")), found


def test_deliveries_without_standby(r):
    """While there is no standby, no mail is taken; but what is queued is delivered, and the node keeps its leases."""
    go_on = threading.Event()
    s = Site(r, hook=held_until(go_on))
    for n in range(20):
        assert s.node.put(f"m{n}").code == 250
    s.standby.stop()
    s.wait_ready(503)

    def until():
        ((seconds,),) = s.primary.execute("SELECT until FROM node", database="splitmilter")
        return int(seconds)

    begin = until()
    # The connections of the node may have to be closed first; a lease ends after 15 seconds.
    rig.wait_for(lambda: until() > begin + 25, 60, "the lease to be renewed", lambda: f"{until() - begin}\n{s.node.daemon.log()[-3000:]}")
    go_on.set()
    rig.wait_for(lambda: len(arrived(s.sink)) == 20, 30, "all copies", lambda: f"{arrived(s.sink)}\n{s.node.daemon.log()[-3000:]}")
    assert s.node.is_ready()[0] == 503, s.node.is_ready()
    s.standby.start()
    s.wait_ready(200)
    s.wait_empty()
    assert set(arrived(s.sink).values()) == {1}, arrived(s.sink)
    assert "lease had run out" not in s.node.daemon.log(), s.node.daemon.log()[-3000:]


def test_a_commit_that_comes_late(r):
    """The standby is silent for longer than the MTA waits, and then confirms. What was refused meanwhile arrives once, or not at all,
    and nothing stays in the queue."""
    s = Site(r)
    assert s.node.put("before").code == 250
    s.standby.freeze()
    for n in range(3):
        s.refused(f"late{n}")
    s.standby.thaw()
    s.wait_ready(200)
    s.wait_taken("after")
    rig.wait_for(lambda: "after" in arrived(s.sink), 30, "further mail", s.node.daemon.log)
    s.wait_empty()
    assert max(arrived(s.sink).values()) == 1, arrived(s.sink)


def test_a_cancelled_wait(r):
    """An administrator ends the wait of a commit for its standby: the MTA gets 451, and the copy does not stay in the queue."""
    s = Site(r, start=False)
    s.primary.execute("ALTER ROLE splitrelay SET client_min_messages = 'error'")  # not for the sessions of splitrelay
    s.node.start()
    assert s.node.put("before").code == 250
    s.wait_empty()
    s.standby.freeze()
    replies = []
    client = threading.Thread(target=lambda: replies.append(s.node.put("cancelled")), daemon=True)
    client.start()

    def cancel():
        s.primary.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return replies

    rig.wait_for(cancel, 20, "a reply", s.node.daemon.log)
    s.standby.thaw()
    assert replies[0].code == 451, replies
    assert "canceling wait for synchronous replication" in s.node.logs(), s.node.logs()
    s.wait_ready(200)
    s.wait_taken("after")
    s.wait_empty()


def cut(s, seconds, meanwhile):
    """Cut the network for so long, and call meanwhile() again and again."""
    s.wire.cut()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        meanwhile()
    s.wire.mend()


def test_cut_network(r):
    """The network to the database is cut, and what was sent meanwhile arrives later: deliveries in progress end, and are recorded
    afterwards. Only copies whose commit was unknown may come twice."""
    cut_network(r, has_cable=False)


def test_pulled_cable(r):
    """As test_cut_network(), but all packets are lost, so the server does not see the end of a connection."""
    cut_network(r, has_cable=True)


def cut_network(r, has_cable):
    reached, go_on = threading.Semaphore(0), threading.Event()

    def hook(stage, _conn, _arg):
        if stage == "dot" and not go_on.is_set():
            reached.release()
            assert go_on.wait(60 * rig.TIME_FACTOR)

    s = Site(r, hook=hook, has_cable=has_cable)
    subjects = {f"m{n}" for n in range(30)}
    for subject in sorted(subjects):
        assert s.node.put(subject).code == 250
    for _ in range(CONCURRENCY):
        assert reached.acquire(timeout=20 * rig.TIME_FACTOR)
    uncertain, waits = set(), []

    def meanwhile():
        subject = f"cut{len(waits)}"
        reply, took = s.node.timed_put(subject)
        assert reply.code == 451, reply
        uncertain.add(subject)
        waits.append(took)
        if not go_on.is_set():
            go_on.set()
            rig.wait_for(lambda: sum(arrived(s.sink).values()) >= CONCURRENCY, 20, "the deliveries in progress to end", s.node.daemon.log)
            s.wait_ready(503)
        assert s.node.daemon.running
        time.sleep(0.2)  # not a busy loop; nothing is waited for

    cut(s, CUT_SECONDS, meanwhile)
    print(f"{len(waits)} refusals, after {max(waits):.1f} s at most")
    assert max(waits) < REPLY_SECONDS * rig.TIME_FACTOR, waits
    s.wait_taken("after")
    s.wait_ready(200)
    rig.wait_for(lambda: subjects | {"after"} <= set(arrived(s.sink)), 60, "all mail", lambda: f"{arrived(s.sink)}\n{s.node.daemon.log()[-3000:]}")
    s.wait_empty()
    again = {x: n for x, n in arrived(s.sink).items() if n > 1}
    assert not set(again) - uncertain, again
    recorded = rig.queue.select(s.node.spool, "SELECT count(DISTINCT copy) FROM history WHERE result = 'sent'")[0][0]
    assert recorded == len(arrived(s.sink)), (recorded, len(arrived(s.sink)))


def test_cuts_under_load(r):
    """The network is cut again and again while mail flows, and connections are reset: no copy is lost."""
    def slow_dot(stage, _conn, _arg):
        if stage == "dot":
            time.sleep(0.01)

    s = Site(r, hook=slow_dot)
    loads = [Load([s.node], prefix=f"load{n}-") for n in range(3)]
    for number in range(6):
        for load in loads:
            load.more(20, 60)
        if number % 2:
            s.wire.reset()
        else:
            cut(s, 3, lambda: time.sleep(0.1))  # shorter than the deadline: commits come late, and are good
    for load in loads:
        load.more(20, 60)
        load.end()
    s.wait_empty(90)
    found = arrived(s.sink)
    taken = {x for load in loads for x in load.taken}
    assert taken <= set(found), f"lost: {sorted(taken - set(found))[:9]}"
    uncertain = {x for load in loads for x in load.uncertain}
    again = {x: n for x, n in found.items() if n > 1 and x not in uncertain}
    print(f"{len(taken)} taken, {len(uncertain)} uncertain, again {again}; {sum((load.replies for load in loads), loads[0].replies.__class__())}")
    assert not again, again


def test_the_primary_restarts(r):
    """A clean restart, and SIGKILL, of the server under load: mail is taken again without help, and no copy is lost."""
    s = Site(r)
    load = Load([s.node])
    for end in (s.primary.stop, s.primary.kill):
        load.more(30, 60)
        end()
        s.primary.start()
    load.more(30, 60)
    load.end()
    s.wait_empty()
    found = arrived(s.sink)
    assert set(load.taken) <= set(found), f"lost: {sorted(set(load.taken) - set(found))[:9]}"
    again = {x: n for x, n in found.items() if n > 1 and x not in load.uncertain}
    print(f"{len(load.taken)} taken, longest gap {max(load.gaps):.1f} s, again {again}")


def test_stopped_without_database(r):
    """A clean stop ends although outcomes cannot be recorded. Nothing is lost, and only what was sent while the database was away
    arrives twice."""
    s = Site(r)
    s.sink.stop()
    for n in range(20):
        assert s.node.put(f"m{n}").code == 250
    s.node.daemon.wait_log("status=deferred")
    s.wire.cut()
    s.sink.start()
    rig.wait_for(lambda: arrived(s.sink), 30, "what is in memory to be delivered", s.node.daemon.log)
    s.node.stop()
    before = arrived(s.sink)
    s.wire.mend()
    s.node.start()
    rig.wait_for(lambda: len(arrived(s.sink)) == 20, 60, "all", lambda: f"{s.rows()}\n{s.node.daemon.log()[-2000:]}")
    s.wait_empty()
    again = {x: n for x, n in arrived(s.sink).items() if n > 1}
    assert set(again) <= set(before) and max(again.values(), default=0) <= 2, again


def test_leases_outlast_a_failover(r):
    """What a node has leased and is delivering is still leased at the standby that becomes the primary, so no other node takes it."""
    go_on = threading.Event()
    s = Site(r, hook=held_until(go_on))
    s.primary.set(wal_writer_delay="10s")  # what is not durable does not get to the standby
    s.node.ctl("suspend", "archive")
    for n in range(20):
        assert s.node.put(f"m{n}").code == 250
    for action in ("hold", "release"):
        s.node.ctl(action, "--all")
    assert owners(s.primary) == {None: 20}, owners(s.primary)
    s.node.ctl("resume", "archive")
    rig.wait_for(lambda: owners(s.primary) == {"one": 20}, 20, "the copies to be leased", lambda: str(owners(s.primary)))
    s.primary.kill()
    s.standby.execute("SELECT pg_promote()")
    assert owners(s.standby) == {"one": 20}, owners(s.standby)
    go_on.set()


def test_a_session_with_another_setting(r):
    """A changed setting of the role applies to new sessions alone. As soon as the writer has a new session, mail is refused."""
    s = Site(r)
    assert s.node.put("before").code == 250
    s.primary.execute("ALTER ROLE splitrelay SET synchronous_commit = 'local'")
    assert s.node.put("with the old session").code == 250
    s.primary.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    rig.wait_for(lambda: "synchronous_commit" in s.refused("local") + s.node.logs(), 20, "a refusal by the new session")
    s.primary.execute("ALTER ROLE splitrelay RESET synchronous_commit")
    s.primary.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    s.wait_taken("after")
    s.wait_empty()


def owners(server):
    return dict(server.execute("SELECT owner, count(*) FROM copy GROUP BY owner", database="splitmilter"))


def test_log_lines(r):
    """An outage makes few lines in the log, and the password is in none."""
    s = Site(r)
    s.wire.cut()
    for n in range(2):
        s.refused(f"m{n}")
    s.wire.mend()
    s.wait_taken("after")
    text = s.node.logs()
    lines = [ln for ln in text.split("\n") if re.search("error|warning", ln)]
    assert 0 < len(lines) < 40, lines
    assert s.primary.passwords["splitrelay"] not in text
    s.wait_empty()


if __name__ == "__main__":
    rig.main(timeout=150 + 2 * CUT_SECONDS)

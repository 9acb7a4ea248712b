#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Connections to the primary that are kept after their client's session: which clients get them, when they are closed, and that
no client gets an error because of them."""

import threading

import rig
from it_duplicate import OK, SHORT, Script, message
from rig.duplicator import subjects


def said_by(sink, number):
    """The commands on this connection, without the arguments."""
    return [line.split(":")[0].split(" ")[0] for n, line in sink.commands if n == number]


def leave(c):
    """Send QUIT, and wait until the session has ended. Its connection to the primary is in the pool by then."""
    assert c.cmd("QUIT").code == 221
    assert c.file.read() == b""


def talk(d, subject):
    """Send one message with a client of its own. Returns the last reply."""
    with d.client() as c:
        replies = [c.mail("s@x.test"), c.rcpt("a@x.test")]
        reply = c.data(message(subject)) if all(x.code == 250 for x in replies) else replies[0]
        leave(c)
    return str(reply)


def test_one_connection_for_many_clients(r):
    """Clients that each send one message share one connection to the primary, with one EHLO."""
    d = rig.Duplicator(r)
    for i in range(20):
        assert talk(d, f"m{i:02d}") == OK
    assert d.primary.connections == d.primary.open_connections == 1
    assert subjects(d.primary) == [f"m{i:02d}" for i in range(20)]
    assert "RSET" not in said_by(d.primary, 1) and said_by(d.primary, 1).count("EHLO") == 1
    d.daemon.wait_log("conn_use=20, ")
    d.backups["newmail"].wait(20)


def test_what_a_client_left_undone(r):
    """A transaction that a client left open does not affect the next client: RSET is sent, or the connection is closed if it was
    within the content."""
    d = rig.Duplicator(r)
    with d.client() as c:
        c.mail("first@x.test")
        c.rcpt("a@x.test")
        leave(c)
    assert talk(d, "next") == OK
    assert d.primary.accepted[0].sender == "s@x.test"
    c = d.client()
    c.mail("half@x.test")
    c.rcpt("a@x.test")
    assert c.cmd("DATA").code == 354
    c.write(b"Subject: half\r\n")
    c.close()
    assert talk(d, "last") == OK
    d.backups["newmail"].wait(2)
    assert subjects(d.primary) == subjects(d.backups["newmail"]) == ["last", "next"]


def use_after(r, listener, break_it):
    """Check that a message gets through, without an error for the client, when the kept connection no longer works."""
    primary = rig.Sink(r, "primary", extensions=("PIPELINING", "XFORWARD NAME ADDR PROTO HELO IDENT"))
    d = rig.Duplicator(r, listener=listener, primary=primary)
    assert talk(d, "one") == OK
    break_it(d.primary)
    assert talk(d, "two") == OK
    assert subjects(d.primary) == ["one", "two"]
    assert d.primary.connections == 2, d.primary.connections
    d.backups["newmail"].wait(2)
    d.daemon.stop()


def restart(sink):
    sink.stop()
    sink.start()


def answer_once(**answers):
    def set_hook(sink):
        sink.hook = Script(**{stage: [said] for stage, said in answers.items()})

    return set_hook


def test_restarted_primary(r):
    """A message gets through after a restart of the primary."""
    use_after(r, "", restart)


def test_closed_at_mail(r):
    """A message gets through if the primary closes a kept connection at MAIL."""
    use_after(r, "", answer_once(mail=rig.CLOSE))


def test_421_at_mail(r):
    """A message gets through if the primary replies 421 to MAIL on a kept connection."""
    use_after(r, "", answer_once(mail="421 4.3.2 too many messages over this connection"))


def test_hung_at_mail(r):
    """A message gets through if a kept connection hangs at MAIL."""
    use_after(r, SHORT, answer_once(mail=rig.HANG))


def test_421_to_xforward(r):
    """A message gets through if the primary replies 421 to XFORWARD on a kept connection."""
    use_after(r, 'xforward = "yes"', answer_once(xfor="421 4.4.2 idle for too long"))


def test_421_to_xforward_and_another_host(r):
    """If a new connection lacks an extension that the words of MAIL need, the client gets 451, and no word is dropped silently."""
    xforward = "XFORWARD NAME ADDR PROTO HELO IDENT"
    primary = rig.Sink(r, "primary", extensions=("PIPELINING", "8BITMIME", "DSN", xforward))
    d = rig.Duplicator(r, listener='xforward = "yes"', primary=primary)
    assert talk(d, "one") == OK
    primary.extensions = ("PIPELINING", xforward)
    primary.hook = Script(xfor=["421 4.4.2 idle for too long"])
    with d.client() as c:
        assert "8BITMIME" in c.extensions and "DSN" in c.extensions, c.extensions
        said = str(c.mail("s@x.test", "BODY=8BITMIME RET=HDRS"))
        assert said.startswith("451 4.4.2 host ") and "other extensions than before" in said, said
        leave(c)
    with d.client() as c:
        assert not {"8BITMIME", "DSN"} & set(c.extensions), c.extensions
        leave(c)
    # A message that does not need the extensions gets through.
    primary.extensions = ("PIPELINING", "8BITMIME", xforward)
    d.primary.cut()
    assert talk(d, "two") == OK
    primary.extensions = ("PIPELINING", xforward)
    primary.hook = Script(xfor=["421 4.4.2 idle for too long"])
    assert talk(d, "three") == OK
    assert subjects(primary) == ["one", "three", "two"]


def test_421_to_rset(r):
    """If the primary replies 421 to the RSET after another client's open transaction, the next message uses a new connection."""
    d = rig.Duplicator(r)
    with d.client() as c:
        c.mail("first@x.test")
        leave(c)
    d.primary.hook = Script(rset=["421 4.7.0 too many errors"])
    assert talk(d, "m") == OK
    assert subjects(d.primary) == ["m"]


def test_who_the_client_is(r):
    """XFORWARD is sent anew for each message, so that no attribute of one client is sent for another."""
    primary = rig.Sink(r, "primary", extensions=("PIPELINING", "XFORWARD NAME ADDR PROTO HELO IDENT"))
    d = rig.Duplicator(r, listener='xforward = "yes"', primary=primary)
    for helo in ("one.test", "two.test"):
        with d.client(helo=helo) as c:
            if helo == "one.test":
                c.cmd("XFORWARD NAME=known.test ADDR=192.0.2.7 IDENT=ID1 PROTO=SMTP HELO=h.test")
            c.mail("s@x.test")
            c.rcpt("a@x.test")
            assert c.data(message(helo)).code == 250
            leave(c)
    said = [line for _, line in primary.commands if line.startswith("XFORWARD")]
    assert said == [
        "XFORWARD NAME=known.test ADDR=192.0.2.7 PROTO=SMTP",
        "XFORWARD HELO=h.test IDENT=ID1",
        "XFORWARD NAME=[UNAVAILABLE] ADDR=127.0.0.1 PROTO=ESMTP",
        "XFORWARD HELO=two.test IDENT=[UNAVAILABLE]",
    ], said
    assert primary.connections == 1


class Counting:
    """A hook: after `most` messages on a connection each MAIL gets 452, as with OpenSMTPD."""

    def __init__(self, most):
        self.most = most
        self.lock = threading.Lock()
        self.seen = {}

    def __call__(self, stage, conn, _arg):
        with self.lock:
            if stage != "mail":
                return None
            self.seen[conn.number] = self.seen.get(conn.number, 0) + 1
            return "452 4.5.3 Too many messages sent" if self.seen[conn.number] > self.most else None


def test_primary_with_a_limit_of_messages(r):
    """No client is refused because of a limit of messages for a connection, whether splitrelay counts or the primary does."""
    free = "max_messages_per_connection = 0"
    for number, (listener, limit) in enumerate((("", 100), (free, 10), (free + ' xforward = "yes"', 10))):
        primary = rig.Sink(r, f"primary{number}", extensions=("PIPELINING", "XFORWARD NAME ADDR PROTO HELO IDENT"), hook=Counting(limit))
        d = rig.Duplicator(r, listener=listener, primary=primary)
        count = limit * 13 // 10
        for i in range(count):
            assert talk(d, f"a{i:03d}") == OK
        assert primary.connections == 2
        with d.client() as c:
            for i in range(count):
                assert [c.mail("s@x.test").code, c.rcpt("a@x.test").code] == [250, 250], i
                assert c.data(message(f"b{i:03d}")).code == 250
        assert primary.connections == 3
        assert subjects(primary) == [f"{x}{i:03d}" for x in "ab" for i in range(count)]
        assert max(primary.hook.seen.values()) == (limit if number == 0 else limit + 1), primary.hook.seen
        xforwards = [line for _, line in primary.commands if line.startswith("XFORWARD ")]
        assert len(xforwards) == (0 if number < 2 else (2 * count + 2) * 2), len(xforwards)
        d.daemon.stop()


def test_limit_of_messages(r):
    """After max_messages_per_connection messages a connection is closed with QUIT."""
    d = rig.Duplicator(r, listener="max_messages_per_connection = 3")
    for i in range(10):
        assert talk(d, f"m{i}") == OK
    assert d.primary.connections == 4
    assert [said_by(d.primary, n).count("MAIL") for n in range(1, 5)] == [3, 3, 3, 1]
    assert [said_by(d.primary, n)[-1] for n in range(1, 4)] == ["QUIT"] * 3


def test_mail_that_is_deferred_always(r):
    """If the primary always defers MAIL, the client gets the reply after one attempt on a new connection."""
    d = rig.Duplicator(r)
    assert talk(d, "one") == OK
    d.primary.hook = Script(mail="451 4.7.1 grey")
    with d.client() as c:
        assert str(c.mail("s@x.test")) == "451 4.7.1 grey"
    assert d.primary.connections == 2
    assert len([line for _, line in d.primary.commands if line.startswith("MAIL")]) == 3


def test_refusals_are_not_handed_on(r):
    """A connection with a refusal is not used for another client. The same client's next message uses it."""
    refusals = {
        "mail": "550 5.1.8 no",
        "rcpt": "550 5.1.1 no",
        "data": "554 5.7.1 no",
        "dot": "554 5.7.1 no",
    }
    d = rig.Duplicator(r)
    for number, (stage, text) in enumerate(refusals.items()):
        assert talk(d, f"before {stage}") == OK
        assert d.primary.connections == number + 1
        with d.client() as c:
            d.primary.hook = Script(**{stage: [text]})
            replies = [c.mail("s@x.test"), c.rcpt("a@x.test"), c.data(message("no"))]
            assert text in [str(x) for x in replies], replies
            c.cmd("RSET")
            assert c.mail("s@x.test").code == 250 and c.rcpt("a@x.test").code == 250
            assert c.data(message(f"own {stage}")).code == 250
            leave(c)
        assert d.primary.connections == number + 1
        assert said_by(d.primary, number + 1)[-1] == "QUIT"
    assert talk(d, "last") == OK
    assert d.primary.connections == len(refusals) + 1


def test_bound_and_idle_time(r):
    """At most pool_connections are kept, and a connection that is not used is closed with QUIT after pool_idle_time."""
    d = rig.Duplicator(r, listener='pool_connections = 2 pool_idle_time = "1s"')
    clients = [d.client() for _ in range(6)]
    for i, c in enumerate(clients):
        c.mail("s@x.test")
        c.rcpt("a@x.test")
        assert c.data(message(str(i))).code == 250
    assert d.primary.connections == 6
    for c in clients:
        leave(c)
    rig.wait_for(lambda: d.primary.open_connections <= 2, 10, "two idle connections")
    rig.wait_for(lambda: d.primary.open_connections == 0, 10, "no connection")
    assert len([line for _, line in d.primary.commands if line == "QUIT"]) == 6


def test_reload_and_stop(r):
    """After a reload a new connection is used. Kept connections do not delay a stop."""
    d = rig.Duplicator(r, listener='pool_idle_time = "1h"')
    assert talk(d, "one") == OK
    assert "not" not in d.reload()
    rig.wait_for(lambda: d.primary.open_connections == 0, 5, "no connection")
    assert talk(d, "two") == OK
    assert d.primary.connections == 2
    d.daemon.stop()
    rig.wait_for(lambda: d.primary.open_connections == 0, 5, "no connection")
    assert [line for _, line in d.primary.commands].count("QUIT") == 2


def test_many_clients_at_once(r):
    """With sixteen clients at a time and a primary that is cut again and again, each message that got 250 is at the primary and
    at the backup, with its own sender and recipient."""
    d = rig.Duplicator(r, listener="pool_connections = 4")
    failures, sent = [], []
    stop = threading.Event()

    def client(number):
        for i in range(60):
            try:
                rig.send(d.address, f"{number}-{i}@x.test", [f"r{number}@x.test"], message(f"{number}-{i}"))
                sent.append(f"{number}-{i}")
            except (OSError, AssertionError) as e:
                failures.append(str(e))

    def cutter():
        while not stop.wait(0.1):
            d.primary.cut()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(16)]
    cutting = threading.Thread(target=cutter)
    for t in [*threads, cutting]:
        t.start()
    for t in threads:
        t.join()
    stop.set()
    cutting.join()
    assert len(sent) > 300 and all(" 451 4.4.2 " in f for f in failures), (len(sent), failures[:3])
    for sink in (d.primary, d.backups["newmail"]):
        rig.wait_for(lambda sink=sink: set(subjects(sink)) >= set(sent), 30, f"{len(sent)} messages at {sink.name}")
        for t in sink.accepted:
            subject = t.headers("Subject")[0]
            assert t.sender == f"{subject}@x.test" and t.addrs == [f"r{subject.split('-')[0]}@x.test"], t


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The flow of copies to a destination: numbers of connections, messages for each connection, rates, transactions; and that no
destination starves another."""

import os
import threading
import time

import rig

TEN = [f"d{i}" for i in range(10)]


class Relay:
    """splitrelay with a sink for each destination."""

    def __init__(self, r, destinations, relay=""):
        """destinations: name -> its options"""
        self.rig = r
        self.sinks = {name: rig.Sink(r, name) for name in destinations}
        self.address = ("127.0.0.1", r.free_port())
        spool = r.path("spool")
        os.mkdir(spool, 0o700)
        self.text = (
            'log { target = "stderr" level = "debug" }\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{spool}" {relay} }}\n'
        ) + "".join(
            f'destination {name} {{ relay_to = {{ "{self.sinks[name].bracketed}" }} retry_min = "1s" retry_max = "1s" {options} }}\n'
            for name, options in destinations.items()
        )
        self.daemon = rig.start_splitrelay(r, self.text, self.address)

    def send(self, count, destinations, recipients=("anna@example.com",)):
        """Send `count` messages over one connection, each with copies for these destinations."""
        with rig.SmtpClient(self.address) as c:
            for i in range(count):
                rcpts = [f"{a}.{d}.copy.split.invalid" for d in destinations for a in recipients]
                c.mail("s@sender.test")
                for rcpt in rcpts:
                    assert str(c.rcpt(rcpt)).startswith("250"), rcpt
                assert str(c.data(f"Subject: {i}\r\n\r\nx\r\n".encode())).startswith("250")


class Gate:
    """A hook that holds the reply to each dot until it is opened, and counts the replies that it holds."""

    def __init__(self):
        self.open = threading.Event()
        self.held = 0
        self.peak = 0
        self.lock = threading.Lock()

    def __call__(self, stage, _conn, _arg):
        if stage != "dot":
            return
        with self.lock:
            self.held += 1
            self.peak = max(self.peak, self.held)
        self.open.wait(60)
        with self.lock:
            self.held -= 1


def test_slow_start(r):
    """A destination gets initial_concurrency connections at first, and more, up to concurrency, as deliveries succeed."""
    t = Relay(r, {"d": "initial_concurrency = 2 concurrency = 6"})
    sink = t.sinks["d"]
    sink.hook = gate = Gate()
    t.send(60, ["d"])
    rig.wait_for(lambda: gate.held == 2, 10, "two connections", t.daemon.log)
    assert sink.connections == 2, "more than initial_concurrency"
    gate.open.set()
    sink.wait(60)
    sink.hook = gate = Gate()
    t.send(20, ["d"])
    rig.wait_for(lambda: gate.held == 6, 10, "concurrency to be reached", t.daemon.log)
    gate.open.set()
    sink.wait(80)
    assert gate.peak == 6, gate.peak


def test_messages_per_connection(r):
    """A connection is used for max_messages_per_connection messages, and no copy is deferred for that."""
    t = Relay(r, {"d": "concurrency = 1 max_messages_per_connection = 3"})
    t.send(10, ["d"])
    found = t.sinks["d"].wait(10)
    assert [x.conn for x in found] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4], found
    assert not t.daemon.log_lines("deferred|suspended")


def test_421_on_a_reused_connection(r):
    """If a server ends each connection after two messages, with 421 or without a reply, no copy is deferred."""
    t = Relay(r, {"d": "concurrency = 1"})
    sink = t.sinks["d"]
    for number, word in enumerate(("421 4.7.0 enough", rig.CLOSE)):
        uses = {}

        def hook(stage, conn, _arg, uses=uses, word=word):
            if stage == "mail":
                uses[conn.number] = uses.get(conn.number, 0) + 1
                if uses[conn.number] > 2:
                    return word
            return None

        sink.hook = hook
        t.send(10, ["d"])
        sink.wait(10 * (number + 1))
        assert len(uses) >= 5, uses
    assert not t.daemon.log_lines("deferred|suspended"), t.daemon.log()


def test_recipients_in_transactions(r):
    """A copy with more recipients than recipient_limit, or than the server accepts, is sent at once in several transactions over
    one connection."""
    t = Relay(r, {"d": "recipient_limit = 5 concurrency = 1"})
    sink = t.sinks["d"]
    people = [f"r{i}@example.com" for i in range(12)]
    t.send(1, ["d"], people)
    found = sink.wait(3)
    assert [x.addrs for x in found] == [people[:5], people[5:10], people[10:]], found

    def hook(stage, conn, _arg):
        return "452 4.5.3 Too many recipients" if stage == "rcpt" and len(conn.txn.rcpts) >= 3 else None

    sink.hook = hook
    t.send(1, ["d"], people)
    found = sink.wait(7)[3:]
    assert [x.addrs for x in found] == [people[i : i + 3] for i in (0, 3, 6, 9)], found
    assert sink.connections == 1
    assert len(t.daemon.wait_log("status=sent", count=24)) == 24
    assert not t.daemon.log_lines("deferred"), t.daemon.log()


def test_rate_limit(r):
    """With rate_limit messages are evenly spaced, for any number of connections."""
    t = Relay(r, {"d": 'rate_limit = "10/1s" concurrency = 5'})
    t.send(25, ["d"])
    found = t.sinks["d"].wait(25, seconds=15)
    times = sorted(x.when for x in found)
    print(f"25 messages at 10/1s took {times[-1] - times[0]:.2f} s, {t.sinks['d'].connections} connections")
    assert times[-1] - times[0] >= 2.3, times
    for i in range(14):
        assert times[i + 11] - times[i] >= 0.9, (i, times)
    assert t.sinks["d"].connections <= 3, "connections that only wait for their turn"


def test_rate_limit_does_not_delay_a_stop(r):
    t = Relay(r, {"d": 'rate_limit = "1/1h"'})
    t.send(5, ["d"])
    t.sinks["d"].wait(1)
    begin = time.monotonic()
    t.daemon.stop()
    took = time.monotonic() - begin
    assert took < 4 * rig.TIME_FACTOR, f"{took:.1f} s"
    assert len(t.sinks["d"].accepted) == 1


def drain_seconds(t, count, slow):
    """The seconds that the destinations other than `slow` need for `count` messages to all ten."""
    begin = time.monotonic()
    t.send(count, TEN)
    for name in TEN:
        if name != slow:
            t.sinks[name].wait(t.messages + count, seconds=60)
    t.messages += count
    return time.monotonic() - begin


def test_nothing_starves(r):
    """While one destination of ten hangs at any step, the other nine get their copies as before."""
    t = Relay(r, {name: 'concurrency = 3 command_timeout = "1h" connect_timeout = "1h"' for name in TEN})
    t.messages = 0
    well = drain_seconds(t, 40, None)
    ratios = {}
    for stage in ("connect", "mail", "dot"):
        sick = t.sinks["d3"]
        sick.hook = lambda s, _c, _a, stage=stage: rig.HANG if s == stage else None
        sick.cut()
        before = len(sick.accepted)
        ratios[stage] = drain_seconds(t, 40, "d3") / well
        assert len(sick.accepted) == before, "it did not hang"
        sick.hook = None
        sick.cut()
        sick.wait(t.messages, seconds=60)
    print("time of nine while the tenth hangs / while it is well:", {k: round(v, 2) for k, v in ratios.items()})


if __name__ == "__main__":
    rig.main()

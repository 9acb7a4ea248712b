#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Clients that keep others out, or the log busy: silent ones, slow ones, and those that are refused again and again."""

import re
import select
import threading
import time

import rig

LIMITS = "max_connections = 20"


def message(subject):
    return f"Subject: {subject}\r\n\r\nx\r\n".encode()


def copy_to(address, subject):
    """Hand a copy over, as an MTA does: again after 421. The seconds that it took."""
    begin = time.monotonic()

    def sent():
        try:
            return rig.send(address, "s@x.test", ["a@x.test.newmail.copy.split.invalid"], message(subject)).code == 250
        except (rig.SmtpError, OSError) as e:
            if "421" in str(e) or "closed" in str(e) or isinstance(e, OSError):
                return False
            raise

    rig.wait_for(sent, 20, f"copy {subject}")
    return time.monotonic() - begin


def silent(address, how, count):
    """Connections that say no more than `how`, one after the other."""
    clients = []
    for _ in range(count):
        c = rig.SmtpClient(address, helo=None, greet=False)
        c.write(how)
        clients.append(c)
    return clients


def test_silent_clients(r):
    """From the MTA's own address: before the first command, after EHLO, between messages, and within one."""
    d = rig.Duplicator(r, relay=LIMITS)
    for number, (how, seconds) in enumerate(
        (
            ("", 10),
            ("EHLO x\r\n", 10),
            ("EHLO x\r\nMAIL FROM:<s@x.test>\r\nRSET\r\n", 10),
            ("EHLO x\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\nhalf", 18),
        )
    ):
        crowd = silent(d.address, how, 30)
        took = copy_to(d.address, str(number))
        assert took < seconds * rig.TIME_FACTOR, (how, took)
        for c in crowd:
            c.close()
    assert len(d.backups["newmail"].wait(4)) == 4
    d.daemon.stop()


def test_crowd_that_comes_back(r):
    """Silent clients that come back when they are sent away, while mail goes on."""
    d = rig.Duplicator(r, relay=LIMITS)
    stop = threading.Event()
    is_full = threading.Barrier(4)

    def crowd():
        clients = silent(d.address, "", 10)
        is_full.wait()
        while not stop.wait(0.5):
            clients += silent(d.address, "", 10 - len(clients))
            readable = select.select([c.sock for c in clients], [], [], 0)[0]
            for c in [c for c in clients if c.sock in readable and b"421" in c.sock.recv(1000)]:
                c.close()
                clients.remove(c)
        for c in clients:
            c.close()

    threads = [threading.Thread(target=crowd) for _ in range(3)]
    for t in threads:
        t.start()
    is_full.wait()
    try:
        for number in range(5):
            copy_to(d.address, str(number))
    finally:
        stop.set()
        for t in threads:
            t.join()
    d.backups["newmail"].wait(5)
    d.daemon.stop()


def test_refused_again_and_again(r):
    """A client that only asks for recipients that are refused is sent away, and does not fill the log."""
    d = rig.Duplicator(r)
    d.primary.hook = lambda stage, *_: "550 5.1.1 no such user" if stage == "rcpt" else None
    for address in (d.address, r.path("relay.sock")):
        replies = 0
        for _ in range(30):
            with rig.SmtpClient(address) as c:
                c.mail("s@x.test")
                try:
                    c.write("RCPT TO:<nobody@y.test>\r\n" * 2000)
                    last = c.read()
                    while last.code == 550:
                        replies += 1
                        last = c.read()
                    assert str(last).startswith("421 4.7.0"), last
                except OSError:
                    pass  # the connection is gone before all was sent
        assert replies <= 30 * 160, replies  # the limit, and what was under way to the primary
        assert replies > 0
    lines = d.daemon.log_lines("reject: RCPT")
    assert 200 <= len(lines) < 1300, len(lines)
    d.daemon.wait_log("from here on they are not logged")
    # A message makes good for errors, and many recipients that are refused are no reason to be sent away.
    d.primary.hook = lambda stage, _c, arg: "550 5.1.1 no such user" if stage == "rcpt" and "nobody" in arg else None
    with d.client() as c:
        for i in range(5):
            c.mail("s@x.test")
            assert [c.rcpt(f"nobody{k}@y.test").code for k in range(50)] == [550] * 50
            assert c.rcpt("a@y.test").code == 250
            assert c.data(message(f"good {i}")).code == 250
    d.backups["newmail"].wait(5)
    d.daemon.stop()


def test_first_command(r):
    d = rig.Duplicator(r, relay='first_command_timeout = "1s"')
    for address in (d.address, r.path("relay.sock")):
        begin = time.monotonic()
        with rig.SmtpClient(address, helo=None) as c:
            assert str(c.read()).startswith("421 4.4.2")
        assert time.monotonic() - begin < 15 * rig.TIME_FACTOR
    d.daemon.stop()


def test_postfix_at_full_speed(r):
    """The defaults are nothing that Postfix notices: all its connections at once, and hundreds of messages."""
    backup = rig.Sink(r, "newmail")
    d = rig.Duplicator(r, backups=(backup,))
    pf = rig.Postfix(
        r,
        "front",
        {"relayhost": f"[127.0.0.1]:{d.address[1]}", "default_destination_concurrency_limit": "100", "initial_destination_concurrency": "100"},
    )
    pf.start()
    rig.smtp_source(pf.address, 400, sessions=10)
    backup.wait(400, 60)
    with open(pf.maillog, encoding="utf-8") as f:
        assert not re.search("said: 421|refused to talk", f.read())
    assert not d.daemon.log_lines("refused connection|too many")
    d.daemon.stop()


if __name__ == "__main__":
    rig.main()

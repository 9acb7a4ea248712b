#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Clients that occupy connections or fill the log: silent ones, slow ones, and clients that are refused again and again."""

import os
import re
import select
import threading
import time

import rig

LIMITS = "max_connections = 20"


def message(subject):
    return f"Subject: {subject}\r\n\r\nx\r\n".encode()


def copy_to(address, subject):
    """Send a copy as an MTA does, again after 421. Returns the seconds that it took."""
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
    """Make `count` connections that send no more than `how`."""
    clients = []
    for _ in range(count):
        c = rig.SmtpClient(address, helo=None, greet=False)
        c.write(how)
        clients.append(c)
    return clients


def test_silent_clients(r):
    """A copy gets through although clients at the MTA's own address hold all connections and are silent: before the first
    command, after EHLO, between messages, or within a message."""
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
    """Copies get through while silent clients connect again each time that they are disconnected."""
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
    """A client whose recipients are all refused gets 421, and cannot fill the log. An accepted message resets the count."""
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
                    pass  # the connection was closed before all was sent
        assert replies <= 30 * 160, replies  # the limit, and commands that the primary had already got
        assert replies > 0
    lines = d.daemon.log_lines("reject: RCPT")
    assert 200 <= len(lines) < 1300, len(lines)
    d.daemon.wait_log("from here on they are not logged")
    # An accepted message resets the count of errors, so many refused recipients do not end the session.
    d.primary.hook = lambda stage, _c, arg: "550 5.1.1 no such user" if stage == "rcpt" and "nobody" in arg else None
    with d.client() as c:
        for i in range(5):
            c.mail("s@x.test")
            assert [c.rcpt(f"nobody{k}@y.test").code for k in range(50)] == [550] * 50
            assert c.rcpt("a@y.test").code == 250
            assert c.data(message(f"good {i}")).code == 250
    d.backups["newmail"].wait(5)
    d.daemon.stop()


def pipeline(c, *lines):
    """Send all lines at once. Returns the codes of the replies until the connection ends."""
    c.write("".join(f"{line}\r\n" for line in lines))
    replies = []
    try:
        for _ in lines:
            replies.append(c.read())
    except (rig.SmtpError, OSError):
        pass
    return [reply.code for reply in replies]


def test_behind_a_refusal(r):
    """RCPT and DATA that an MTA pipelined behind a refused command do not count as errors, up to a limit."""
    d = rig.Duplicator(r, relay='message_size_limit = "64k"')
    with rig.SmtpClient(r.path("relay.sock")) as c:
        for _ in range(30):
            unknown = pipeline(c, "MAIL FROM:<s@x.test>", "RCPT TO:<a@x.test.nosuch.copy.split.invalid>", "DATA", "RSET")
            assert unknown == [250, 451, 554, 250], unknown
        recipients = [f"RCPT TO:<a{i}@x.test.newmail.copy.split.invalid>" for i in range(50)]
        too_large = pipeline(c, "MAIL FROM:<s@x.test> SIZE=1000000", *recipients, "DATA", "RSET")
        assert too_large == [452] + [503] * 51 + [250], too_large
        assert c.mail("s@x.test").code == 250
        assert c.rcpt("a@x.test.newmail.copy.split.invalid").code == 250
        assert c.data(message("good")).code == 250
    d.backups["newmail"].wait(1)
    # Too many of them are not taken for pipelining, and without a refusal before them each one is an error.
    with rig.SmtpClient(r.path("relay.sock")) as c:
        codes = pipeline(c, "MAIL FROM:<s@x.test> SIZE=1000000", *["RCPT TO:<a@x.test>"] * 1100)
        assert codes == [452] + [503] * 1019 + [421], codes[-3:]
    with rig.SmtpClient(r.path("relay.sock")) as c:
        codes = pipeline(c, *["RCPT TO:<a@x.test>"] * 30)
        assert codes == [503] * 19 + [421], codes
    d.daemon.stop()


def test_too_many_recipients(r):
    """452 "too many recipients" does not count as an error, because it asks for another message with the other recipients."""
    lmtp = rig.Duplicator(r, listener='protocol = "lmtp"')
    smtp = rig.Duplicator(r, backups=("other",), start=False)
    smtp.own_relay = f'listen = {{ "unix:{r.path("other.sock")}" }}'
    smtp.spool = r.path("other")
    os.mkdir(smtp.spool, 0o700)
    smtp.start()
    smtp.primary.hook = lambda stage, conn, _arg: "452 4.5.3 too many recipients" if stage == "rcpt" and len(conn.txn.rcpts) == 100 else None
    for d, most in ((lmtp, 1), (smtp, 100)):
        with d.client() as c:
            c.mail("s@x.test")
            codes = [c.rcpt(f"a{i}@x.test").code for i in range(600)]
            assert codes == [250] * most + [452] * (600 - most), codes
            assert c.data(message("m")).code == 250
        (backup,) = d.backups.values()
        assert len(backup.wait(1)[0].rcpts) == most
        with d.client() as c:
            c.mail("s@x.test")
            codes = pipeline(c, *(f"RCPT TO:<a{i}@x.test>" for i in range(1500)))
            assert len(codes) < 1300 and codes[-1] == 421, (len(codes), codes[-1])
        d.daemon.stop()


def test_first_command(r):
    """A client without a command is disconnected after first_command_timeout, at a listener and at a socket for copies."""
    d = rig.Duplicator(r, relay='first_command_timeout = "1s"')
    for address in (d.address, r.path("relay.sock")):
        begin = time.monotonic()
        with rig.SmtpClient(address, helo=None) as c:
            assert str(c.read()).startswith("421 4.4.2")
        assert time.monotonic() - begin < 15 * rig.TIME_FACTOR
    d.daemon.stop()


def test_postfix_at_full_speed(r):
    """With the default limits Postfix is never refused, with 100 connections at once and hundreds of messages."""
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

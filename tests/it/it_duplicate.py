#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A listener that duplicates: the client gets the primary's replies, and the backups get exactly the messages that the primary
accepted."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import rig
from rig.duplicator import subjects

SHORT = 'command_timeout = "2s" connect_timeout = "2s"'


def message(subject, body="x"):
    return f"Subject: {subject}\r\n\r\n{body}\r\n".encode()


class Script:
    """A hook that gives fixed answers at some stages: always the same one, or those of a list in order."""

    def __init__(self, **answers):
        self.answers = {stage: list(said) if isinstance(said, list) else said for stage, said in answers.items()}
        self.lock = threading.Lock()

    def __call__(self, stage, _conn, _arg):
        with self.lock:
            said = self.answers.get(stage)
            if isinstance(said, list):
                return said.pop(0) if said else None
            return said


def talk(d, subject, rcpts=("a@x.test", "b@x.test"), lmtp=False):
    """Send one message, command by command. Returns the replies to MAIL, RCPT ..., DATA and the content, up to a refusal."""
    said = []
    with d.client(lmtp=lmtp) as c:
        said.append(str(c.mail("s@x.test")))
        if said[0][0] != "2":
            return said
        replies = [str(c.rcpt(a)) for a in rcpts]
        said += replies
        if not any(x[0] == "2" for x in replies):
            return said
        reply = c.cmd("DATA")
        said.append(str(reply))
        if reply.code == 354:
            c.write(rig.quote_message(message(subject)))
            said += [str(c.read()) for _ in range(sum(x[0] == "2" for x in replies) if lmtp else 1)]
    return said


# Name of the fault, the primary's answers, the client's last reply, the number of recipients (of two) with a copy.
OK = "250 2.0.0 Ok"
TABLE = (
    ("all well", {}, OK, 2),
    ("421 as greeting", {"connect": "421 4.3.2 busy"}, "451 4.3.2 host .* refused to talk to me: 421 4.3.2 busy", 0),
    ("554 as greeting", {"connect": "554 5.3.2 no"}, "451 4.3.2 host .* refused to talk to me: 554", 0),
    ("closed on connect", {"connect": rig.CLOSE}, "451 4.4.2 lost connection", 0),
    ("hung on connect", {"connect": rig.HANG}, "451 4.4.2 conversation .* timed out", 0),
    ("4xx to EHLO", {"helo": "451 4.3.0 later"}, "451 4.3.0 host", 0),
    ("4xx to MAIL", {"mail": "451 4.7.1 grey"}, "451 4.7.1 grey$", 0),
    ("5xx to MAIL", {"mail": "550 5.1.8 who?"}, r"550 5\.1\.8 who\?$", 0),
    ("421 to MAIL", {"mail": "421 4.3.2 going down"}, "451 4.3.2 host .* said: 421 4.3.2 going down", 0),
    ("closed at MAIL", {"mail": rig.CLOSE}, "451 4.4.2 lost connection", 0),
    ("hung at MAIL", {"mail": rig.HANG}, "451 4.4.2 conversation .* timed out", 0),
    ("4xx to RCPT", {"rcpt": "450 4.2.1 later"}, "450 4.2.1 later$", 0),
    ("5xx to RCPT", {"rcpt": "550-5.1.1 no such user\r\n550 5.1.1 here"}, "550 5.1.1 no such user / 5.1.1 here$", 0),
    ("one recipient refused", {"rcpt": ["550 5.1.1 no", None]}, OK, 1),
    ("the other deferred", {"rcpt": [None, "450 4.2.2 full"]}, OK, 1),
    ("closed at RCPT", {"rcpt": rig.CLOSE}, "451 4.4.2 lost connection", 0),
    ("closed at the second RCPT", {"rcpt": [None, rig.CLOSE]}, "451 4.4.2 lost connection", 0),
    ("4xx to DATA", {"data": "451 4.3.0 later"}, "451 4.3.0 later$", 0),
    ("5xx to DATA", {"data": "554 5.7.1 never"}, "554 5.7.1 never$", 0),
    ("2xx to DATA", {"data": "250 2.0.0 what"}, "451 ", 0),
    ("354 and the reply to the dot in one", {"data": "354 go\r\n250 2.0.0 Ok"}, "451 4.5.0 host .* said more than its reply to DATA", 0),
    ("2xx with a greater code before", {"mail": "550-5.1.8 no\r\n250 2.1.0 Ok"}, "451 4.1.0 host .* said: 250 5.1.8 no", 0),
    ("much text to the dot", {"dot": "250 2.0.0 Ok " + "x" * 100000}, r"250 2\.0\.0 Ok x{497}$", 2),
    ("closed at DATA", {"data": rig.CLOSE}, "451 4.4.2 lost connection", 0),
    ("hung at DATA", {"data": rig.HANG}, "451 4.4.2 conversation .* timed out", 0),
    ("closed before the dot", {"body": rig.CLOSE}, "451 4.4.2 lost connection", 0),
    ("4xx to the dot", {"dot": "452 4.2.2 full"}, "452 4.2.2 full$", 0),
    ("5xx to the dot", {"dot": "554 5.7.1 spam"}, "554 5.7.1 spam$", 0),
    ("several lines to the dot", {"dot": "250-2.0.0 one\r\n250 2.0.0 two"}, "250 2.0.0 one / 2.0.0 two$", 2),
    ("closed after the dot", {"dot": rig.CLOSE}, "451 4.4.2 lost connection", 0),
    ("hung after the dot", {"dot": rig.HANG}, "451 4.4.2 conversation .* timed out", 0),
    ("garbage after the dot", {"dot": "lovely"}, "451 4.5.0 host .* malformed", 0),
    ("354 to the dot", {"dot": "354 more"}, "451 ", 0),
)


def faults(r, listener, table):
    """Check for each fault that the client gets the expected reply, and that only accepted messages are copied."""
    for extensions in (("PIPELINING", "DSN", "8BITMIME"), ()):
        primary = rig.Sink(r, f"primary{len(extensions)}", extensions=extensions)
        d = rig.Duplicator(r, listener=listener, primary=primary, backups=("newmail",) if extensions else ("archive",))
        backup = list(d.backups.values())[0]
        copied = 0
        for name, answers, last, count in table:
            primary.hook = Script(**answers)
            said = talk(d, name)
            assert re.match(last, said[-1]), (name, said)
            copied += count > 0
            if count:
                txn = backup.wait(copied)[-1]
                assert txn.headers("Subject") == [name] and len(txn.rcpts) == count, (name, txn)
        primary.hook = None
        assert talk(d, "end")[-1] == OK
        backup.wait(copied + 1)
        rig.wait_for(lambda: not d.spooled(), 10, "an empty spool")
        assert len(backup.transactions) == copied + 1
        d.daemon.stop()


def test_what_the_primary_answers(r):
    """For each fault of the primary the client gets the right reply, with one connection to the primary for each client."""
    faults(r, SHORT + " pool_connections = 0", TABLE)


def test_what_the_primary_answers_over_shared_connections(r):
    """The same over connections that other clients have used before."""
    faults(r, SHORT, [row for row in TABLE if not {"connect", "helo"} & row[1].keys()])


def test_primary_down_and_up(r):
    """While the primary is down a client gets 451. When it is up again, also after a restart, messages get through."""
    d = rig.Duplicator(r, listener=SHORT)
    d.primary.stop()
    with d.client(helo=None) as c:
        assert c.cmd("HELO client.test").code == 250
        reply = c.mail("s@x.test")
        assert re.match("451 4.4.1 connect to .*: Connection refused", str(reply)), reply
        d.primary.start()
        assert c.mail("s@x.test").code == 250
        assert c.rcpt("a@x.test").code == 250
        assert c.data(message("up")).code == 250
        d.primary.stop()  # a kept connection that has ended is replaced without an error
        d.primary.start()
        assert c.mail("s@x.test").code == 250
        assert c.rcpt("a@x.test").code == 250
        assert c.data(message("again")).code == 250
    assert subjects(d.primary) == ["again", "up"]
    d.backups["newmail"].wait(2)


def test_reply_within_the_content(r):
    """A refusal that the primary sends before the end of the content is the client's reply, also if the connection ends; a 2xx
    before the end is not an acceptance."""
    said = threading.Event()
    d = rig.Duplicator(r, listener=SHORT)
    table = (
        (b"552 5.3.4 too big\r\n", rig.CLOSE, "552 5.3.4 too big$"),
        (b"552-5.3.4 too big\r\n552 5.3.4 by far\r\n", rig.CLOSE, "552 5.3.4 too big / 5.3.4 by far$"),
        (b"452 4.3.1 full\r\n", rig.CLOSE, "452 4.3.1 full$"),
        (b"421 4.3.2 enough\r\n", rig.CLOSE, "451 4.3.2 host .* said: 421 4.3.2 enough"),
        (b"552 5.3.4 too", rig.CLOSE, "451 4.4.2 lost connection"),
        (b"250 2.0.0 taken\r\n", rig.CLOSE, "451 4.4.2 lost connection"),
        (b"", rig.CLOSE, "451 4.4.2 lost connection"),
        (b"554-5.7.1 spam\r\n", "554 5.7.1 spam", "554 5.7.1 spam / 5.7.1 spam$"),
        (b"250-2.0.0 taken\r\n", "250 2.0.0 taken", "451 4.5.0 host .* said 250 before the end of the message was sent"),
    )
    for text, then, last in table:
        said.clear()

        def hook(stage, conn, _arg, text=text, then=then):
            if stage != "body":
                return None
            conn.sock.sendall(text)
            if then is rig.CLOSE:
                conn.sock.close()
            said.set()
            return then

        d.primary.hook = hook
        with d.client() as c:
            c.mail("s@x.test")
            c.rcpt("a@x.test")
            assert c.cmd("DATA").code == 354
            c.write(b"Subject: large\r\n\r\n" + b"".join(b"%06d " % n + b"x" * 90 + b"\r\n" for n in range(3000)))
            assert said.wait(20 * rig.TIME_FACTOR)
            c.write(b"".join(b"%06d " % n + b"x" * 90 + b"\r\n" for n in range(3000)) + b".\r\n")
            reply = c.read()
            assert re.match(last, str(reply)), (text, then, reply)
            d.primary.hook = None
            assert c.mail("s@x.test").code == 250 and c.rcpt("a@x.test").code == 250
            assert c.data(message("next")).code == 250
    d.backups["newmail"].wait(len(table))
    rig.wait_for(lambda: not d.spooled(), 10, "an empty spool")
    assert subjects(d.backups["newmail"]) == ["next"] * len(table)


PROMISES = {"8BITMIME", "SMTPUTF8", "DSN"}


def unreachable(d):
    """Check that EHLO gets 421, because the primary's extensions are not known."""
    for greeting in ("EHLO", "LHLO"):
        with d.client(helo=None) as c:
            reply = c.cmd(f"{greeting} client.test")
            assert re.match("421 4.4.1 connect to .*: Connection refused$", str(reply)), reply
            assert c.file.read() == b""


def test_promises(r):
    """The listener offers the extensions of its primary; while the primary is down, those of the last primary."""
    d = rig.Duplicator(r, listener=SHORT + " pool_connections = 0", primary=rig.Sink(r, "primary", extensions=("PIPELINING", "DSN")))
    d.primary.stop()
    unreachable(d)
    d.primary.start()
    with d.client() as c:
        assert PROMISES & set(c.extensions) == {"DSN"}, c.extensions
    d.primary.stop()
    with d.client() as c:
        assert PROMISES & set(c.extensions) == {"DSN"}, c.extensions
        assert c.mail("s@x.test", "RET=HDRS").code == 451
    assert "not" not in d.reload()
    unreachable(d)


def test_smtputf8_while_the_primary_is_away(r):
    """While the primary is down the listener still offers SMTPUTF8, so that Postfix keeps such mail instead of bouncing it."""
    d = rig.Duplicator(r, primary=rig.Sink(r, "primary", extensions=("PIPELINING", "8BITMIME", "SMTPUTF8")))
    d.primary.stop()
    often = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s"}
    pf = rig.Postfix(r, "front", {"relayhost": f"[127.0.0.1]:{d.address[1]}", "smtputf8_enable": "yes", **often})
    pf.start()
    rig.send(pf.address, "s@x.test", ["j\u00fcrgen@x.test"], message("m"), mail_params="SMTPUTF8")
    pf.wait_log("status=")
    d.primary.start()
    (txn,) = d.primary.wait(1, seconds=40)
    assert txn.rcpts[0].addr == "j\u00fcrgen@x.test" and txn.sender == "s@x.test", txn


def test_words_that_the_primary_does_not_know(r):
    """If the primary lacks the extension for a word of MAIL or RCPT, the command is refused, and the primary does not get the
    word, also if another primary offered the extension at EHLO."""
    before = rig.Sink(r, "before", extensions=("PIPELINING", "DSN", "8BITMIME", "SMTPUTF8"))
    primary = rig.Sink(r, "primary", extensions=("PIPELINING",), address=before.address, start=False)
    d = rig.Duplicator(r, listener=SHORT + " pool_connections = 0", primary=before)
    mail = {
        "BODY=8BITMIME": ("451 4.6.3 ", "451 4.6.3 "),
        "body=8bitmime SIZE=100": ("451 4.6.3 ", "451 4.6.3 "),
        "SMTPUTF8": ("451 4.6.7 ", "553 5.6.7 "),
        "RET=HDRS": ("451 4.3.3 ", "451 4.3.3 "),
        "ENVID=e1": ("451 4.3.3 ", "451 4.3.3 "),
        "BODY=BINARYMIME": ("501 5.5.4 ", "501 5.5.4 "),  # splitrelay does not know it, either
        "BODY=7BIT SIZE=100": ("250 ", "250 "),
    }
    with d.client() as promised:
        assert PROMISES < set(promised.extensions), promised.extensions
        before.stop()
        primary.start()
        with d.client() as other:
            assert not PROMISES & set(other.extensions), other.extensions
            for client, which in ((promised, 0), (other, 1)):
                for words, replies in mail.items():
                    reply = client.mail("s@x.test", words)
                    assert str(reply).startswith(replies[which]), (which, words, reply)
                    assert (client.rcpt("a@x.test").code == 250) == (reply.code == 250), words
                for words in ("NOTIFY=FAILURE", "ORCPT=rfc822;o@x.test"):
                    reply = client.rcpt("b@x.test", words)
                    assert str(reply).startswith("451 4.3.3 "), (which, words, reply)
                assert client.data(message(f"m{which}")).code == 250
    assert [t.mail_params for t in primary.accepted] == [[], []] and [t.addrs for t in primary.accepted] == [["a@x.test"]] * 2
    assert len([line for _, line in primary.commands if line.startswith("MAIL")]) == 2, primary.commands
    d.daemon.wait_log("reject: MAIL from .*451 4.6.3 .*(primary 127.0.0.1)")
    d.backups["newmail"].wait(2)


def test_empty_message(r):
    """Empty messages are passed on and copied, the first of a session and later ones."""
    d = rig.Duplicator(r)
    with d.client() as c:
        for _ in range(3):
            assert c.mail("s@x.test").code == 250 and c.rcpt("a@x.test").code == 250 and c.cmd("DATA").code == 354
            c.write(b".\r\n")
            assert c.read().code == 250
    assert [rig.split_trace(t.data)[1] for t in d.backups["newmail"].wait(3)] == [b""] * 3
    assert all(t.data.startswith(b"Received: ") and t.data.count(b"\r\n") == 3 for t in d.primary.accepted), d.primary.accepted


def test_session(r):
    """A session with RSET, EHLO and two messages uses one connection to the primary. DSN words and XFORWARD reach the primary,
    and a pipelining client gets all replies."""
    primary = rig.Sink(r, "primary", extensions=("PIPELINING", "DSN", "8BITMIME", "SIZE 5000000", "XFORWARD NAME ADDR PROTO HELO IDENT"))
    d = rig.Duplicator(r, listener='xforward = "yes"', primary=primary)
    with d.client() as c:
        assert "SMTPUTF8" not in c.extensions and "SIZE 5000000" in c.extensions, c.extensions
        c.cmd("XFORWARD NAME=client.test ADDR=192.0.2.7 PROTO=ESMTP HELO=h.test IDENT=QUEUEID1")
        assert c.mail("s@x.test", "SIZE=100 RET=HDRS ENVID=e1 BODY=8BITMIME").code == 250
        assert c.rcpt("a@x.test", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@x.test").code == 250
        assert c.cmd("RSET").code == 250
        c.cmd("XFORWARD NAME=client.test ADDR=192.0.2.7 PROTO=ESMTP HELO=h.test IDENT=QUEUEID1")
        assert c.mail("s@x.test", "SIZE=100 RET=HDRS ENVID=e1 BODY=8BITMIME").code == 250
        assert c.rcpt("a@x.test", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@x.test").code == 250
        assert c.data(message("one")).code == 250
        assert c.cmd("EHLO again.test").code == 250
        c.write(
            "MAIL FROM:<s@x.test>\r\n" + "".join(f"RCPT TO:<u{i}@x.test>\r\n" for i in range(100)) + "NOOP\r\nDATA\r\n"
        )
        assert [c.read().code for _ in range(103)] == [250] * 102 + [354]
        c.write(rig.quote_message(message("two")))
        assert c.read().code == 250
        assert c.cmd("RCPT TO:<a@x.test>").code == 503
        c.quit()
    assert primary.connections == 1
    one, two = primary.accepted
    assert one.mail_params == ["SIZE=100", "RET=HDRS", "ENVID=e1", "BODY=8BITMIME"], one
    assert one.rcpts[0].params == ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;o@x.test"], one
    assert len(two.rcpts) == 100 and two.headers("Subject") == ["two"]
    said = [line for _, line in primary.commands]
    assert "XFORWARD NAME=client.test ADDR=192.0.2.7 PROTO=ESMTP" in said and "XFORWARD HELO=h.test IDENT=QUEUEID1" in said, said
    assert "ADDR=127.0.0.1" in [x for x in said if x.startswith("XFORWARD")][-2], said
    copies = sorted(d.backups["newmail"].wait_recipients(101), key=lambda t: t.headers("Subject"))
    assert copies[0].addrs == ["a@x.test"] and copies[0].rcpts[0].params == ["NOTIFY=NEVER", "ORCPT=rfc822;o@x.test"]
    assert len(copies) == 2 and sorted(copies[1].addrs) == sorted(two.addrs)
    assert all("NOTIFY=NEVER" in x.params for x in copies[1].rcpts)
    assert rig.split_trace(copies[0].data)[1] == message("one")
    assert one.data.endswith(message("one")) and len(one.headers("Received")) == 1
    assert "QUEUEID1" in one.headers("Received")[0] and not one.headers("X-Split-Copy")


def test_id_in_the_trace(r):
    """The primary's Received has the id of the copy."""
    d = rig.Duplicator(r)
    threads = [threading.Thread(target=talk, args=(d, f"m{i}")) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    copies = {t.headers("Subject")[0]: t.headers("X-Split-Copy")[0] for t in d.backups["newmail"].wait(40)}
    ids = {subject: re.search(r"; id=(\w+);", header)[1] for subject, header in copies.items()}
    assert len(set(ids.values())) == 40
    for t in d.primary.accepted:
        told = re.search(r"\bid (\w+);", t.headers("Received")[0])[1]
        found = ids[t.headers("Subject")[0]]
        assert told == found, f"told {told}, the copy has {found}"


def test_disconnect_within_content(r):
    """A message whose client disconnects within the content reaches neither the primary nor a backup."""
    d = rig.Duplicator(r)
    for text in (b"", b"Subject: half\r\n", b"Subject: half\r\n\r\n.", message("half") + b"y" * 300000):
        c = d.client()
        c.mail("s@x.test")
        c.rcpt("a@x.test")
        assert c.cmd("DATA").code == 354
        c.write(text)
        c.close()
    assert talk(d, "whole")[-1] == OK
    d.backups["newmail"].wait(1)
    rig.wait_for(lambda: not d.spooled(), 10, "an empty spool")
    assert subjects(d.primary) == subjects(d.backups["newmail"]) == ["whole"]
    assert len(d.primary.transactions) == 1


def test_smuggling(r):
    """A sequence that looks like the end of data, but is not, makes no second message, at the primary and at the backup."""
    d = rig.Duplicator(r, relay='message_size_limit = "1M"')
    second = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<v@x.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
    taken = 0
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n\n.\r\n", b"\r\n\x00.\r\n"):
        with d.client() as c:
            c.mail("s@x.test")
            c.rcpt("a@x.test")
            assert c.cmd("DATA").code == 354
            c.write(b"Subject: first\r\n\r\nx" + end + second.replace(b"\r\n.\r\n", b"\r\n") + b"\r\n.\r\n")
            reply = c.read()
            assert reply.code == 250 or str(reply).startswith("550 5.5.2"), (end, reply)
            assert (reply.code == 250) == (b"\n" not in end.replace(b"\r\n", b"")), (end, reply)
            taken += reply.code == 250
            assert c.cmd("NOOP").code == 250
    with d.client() as c:
        c.mail("s@x.test")
        c.rcpt("a@x.test")
        assert str(c.data(b"Subject: big\r\n\r\n" + b"y" * 70 + b"\r\n" + b"z" * 1100000)).startswith("552 5.3.4")
    d.backups["newmail"].wait(taken)
    for sink in (d.primary, d.backups["newmail"]):
        assert subjects(sink) == ["first"] * taken, subjects(sink)
        assert len(sink.transactions) == taken
        assert all(t.sender == "s@x.test" for t in sink.transactions)


def test_size_limit(r):
    """message_size_limit is announced, and a larger message gets 552, so that the client returns it to the sender."""
    d = rig.Duplicator(r, relay='message_size_limit = "1M"')
    with d.client() as c:
        assert "SIZE 1048576" in c.extensions, c.extensions
        assert str(c.mail("s@x.test", "SIZE=1048577")).startswith("552 5.3.4")
        assert c.mail("s@x.test").code == 250
        c.rcpt("a@x.test")
        assert str(c.data(b"Subject: big\r\n\r\n" + b"z" * 1048577)).startswith("552 5.3.4")
        c.mail("s@x.test")
        c.rcpt("a@x.test")
        assert c.data(message("fits")).code == 250
    d.backups["newmail"].wait(1)
    assert subjects(d.primary) == subjects(d.backups["newmail"]) == ["fits"]


def test_backups_do_not_matter(r):
    """A backup that is down, hangs or refuses delays neither the mail nor the other backup."""
    hung = rig.Sink(r, "hung", hook=lambda stage, _c, _a: rig.HANG if stage == "mail" else None)
    refusing = rig.Sink(r, "refusing", hook=lambda stage, _c, _a: "554 5.7.1 never" if stage == "dot" else None)
    down = rig.Sink(r, "down", start=False)
    d = rig.Duplicator(r, backups=(hung, refusing, down, "newmail"), destination='command_timeout = "3s"')
    start = time.monotonic()
    for i in range(20):
        assert talk(d, f"m{i:02d}")[-1] == OK
    assert time.monotonic() - start < 10 * rig.TIME_FACTOR
    d.backups["newmail"].wait(20)
    assert len(d.primary.accepted) == 20
    down.start()
    hung.hook = None
    down.wait(20, 30)
    hung.wait(20, 30)
    rig.wait_for(lambda: len(d.spooled("dead", "refusing")) == 20, 20, "20 dead copies")


def test_slow_disk(r):
    """Sessions get fast replies while old copies are read from a disk that takes 20 ms for each read."""
    rig.need_tools("strace")
    if rig.daemons.instrumented():
        raise rig.Skip("sanitizers and strace do not go together")
    script = Script(mail="451 4.3.0 later")
    d = rig.Duplicator(r, backups=[rig.Sink(r, "newmail", hook=script)])
    with d.client() as c:
        for i in range(200):
            c.mail("s@x.test")
            c.rcpt("a@x.test")
            c.data(message(f"m{i}", "x" * 3000))
    d.daemon.stop()
    d.restart()
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e", "inject=pread64:delay_enter=20000", "-p", str(d.daemon.pid)],
        stdin=subprocess.DEVNULL, start_new_session=True,
    )
    r.session.record_process(tracer.pid, "strace")
    r.on_close(lambda: (tracer.terminate(), tracer.wait()))
    script.answers.clear()
    newmail = d.backups["newmail"]
    newmail.wait(5)
    waits = []
    while len(newmail.accepted) < 150:
        with d.client() as c:
            for _ in range(50):
                begin = time.monotonic()
                assert c.cmd("NOOP").code == 250
                waits.append(time.monotonic() - begin)
                time.sleep(0.01)
    newmail.wait(200)
    print(f"median of {len(waits)} answers: {sorted(waits)[len(waits) // 2] * 1000:.1f} ms")
    assert len(waits) >= 5 and sorted(waits)[len(waits) // 2] < 0.02 * rig.TIME_FACTOR, waits


def test_copies_that_cannot_be_stored(r):
    """If a copy cannot be stored, the reply is 452, and the primary does not get the message. With require_copies = "no" the
    primary gets it, and the log has an error."""
    d = rig.Duplicator(r, relay='min_free_space = "2M" message_size_limit = "50M"', start=False)
    d.spool = r.mount_tmpfs("small", "8M")
    d.start()
    ballast = rig.fill_disk(d.spool, 1000000)
    assert talk(d, "no room")[-1].startswith("452 4.3.1")
    os.unlink(ballast)
    large = b"Subject: large\r\n\r\n" + (b"y" * 998 + b"\r\n") * 9000
    for _ in range(2):
        with d.client() as c:
            c.mail("s@x.test")
            c.rcpt("a@x.test")
            assert str(c.data(large)).startswith("452 4.3.1")
    assert talk(d, "room")[-1] == OK
    assert subjects(d.primary) == ["room"]
    d.backups["newmail"].wait(1)
    d.listener = 'require_copies = "no"'
    assert "not" not in d.reload()
    with d.client() as c:
        c.mail("s@x.test")
        c.rcpt("a@x.test")
        assert c.data(large).code == 250
    d.daemon.wait_log("error: listener=migration: from=<s@x.test>: delivered without its copies: .")
    rig.fill_disk(d.spool, 1000000)
    assert talk(d, "without")[-1] == OK
    assert subjects(d.primary) == ["large", "room", "without"]
    os.unlink(ballast)
    rig.wait_for(lambda: not d.spooled() and not rig.queue.leftovers(d.spool), 10, "a queue with nothing left over")
    assert subjects(d.backups["newmail"]) == ["room"]


def test_lmtp(r):
    """With LMTP each recipient has its own reply and its own copy. LMTP may also be on one side only."""
    answers = {"a@x.test": None, "b@x.test": "550 5.2.2 full", "c@x.test": "451 4.2.0 later", "d@x.test": None}

    def hook(stage, conn, arg):
        return answers.get(arg.rcpts[conn.dot_index].addr) if stage == "dot" and conn.lmtp else None

    d = rig.Duplicator(r, listener='protocol = "lmtp"', primary=rig.Sink(r, "primary", unix=True, hook=hook))
    backup = d.backups["newmail"]
    said = talk(d, "both", tuple(answers), lmtp=True)[-4:]
    assert said == ["250 2.0.0 <a@x.test> Ok", "550 5.2.2 full", "451 4.2.0 later", "250 2.0.0 <d@x.test> Ok"], said
    assert backup.wait(1)[0].addrs == ["a@x.test", "d@x.test"]
    said = talk(d, "none", ("b@x.test", "c@x.test"), lmtp=True)[-2:]
    assert said == ["550 5.2.2 full", "451 4.2.0 later"], said
    said = talk(d, "another", ("B@x.test", "b@x.test", "A@X.test", "a@X.test"), lmtp=True)[-4:]
    assert [x[:3] for x in said] == ["250", "550", "250", "250"], said
    assert backup.wait(2)[1].addrs == ["B@x.test", "A@X.test", "a@X.test"]
    said = talk(d, "one", ("a@x.test", "d@x.test"))
    assert said[1] == "250 2.1.5 Ok" and said[2].startswith("452 4.5.3") and said[-1] == "250 2.0.0 <a@x.test> Ok", said
    assert backup.wait(3)[2].addrs == ["a@x.test"]
    rig.wait_for(lambda: not d.spooled(), 10, "an empty spool")
    other = rig.Sink(r, "other")
    d.primary, d.listener = other, ""
    d.reload()
    said = talk(d, "smtp", ("a@x.test", "b@x.test"), lmtp=True)
    assert said[-2:] == [OK, OK], said
    assert backup.wait(4)[3].addrs == ["a@x.test", "b@x.test"]


def test_who_gets_copies(r):
    """Recipients get copies by copy_maps, by `copies' if the maps have no result, and by a suffix of their own."""
    maps = 'copy_maps = { "inline:{ a@x.test=archive, { x.test = newmail, archive }, none.test=none }" }'
    d = rig.Duplicator(r, listener=maps, backups=("newmail", "archive"))
    with d.client() as c:
        c.mail("s@x.test")
        for rcpt in ("a@x.test", "b@X.test", "c@none.test", "d@y.test", "e@none.test.archive.copy.split.invalid"):
            assert c.rcpt(rcpt).code == 250, rcpt
        assert str(c.rcpt("e@none.test.nowhere.copy.split.invalid")).startswith("451 4.3.5")
        assert str(c.rcpt("e@none.test.primary.filter.split.invalid")).startswith("550 5.7.1")
        assert c.data(message("m")).code == 250
    assert d.primary.accepted[0].addrs == ["a@x.test", "b@X.test", "c@none.test", "d@y.test", "e@none.test"]
    assert d.backups["newmail"].wait(1)[0].addrs == ["b@X.test", "d@y.test"]
    assert d.backups["archive"].wait(1)[0].addrs == ["a@x.test", "b@X.test", "d@y.test", "e@none.test"]
    with d.client() as c:
        c.mail("s@x.test")
        c.rcpt("c@none.test")
        assert c.data(message("nobody")).code == 250
    assert len(d.primary.accepted) == 2
    d.daemon.wait_log(r"NOQUEUE: to=<c@none\.test>, listener=migration, relay=127\.0\.0\.1.*status=sent \(250 2\.0\.0 Ok\)")


def test_tables_that_change(r):
    """A changed file of copy_maps is used without a signal. One with an error is not used, and the log says so once."""
    table = r.write("copies", "a@x.test none\n")
    d = rig.Duplicator(r, listener=f'copy_maps = {{ "texthash:{table}" }}', backups=("newmail", "archive"))

    def change(text):
        r.write("copies.new", text)
        os.rename(r.path("copies.new"), table)

    def reloads():
        return len(d.daemon.log_lines("table reloaded: .*copies"))

    assert talk(d, "none", ("a@x.test",))[-1] == OK
    before = reloads()  # a file that was written just before the start may be read twice
    change("a@x.test archive\n")
    rig.wait_for(lambda: reloads() > before, 10, "the new table", d.daemon.log)
    assert talk(d, "archive", ("a@x.test",))[-1] == OK
    change("a@x.test nowhere\n")
    d.daemon.wait_log('error: table not reloaded, what was read before stays: .*copies:1: .*"nowhere" is not a declared destination')
    assert talk(d, "again", ("a@x.test",))[-1] == OK
    assert sorted(t.headers("Subject")[0] for t in d.backups["archive"].wait(2)) == ["again", "archive"]
    assert not d.backups["newmail"].accepted


def test_reload_under_load(r):
    """Primary and backup are exchanged by reloads while mail flows. No client gets an error, and both get every message."""
    d = rig.Duplicator(r)
    old, new = d.primary, d.backups["newmail"]
    failures, sent = [], []
    stop = threading.Event()

    def client(number):
        for i in range(10000):
            if stop.is_set():
                return
            try:
                rig.send(d.address, "s@x.test", ["a@x.test"], message(f"{number}-{i}"))
                sent.append(f"{number}-{i}")
            except (OSError, AssertionError) as e:
                failures.append(str(e))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for turn in range(6):
        before = len(sent)
        rig.wait_for(lambda before=before: len(sent) > before + 50 or failures, 30, "50 messages")
        d.primary, d.backups = (new, {"oldmail": old}) if turn % 2 == 0 else (old, {"newmail": new})
        assert "not" not in d.reload()
    stop.set()
    for t in threads:
        t.join()
    assert not failures, failures[:3]
    # Copies for a destination that was removed wait in the spool until it is configured again.
    text = d.text().replace("listener migration", f'destination oldmail {{ relay_to = {{ "{old.bracketed}" }} }}\nlistener migration')
    assert "not" not in d.reload(text)
    for sink in (old, new):
        rig.wait_for(lambda sink=sink: set(subjects(sink)) >= set(sent), 30, f"{len(sent)} messages at {sink.name}")


def test_stop_while_the_primary_hangs(r):
    """SIGTERM does not wait for a primary that hangs, and no copy is made of the message that was not answered."""
    d = rig.Duplicator(r)
    d.primary.hook = Script(dot=rig.HANG)
    c = d.client()
    c.mail("s@x.test")
    c.rcpt("a@x.test")
    c.cmd("DATA")
    c.write(rig.quote_message(message("hung")))
    d.primary.wait(1, accepted=False)
    d.daemon.stop()
    assert not d.spooled("queued")


def test_check(r):
    """splitctl check reports whether the primary answers, and faults in the listener's tables."""
    d = rig.Duplicator(r)
    _, out, _ = rig.run_splitctl(r, d.daemon.configuration_path, "check", check=False)
    assert f"primary of listener migration: {d.primary.bracketed} answers" in out and "no table names it" not in out, out
    d.primary.stop()
    d.listener = 'copy_maps = { "inline:{ a@x.test=nowhere }" }'
    assert "configuration not reloaded" in d.reload()
    status, out, _ = rig.run_splitctl(r, d.daemon.configuration_path, "check", check=False)
    assert status == 1 and f"primary of listener migration: {d.primary.bracketed} does not answer" in out, out
    assert re.search('error +listener migration: .*result of "a@x.test": "nowhere" is not a declared destination', out), out


def test_sockets_of_the_service_manager(r):
    """With systemd's socket activation a client may connect before splitrelay runs."""
    if not shutil.which("systemd-socket-activate"):
        raise rig.Skip("systemd-socket-activate is not installed")
    d = rig.Duplicator(r, start=False)
    with open(r.path("activated.conf"), "w", encoding="utf-8") as f:
        f.write(d.text())
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{d.address[1]}", rig.program("splitrelay"), "-c", r.path("activated.conf")]
    d.daemon = rig.Daemon(r, "activated", command)
    d.daemon.start()

    def sent():
        try:
            return rig.send(d.address, "s@x.test", ["a@x.test"], message("first")).code == 250
        except ConnectionRefusedError:  # systemd-socket-activate does not listen yet
            return False

    rig.wait_for(sent, 20, "the first message")
    assert subjects(d.primary) == ["first"]
    d.backups["newmail"].wait(1)
    assert talk(d, "second")[-1] == OK
    d.daemon.stop()


def listening(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.bind(address)
    s.listen(1024)
    return s


def test_restart_with_the_sockets_of_the_service_manager(r):
    """With sockets of the service manager a restart refuses no connection: clients that connect meanwhile are served after it."""
    d = rig.Duplicator(r, start=False)
    unix = r.path("relay.sock")
    sockets = [listening(d.address), listening(unix)]
    with open(r.path("activated.conf"), "w", encoding="utf-8") as f:
        f.write(d.text())
    d.daemon = rig.Daemon(r, "activated", [rig.program("splitrelay"), "-c", r.path("activated.conf")], listen_on=sockets)
    d.daemon.start()
    assert talk(d, "first")[-1] == OK
    sent = {"first"}
    for turn in range(3):
        # A client within a message delays the end. Others connect meanwhile, and while no splitrelay runs.
        slow, idle = d.client(), d.client()
        assert slow.mail("s@x.test").code == 250 and slow.rcpt("a@x.test").code == 250
        d.daemon.signal(signal.SIGTERM)
        assert idle.read().code == 421  # from here on no connection is accepted
        idle.close()
        waiting = [rig.SmtpClient(a, greet=False) for a in (d.address, unix, d.address)]
        assert slow.data(message(f"slow {turn}")).code == 250
        slow.close()
        d.daemon.stop()
        waiting += [rig.SmtpClient(a, greet=False) for a in (d.address, unix, d.address)]
        assert os.path.exists(unix), "the file of the service manager's socket was removed"
        d.daemon.start()
        for i, client in enumerate(waiting):
            with client as c:
                assert c.read().code == 220, (turn, i)
                assert c.cmd("EHLO client.test").code == 250 and c.mail("s@x.test").code == 250
                if i % 3 != 1:  # the unix socket is not of a listener, and only for copies
                    assert c.rcpt("a@x.test").code == 250 and c.data(message(f"{turn} {i}")).code == 250
                    sent.add(f"{turn} {i}")
        sent.add(f"slow {turn}")
    assert set(subjects(d.primary)) == sent
    d.backups["newmail"].wait(len(sent))
    d.daemon.stop()
    for s in sockets:
        s.close()


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitrelay as a server and as a process: sockets, limits, refusals, reload, stop. With real clients: Postfix, smtp-source."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import rig
from rig.daemons import accepts, program, sanitizer_environment

COPY = "archive.copy.split.invalid"


class Relay:
    """splitrelay with one destination, which is a sink. start() starts it."""

    def __init__(self, r, relay="", hook=None, listen=None):
        self.rig = r
        self.sink = rig.Sink(r, "archive", hook=hook)
        self.sinks = {"archive": self.sink}
        self.address = ("127.0.0.1", r.free_port())
        self.unix = r.path("relay.sock")
        self.listen = listen or [f"inet:{self.address[1]}@127.0.0.1", f"unix:{self.unix}"]
        self.relay = relay
        self.spool = r.path("spool")
        os.mkdir(self.spool, 0o700)
        self.daemon = None

    def text(self):
        listen = ", ".join(f'"{x}"' for x in self.listen)
        destinations = "".join(
            f'destination {name} {{ relay_to = {{ "{sink.bracketed}" }} retry_min = "1s" retry_max = "1s" concurrency = 3 }}\n'
            for name, sink in self.sinks.items()
        )
        return (
            'log { target = "stderr" }\n'
            f'relay {{ listen = {{ {listen} }} hostname = "relay.test" spool_directory = "{self.spool}"\n{self.relay}\n}}\n'
            + destinations
        )

    def start(self):
        self.daemon = rig.start_splitrelay(self.rig, self.text(), self.address)
        return self

    def reload(self, text=None):
        """Reload with the configuration (or with this text), and wait for the log line about it. Returns the line."""
        with open(self.daemon.configuration_path, "w", encoding="utf-8") as f:
            f.write(text or self.text())
        before = len(self.daemon.log_lines("configuration (not )?reloaded"))
        self.daemon.signal(signal.SIGUSR1)
        return self.daemon.wait_log("configuration (not )?reloaded", count=before + 1)[-1]

    def client(self, **options):
        return rig.SmtpClient(self.address, **options)

    def send(self, subject, rcpts=(f"a@x.test.{COPY}",), address=None, **options):
        return rig.send(address or self.address, "s@x.test", rcpts, f"Subject: {subject}\r\n\r\nx\r\n".encode(), **options)

    def queued(self):
        return rig.queue.ids(self.spool, "queued")


def subjects(sink):
    return sorted(s for t in sink.accepted for s in t.headers("Subject"))


def run(r, *argv):
    done = subprocess.run(
        [program("splitrelay"), *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=sanitizer_environment(r, "splitrelay-run"),
        timeout=30 * rig.TIME_FACTOR,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_every_socket_and_both_protocols(r):
    port6 = r.free_port()
    t = Relay(r)
    t.listen.append(f"inet6:{port6}@[::1]")
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        t.listen.pop()
        port6 = None
    t.start()
    for name, address in (("inet", t.address), ("unix", t.unix)):
        t.send(f"{name} smtp", address=address)
        t.send(f"{name} lmtp", address=address, lmtp=True)
    wanted = ["inet lmtp", "inet smtp", "unix lmtp", "unix smtp"]
    if port6:
        with socket.create_connection(("::1", port6), timeout=20) as s:
            s.sendall(
                f"EHLO x\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@x.test.{COPY}>\r\nDATA\r\n"
                "Subject: inet6\r\n\r\nx\r\n.\r\nQUIT\r\n".encode()
            )
            said = b""
            while b"221 2.0.0" not in said:
                part = s.recv(4096)
                assert part, said
                said += part
        wanted = ["inet lmtp", "inet smtp", "inet6", "unix lmtp", "unix smtp"]
    t.sink.wait(len(wanted))
    assert subjects(t.sink) == wanted
    received = {x.headers("Subject")[0]: x.headers("Received")[0] for x in t.sink.accepted}
    assert "with LMTP" in received["inet lmtp"] and "127.0.0.1" in received["inet lmtp"], received
    t.daemon.stop()
    assert not os.path.exists(t.unix)


def test_real_clients(r):
    """All mail of real clients is accepted and delivered: smtp-source with and without kept connections, by SMTP and LMTP, and
    Postfix's smtp(8) and lmtp(8)."""
    t = Relay(r).start()
    rcpt = f"a@x.test.{COPY}"
    rig.smtp_source(t.address, 60, sessions=5, recipient=rcpt)
    rig.smtp_source(t.address, 60, sessions=5, recipient=rcpt, flags=["-d"])
    rig.smtp_source(t.address, 60, sessions=5, recipient=rcpt, flags=["-L"])
    rig.smtp_source(t.address, 10, sessions=2, recipient=rcpt, flags=["-r", "30"])
    t.sink.wait(190, 60)
    assert sum(len(x.rcpts) for x in t.sink.accepted) == 180 + 300
    front = rig.Postfix(
        r,
        "front",
        {
            "transport_maps": f"inline:{{l.{COPY}=lmtp:unix:{t.unix},s.{COPY}=copy:[127.0.0.1]:{t.address[1]}}}",
            "smtp_send_xforward_command": "yes",
            "lmtp_send_xforward_command": "yes",
        },
        services="copy unix - - n - - smtp\n",
    )
    front.start()
    for i in range(5):
        rig.send(front.address, "s@x.test", [f"a{i}@s.{COPY}", f"b{i}@l.{COPY}", f"c{i}@l.{COPY}"], b"Subject: x\r\n\r\nx\r\n")
    front.wait_empty()
    t.sink.wait(200, 30)
    assert len(front.log_lines(r"status=sent \(250 2\.0\.0 Ok: queued as ")) == 15
    queue_ids = {re.search(r"queue_id=(\w+)", ln).group(1) for ln in t.daemon.log_lines(r"queue_id=\w")}
    assert len(queue_ids) == 5, queue_ids
    last = t.sink.accepted[-1]
    assert "client.test" in last.headers("Received")[0], last.headers("Received")


def test_postfix_keeps_what_is_refused_for_now(r):
    """A copy for a destination that is not configured waits in the MTA's queue until it is; other copies are not delayed."""
    t = Relay(r).start()
    front = rig.Postfix(r, "front", {"relayhost": f"[127.0.0.1]:{t.address[1]}"})
    front.start()
    rig.send(front.address, "s@x.test", [f"a@x.test.{COPY}", "b@x.test.newmail.copy.split.invalid"], b"Subject: x\r\n\r\n")
    front.wait_log(r"to=<b@x\.test\.newmail.*status=deferred .*451 4\.3\.5 Destination newmail is not configured")
    t.sink.wait(1)
    t.daemon.wait_log(r"reject: RCPT from \[127\.0\.0\.1\]: 451 4\.3\.5 .* to=<b@x\.test\.newmail\.copy\.split\.invalid>")
    newmail = rig.Sink(r, "newmail")
    t.sinks["newmail"] = newmail
    assert "not" not in t.reload()
    assert newmail.wait(1, 20)[0].addrs == ["b@x.test"]
    front.wait_empty()
    assert len(t.sink.accepted) == 1


def test_full_spool(r):
    """While the spool is full the reply is 452, Postfix keeps the copy, and no part of a message is left."""
    t = Relay(r, 'min_free_space = "2M" message_size_limit = "50M"')
    t.spool = r.mount_tmpfs("small", "8M")
    t.start()
    ballast = rig.fill_disk(t.spool, 1000000)
    with t.client() as c:
        reply = c.mail("s@x.test")
        assert str(reply).startswith("452 4.3.1"), reply
    front = rig.Postfix(r, "front", {"relayhost": f"[127.0.0.1]:{t.address[1]}"})
    front.start()
    rig.send(front.address, "s@x.test", [f"a@x.test.{COPY}"], b"Subject: small\r\n\r\n")
    front.wait_log("status=deferred .*452 4.3.1")
    os.unlink(ballast)
    t.sink.wait(1, 20)
    front.wait_empty()
    # The announced size is checked at MAIL. Without SIZE the disk becomes full while the content arrives.
    with t.client() as c:
        assert str(c.mail("s@x.test", "SIZE=7000000")).startswith("452 4.3.1")
        assert c.mail("s@x.test").code == 250
        assert c.rcpt(f"a@x.test.{COPY}").code == 250
        reply = c.data(b"x" * 70 + b"\r\n" + (b"y" * 998 + b"\r\n") * 9000)
        assert str(reply).startswith("452 4.3.1"), reply
        assert c.mail("s@x.test").code == 250
    rig.wait_for(lambda: not t.queued() and not rig.queue.leftovers(t.spool), 10, "a queue with nothing left over")
    assert len(t.sink.transactions) == 1


def test_free_pages_are_room(r):
    """Space that is free in the database counts as free: for the reply to MAIL, and for splitctl check."""
    t = Relay(r, 'min_free_space = "4M"')
    t.spool = os.path.join(r.mount_tmpfs("small", "16M"), "spool")
    rig.queue.fill(t.spool, 80, 100000)
    for table in ("message", "body", "copy", "recipient"):
        rig.queue.change(t.spool, f"DELETE FROM {table}")
    filler = rig.fill_disk(os.path.dirname(t.spool), 2000000)
    conf = r.write("check.conf", t.text())

    def is_warned():
        return "less than min_free_space = 4M: no copies are taken" in rig.run_splitctl(r, conf, "check", check=False)[1]

    assert not is_warned()
    t.start()
    with t.client() as c:
        assert c.mail("s@x.test").code == 250
    t.daemon.stop()
    shutil.rmtree(t.spool)
    os.unlink(filler)
    os.mkdir(t.spool, 0o700)
    rig.fill_disk(os.path.dirname(t.spool), 3500000)  # the first megabytes are for the database and its log
    assert is_warned()
    t.start()
    with t.client() as c:
        assert str(c.mail("s@x.test")).startswith("452 4.3.1")


MESSAGE_ID = b"Subject: x\r\nMessage-ID:\r\n <a.\xc3\xa4\x01@x.test>\r\nMessage-ID: <another@x.test>\r\n\r\nx\r\n"


def test_message_id(r):
    """The Message-ID of the content is in the queue and in the line of the log, on one line and printable."""
    t = Relay(r)
    t.start()
    t.sink.stop()
    for content in (MESSAGE_ID, b"Subject: none\r\n\r\n"):
        rig.send(t.address, "s@x.test", [f"a@x.test.{COPY}"], content)
    lines = t.daemon.wait_log(r"from=<s@x\.test>, .*, message-id=<.*> \(queued\)$", count=2)
    assert [re.search("message-id=(.*) .queued", ln)[1] for ln in lines] == ["<a.\u00e4?@x.test>", "<>"], lines
    assert [c.message_id for c in rig.queue.copies(t.spool)] == ["<a.\u00e4?@x.test>", ""]
    out = rig.run_splitctl(r, t.daemon.configuration_path, "queue", "--message-id", "a.\u00e4?@x.test", "--json")[1]
    assert len(out.splitlines()) == 1, out


def test_limits(r):
    """max_connections, trusted_networks and message_size_limit are enforced with their own replies."""
    t = Relay(r, 'max_connections = 3 message_size_limit = "1M" trusted_networks = { "127.0.0.1/32" }').start()
    clients = [t.client() for _ in range(3)]
    refused = t.client()
    assert str(refused.greeting) == "421 4.3.2 relay.test Too many connections", refused.greeting
    for c in clients:
        assert c.cmd("NOOP").code == 250
        c.quit()

    def served():
        with t.client() as c:
            return c.greeting.code == 220

    rig.wait_for(served, 10, "a free place")
    with socket.socket() as s:
        s.bind(("127.0.0.2", 0))
        s.settimeout(20)
        s.connect(t.address)
        assert s.recv(200).startswith(b"554 5.7.1 "), "untrusted client"
        assert s.recv(200) == b""
    t.daemon.wait_log(r"reject: CONNECT from \[127\.0\.0\.2\]: 554 5\.7\.1")
    with t.client() as c:
        assert "SIZE" in c.extensions  # without a number, because with one Postfix would bounce larger copies
        assert str(c.mail("s@x.test", "SIZE=1048577")).startswith("452 4.3.4")
        assert c.mail("s@x.test").code == 250
        assert str(c.rcpt("a@x.test")).startswith("550 5.7.1")
        assert c.rcpt(f"a@x.test.{COPY}").code == 250
        assert str(c.data(b"x" * 1048577 + b"\r\n")).startswith("452 4.3.4")
        assert c.mail("s@x.test").code == 250
        assert c.rcpt(f"a@x.test.{COPY}").code == 250
        assert c.data(b"Subject: fits\r\n\r\n").code == 250
    t.sink.wait(1)


def test_too_large_copies_wait_for_a_higher_limit(r):
    """A copy above message_size_limit, by SIZE= or by its content, stays in Postfix's queue, and arrives after the limit is
    raised."""
    t = rig.Tower(r, "", "* none\n", "anna@example.com archive\n", relay='    message_size_limit = "1M"\n', short=True)
    large = b"Subject: large\r\n\r\n" + (b"y" * 998 + b"\r\n") * 1500
    t.send(["anna@example.com"], large)
    t.send(["anna@example.com"], b"Subject: small\r\n\r\nx\r\n")
    t.mailbox.wait(2)
    t.backups["archive"].wait(1)
    deferred = r"to=<anna@example\.com\.archive\.copy\.split\.invalid>, .*dsn=4\.3\.4, status=deferred \(host .* said: 452 4\.3\.4 "
    t.front.wait_log(deferred + r"Message size exceeds message_size_limit of splitrelay \(in reply to MAIL FROM command\)")
    t.relay.wait_log(r"reject: MAIL from \[127\.0\.0\.1\]: 452 4\.3\.4 .* \(15\d{5} bytes, the limit is 1048576; the MTA keeps the copy until it is raised\)")
    t.front.set(smtp_discard_ehlo_keywords="size")
    t.front.reload()
    t.front.flush()
    t.front.wait_log(deferred + r".*\(in reply to end of DATA command\)")
    t.relay.wait_log(r"reject: END-OF-MESSAGE from \[127\.0\.0\.1\]: 452 4\.3\.4 .* the limit is 1048576; ")

    def waiting():
        found = t.front.queue()
        return found if [m["queue_name"] for m in found] == ["deferred"] else None

    kept = rig.wait_for(waiting, 10, "the copy to be deferred", lambda: t.front.run("postqueue", "-p"))
    assert [x["address"] for x in kept[0]["recipients"]] == ["anna@example.com.archive.copy.split.invalid"], kept
    assert subjects(t.backups["archive"]) == ["small"]
    with open(t.relay.configuration_path, "w", encoding="utf-8") as f:
        f.write(t.configuration.replace('message_size_limit = "1M"', 'message_size_limit = "2M"'))
    t.relay.signal(signal.SIGUSR1)
    t.relay.wait_log("configuration reloaded")
    t.front.flush()
    t.backups["archive"].wait(2)
    assert subjects(t.backups["archive"]) == ["large", "small"]
    copy = next(x for x in t.backups["archive"].accepted if x.headers("Subject") == ["large"])
    assert copy.data.endswith(large.partition(b"\r\n")[2]), copy.size
    t.front.wait_empty()
    assert len(t.mailbox.transactions) == 2 and not t.bounces() and not t.front.log_lines("status=(bounced|expired)")


def test_loop(r):
    """A copy that comes back is refused as a loop, or is a dead letter if the message has another destination, which gets its
    copy."""
    t = Relay(r)
    t.sinks["newmail"] = rig.Sink(r, "newmail")
    t.start()
    t.send("first")
    data = t.sink.wait(1)[0].data
    with t.client() as c:
        c.mail("s@x.test")
        c.rcpt(f"a@x.test.{COPY}")
        assert str(c.data(data)).startswith("554 5.4.6"), "loop"
        c.mail("s@x.test")
        c.rcpt(f"a@x.test.{COPY}")
        c.rcpt("b@x.test.newmail.copy.split.invalid")
        assert c.data(data).code == 250
        c.mail("s@x.test")
        c.rcpt(f"a@x.test.{COPY}")
        assert str(c.data(b"Received: x\r\n" * 51 + b"\r\n")).startswith("554 5.4.6"), "hops"
    assert t.sinks["newmail"].wait(1)[0].addrs == ["b@x.test"]
    t.daemon.wait_log(r"to=<a@x\.test>, dest=archive, relay=none, .*status=dead \(554 5\.4\.6")
    dead = rig.queue.ids(t.spool, "dead", "archive")
    assert len(dead) == 3 and len(t.sink.transactions) == 1, dead
    lines = [json.loads(x) for x in rig.run_splitctl(r, t.daemon.configuration_path, "queue", "--json", "archive")[1].split("\n") if x]
    assert [x["queue_name"] for x in lines] == ["dead"] * 3, lines
    reasons = sorted(x["recipients"][0]["delay_reason"] for x in lines)
    assert reasons[0] == reasons[1] == "554 5.4.6 mail loops: it carries X-Split-Copy of this host", reasons
    assert reasons[2] == "554 5.4.6 too many hops", reasons


def test_hostile_dialogues(r):
    """After any input the next client is served, and only complete messages are accepted."""
    t = Relay(r).start()
    begin = f"EHLO x\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@x.test.{COPY}>\r\nDATA\r\n".encode()
    for text in (
        b"",
        b"\r\n" * 50,
        b"\0" * 5000,
        b"A" * 200000,
        b"EHLO " + b"x" * 4000 + b"\r\n",
        b"EHLO x\nMAIL FROM:<s@x.test>\n",
        b"POST / HTTP/1.1\r\n\r\n" + begin + b".\r\n",
        begin,
        begin + b"half\r\n.\r",
        begin + b"x\n.\r\nQUIT\r\n",
        begin + b"x\r\n.\nQUIT\r\n\r\n.\r\n",
        b"EHLO x\r\nMAIL FROM:<s@x.test>\r\n" + b"RCPT TO:<a@b>\r\n" * 5000,
    ):
        with socket.create_connection(t.address, timeout=20) as s:
            try:
                s.sendall(text)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:  # the server may cut the connection
                pass
    t.send("after")
    t.sink.wait(1)
    assert subjects(t.sink) == ["after"]
    rig.wait_for(lambda: not t.queued(), 10, "an empty queue")


def test_reload(r):
    """A reload changes, adds and removes destinations while copies wait, and an error leaves the old configuration in use."""
    t = Relay(r).start()
    t.send("before")
    t.sink.wait(1)
    # another address of the destination, and a further destination
    old, new = t.sink, rig.Sink(r, "moved")
    t.sinks = {"archive": new, "extra": rig.Sink(r, "extra")}
    assert "not" not in t.reload()
    t.send("moved")
    t.send("extra", ["a@x.test.extra.copy.split.invalid"])
    new.wait(1)
    t.sinks["extra"].wait(1)
    assert subjects(old) == ["before"] and subjects(new) == ["moved"]
    # a configuration with an error has no effect
    line = t.reload(t.text().replace("relay {", "relay { nonsense = 1"))
    assert "not reloaded" in line and re.search(r"splitrelay\.conf:\d+: ", line), line
    t.send("still")
    new.wait(2)
    # the destination is removed while a copy waits, and added again
    new.stop()
    t.send("waits")
    t.daemon.wait_log("dest=archive.*status=deferred|dest=archive: suspended")
    kept = t.sinks
    t.sinks = {"extra": kept["extra"]}
    assert "not" not in t.reload()
    t.daemon.wait_log("dest=archive: no longer configured")
    with t.client() as c:
        c.mail("s@x.test")
        assert str(c.rcpt(f"a@x.test.{COPY}")).startswith("451 4.3.5")
    assert len(t.queued()) == 1
    new.start()
    t.sinks = kept
    assert "not" not in t.reload()
    new.wait(3, 20)
    assert subjects(new) == ["moved", "still", "waits"]
    # an option that needs a restart is reported
    t.listen = t.listen[:1]
    t.reload()
    t.daemon.wait_log(r"relay\.listen has changed: that needs a restart")
    t.send("unix still", address=t.unix)
    new.wait(4)


def test_reload_of_limits_is_for_new_sessions(r):
    t = Relay(r, 'message_size_limit = "1M"').start()
    with t.client() as c:
        t.relay = 'message_size_limit = "2M"'
        t.reload()
        assert str(c.mail("s@x.test", "SIZE=1500000")).startswith("452 4.3.4")
        with t.client() as later:
            assert later.mail("s@x.test", "SIZE=1500000").code == 250


def test_stop_while_busy(r):
    """SIGTERM under load ends splitrelay with 0 within seconds. Each message that got 250 arrives once, before or after the next
    start."""
    t = Relay(r).start()
    accepted = []
    stop = threading.Event()

    def work(number):
        count = 0
        while not stop.is_set():
            try:
                t.send(f"{number}-{count}")
                accepted.append(f"{number}-{count}")
                count += 1
            except (OSError, rig.SmtpError):
                stop.wait(0.02)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for x in threads:
        x.start()
    try:
        for _ in range(3):
            want = len(accepted) + 30
            rig.wait_for(lambda: len(accepted) > want, 30, "traffic")
            with t.client() as idle:
                t.daemon.stop(seconds=8)
                assert idle.read().code == 421
            t.daemon.start(lambda: accepts(t.address))
        want = len(accepted) + 30
        rig.wait_for(lambda: len(accepted) > want, 30, "traffic")
    finally:
        stop.set()
        for x in threads:
            x.join()
    rig.wait_for(lambda: not t.queued(), 30, "an empty queue")
    arrived = subjects(t.sink)
    missing = set(accepted) - set(arrived)
    assert not missing, missing
    # A clean stop lets deliveries in progress finish, so no message arrives twice.
    assert len(arrived) == len(set(arrived)), "came twice"


def test_stop_with_a_message_under_way(r):
    t = Relay(r).start()
    with t.client() as c:
        c.mail("s@x.test")
        c.rcpt(f"a@x.test.{COPY}")
        assert c.cmd("DATA").code == 354
        t.daemon.signal(signal.SIGTERM)
        t.daemon.wait_log("stopping")
        rig.wait_for(lambda: not accepts(t.address), 10, "the end of listening")
        c.write(b"Subject: late\r\n\r\n.\r\n")
        assert c.read().code == 250
        assert c.read().code == 421
    assert t.daemon.popen.wait(timeout=15 * rig.TIME_FACTOR) == 0
    t.start()
    t.sink.wait(1)
    assert subjects(t.sink) == ["late"]


def test_exit_codes_and_options(r):
    """The exit codes and the options -V, -h and -t are those of the manual, and a second splitrelay does not start."""
    t = Relay(r).start()
    conf = t.daemon.configuration_path
    code, out, _ = run(r, "-V")
    assert code == 0 and re.fullmatch(r"splitrelay \d+\.\d+\.\d+\n", out), out
    code, out, _ = run(r, "-h")
    assert code == 0 and out.startswith("usage: splitrelay")
    assert run(r, "-x")[0] == 64 and run(r, "more")[0] == 64
    assert run(r, "-t", "-c", conf)[0] == 0
    broken = r.write("broken.conf", t.text().replace("relay {", "relay { nonsense = 1"))
    for more in ([], ["-t"]):
        code, _, err = run(r, *more, "-c", broken)
        assert code == 78 and re.search(r"broken\.conf:\d+: ", err), (code, err)
    assert run(r, "-c", r.path("missing.conf"))[0] == 78
    # the spool is locked by the splitrelay that runs
    code, _, err = run(r, "-c", conf)
    assert code == 69 and str(t.daemon.pid) in err, (code, err)
    # a port that is in use
    taken = Relay.__new__(Relay)
    taken.__dict__.update(t.__dict__, spool=r.path("spool2"), listen=t.listen[:1])
    os.mkdir(taken.spool, 0o700)
    code, _, err = run(r, "-c", r.write("taken.conf", taken.text()))
    assert code == 69 and "Address already in use" in err, (code, err)
    t.send("unharmed")
    t.sink.wait(1)
    for sig in (signal.SIGINT, signal.SIGHUP):
        t.daemon.signal(sig)
        assert t.daemon.popen.wait(timeout=15 * rig.TIME_FACTOR) == 0
        t.start()


if __name__ == "__main__":
    rig.main()

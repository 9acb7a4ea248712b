#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Metrics over HTTP, read by Prometheus' own parser: every metric changes and counts correctly. Also /healthz, /readyz and
abuse."""

import os
import re
import signal
import socket
import sqlite3
import time
from string import Template

import rig
from rig.daemons import TOP, accepts
from rig.metrics import Page, get, need_parser
from rig.milter import ALL_ACTIONS, SMFIF_ADDHDRS, Milter

MILTER = """\
log { target = "stderr" }
milter {
    socket = "unix:$socket"
    socket_group = ""
    metrics = "inet:$port"
    canonical_classes = { "envelope_recipient", "header_recipient" }
    canonical_maps = { "texthash:$known", "socketmap:unix:$nobody:name" }
    filter_maps = { "texthash:$table" }
    copy_maps = { 'inline:{ { anna@example.com = archive, newmail, sent } }', "static:none" }
    on_failure = "$on_failure"
    filter_method = "header"
}
filter primary { nexthop = "smtp:[127.0.0.1]:10024" }
filter secondary { nexthop = "smtp:[127.0.0.1]:10025" }
destination archive { relay_to = { "[127.0.0.1]:10026" } }
destination newmail { relay_to = { "[127.0.0.1]:10026" } }
destination sent { relay_to = { "[127.0.0.1]:10026" } direction = { "outbound" } }
"""
# No server listens at the socket, so an address that the first table does not have is a failure.
KNOWN = "carl@example.com karl@example.com\nkarl@example.com karl@example.com\nanna@example.com anna@example.com\nnone@example.com none@example.com\n"


def start_milter(r):
    values = {
        "socket": r.path("milter.sock"),
        "port": r.free_port(),
        "nobody": r.path("nobody.sock"),
        "known": r.write("known", KNOWN),
        "table": r.write("filters", "anna@example.com primary\ncarl@example.com secondary\n"),
    }
    text = Template(MILTER).substitute(values, on_failure="tempfail")
    daemon = rig.start_splitmilter(r, text, values["socket"])
    here = ("127.0.0.1", values["port"])
    rig.wait_for(lambda: accepts(here) and get(values["port"], "/readyz")[0] == 200, 20, "splitmilter to be ready", daemon.log)
    return daemon, Page(values["port"]), values


def message(values, *recipients, header=None, client="192.0.2.1"):
    """Send one message. Returns the answers to its recipients, and to its end."""
    m = Milter(values["socket"])
    m.macros(b"M", **{"{client_addr}": client})
    m.mail("<s@sender.test>")
    answers = [m.rcpt(f"<{x}>") for x in recipients]
    m.data()
    if header:
        m.header(*header)
    answers.append(m.eom()[1])
    m.close()
    return answers


def reload_with(daemon, page, text, result):
    key = f"{daemon.name}_reloads_total{{result={result}}}"
    before = page.value(key)
    daemon.rig.write(f"{daemon.name}.conf", text)
    daemon.signal(signal.SIGUSR1)
    page.wait_value(**{key: before + 1})


def refuse_changes(values):
    """Have a message fail, because its MTA does not allow a milter to add the header for its filter."""
    m = Milter(values["socket"], actions=ALL_ACTIONS & ~SMFIF_ADDHDRS)
    m.mail("<s@sender.test>")
    assert m.rcpt("<carl@example.com>") == "c"
    m.data()
    assert m.eom()[1].startswith("451 4.3.0")
    m.close()


def change_tables(page, values):
    """Change a table, once correctly and once with an error."""
    with open(values["known"], "a", encoding="ascii") as f:
        f.write("dora@example.com dora@example.com\n")
    change_table(page, "splitmilter", values["table"], "* primary\n", "* nosuchfilter\n")


def change_table(page, program, path, good, bad):
    for text, result in ((good, "ok"), (bad, "failed")):
        key = f"{program}_table_reloads_total{{result={result}}}"
        before = page.value(key)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        page.wait(key, lambda v, before=before: v > before, "to rise")


def test_every_metric_of_splitmilter_moves(r):
    need_parser()
    daemon, page, values = start_milter(r)
    page.look()
    m = Milter(values["socket"])
    m.mail("<s@sender.test>")
    page.wait_value(splitmilter_connections=1)
    m.close()
    page.wait_value(splitmilter_connections=0)
    answers = message(values, "anna@example.com", "carl@example.com", "none@example.com")
    assert answers == ["c", "c", "c", "c"], answers
    assert message(values, "anna@example.com", client="127.0.0.1") == ["c", "c"]
    assert message(values, "x@y.primary.filter.split.invalid")[0].startswith("550 5.7.1")
    assert message(values, "unknown@example.com")[0].startswith("451 4.3.0")
    assert message(values, "none@example.com", header=("To", "unknown@example.com"))[-1].startswith("451 4.3.0")
    now = page.look()
    wanted = {
        "splitmilter_recipients_total": 7,
        "splitmilter_decisions_total{kind=canonical}": 1,
        "splitmilter_decisions_total{kind=filter}": 3,
        "splitmilter_decisions_total{kind=copy}": 2,
        "splitmilter_decisions_total{kind=none}": 2,
        "splitmilter_decisions_total{kind=refused}": 2,
        "splitmilter_filter_recipients_total{filter=primary}": 2,
        "splitmilter_filter_recipients_total{filter=secondary}": 1,
        "splitmilter_copy_recipients_total{destination=archive}": 2,
        "splitmilter_copy_recipients_total{destination=newmail}": 2,
        "splitmilter_copy_recipients_total{destination=sent}": 1,
        "splitmilter_skip_recipients_total{destination=sent}": 1,
        "splitmilter_failures_total{kind=lookup}": 1,
        "splitmilter_failures_total{kind=headers}": 1,
        "splitmilter_messages_total{result=accepted}": 4,
        "splitmilter_messages_total{result=refused}": 1,
        "splitmilter_lookup_seconds_count": 7,
        "splitmilter_connections_total": 6,
    }
    assert {k: now[k] for k in wanted} == wanted, {k: (now[k], v) for k, v in wanted.items() if now[k] != v}
    refuse_changes(values)
    page.wait_value(**{"splitmilter_failures_total{kind=changes}": 1})
    change_tables(page, values)
    rig.wait_for(lambda: message(values, "none@example.com")[0] == "c", 10, "the table that was good")
    text = Template(MILTER).substitute(values, on_failure="accept")
    reload_with(daemon, page, text + "nonsense\n", "failed")
    assert page.value("splitmilter_config_last_reload_successful") == 0
    with open(values["table"], "w", encoding="ascii") as f:
        f.write("* secondary\n")
    reload_with(daemon, page, text, "ok")
    assert page.value("splitmilter_config_last_reload_successful") == 1
    assert message(values, "unknown@example.com")[0] == "c"
    page.wait_value(**{"splitmilter_decisions_total{kind=unchanged}": 1})
    assert not page.unmoved(), page.unmoved()
    check_names(page, "splitmilter")


RELAY = """\
log { target = "stderr" }
relay {
    listen = { "inet:$listen@127.0.0.1" }
    hostname = "relay.test"
    spool_directory = "$spool"
    trusted_networks = { "127.0.0.1/32" }
    max_connections = 8
    message_size_limit = "1M"
    min_free_space = "1M"
    metrics = "inet:$port@127.0.0.1"
}
destination archive {
    relay_to = { "$archive" }
    unless_header = { "X-Skip: yes" }   max_size = "500k"
    retry_min = "1s"   retry_max = "2s"   connect_timeout = "5s"   command_timeout = "20s"
}
listener front {
    listen = { "inet:$front@127.0.0.1" }
    primary = { "$primary" }
    copies = { "archive" }
    copy_maps = { "texthash:$table" }
    require_copies = "no"
}
"""
SUFFIX = "archive.copy.split.invalid"


class Relay:
    """splitrelay on a small spool, with a sink as destination and one as primary."""

    def __init__(self, r):
        self.rig = r
        self.mount = r.mount_tmpfs("small", "16M")
        self.spool = os.path.join(self.mount, "spool")
        self.archive = rig.Sink(r, "archive")
        self.primary = rig.Sink(r, "primary")
        self.address = ("127.0.0.1", r.free_port())
        self.front = ("127.0.0.1", r.free_port())
        self.page = Page(r.free_port())
        self.text = Template(RELAY).substitute(
            listen=self.address[1],
            front=self.front[1],
            port=self.page.port,
            spool=self.spool,
            archive=self.archive.bracketed,
            primary=self.primary.bracketed,
            table=r.write("copies", "anna@example.com archive\n"),
        )
        os.mkdir(self.spool, 0o700)
        self.daemon = rig.start_splitrelay(r, self.text, self.address)

    def send(self, *users, content=b"Subject: x\r\n\r\nx\r\n"):
        rig.send(self.address, "s@sender.test", [f"{u}@example.com.{SUFFIX}" for u in users], content)

    def said(self, *commands, source=None, content=None):
        """Send these commands after EHLO and MAIL. Returns the last reply."""
        with rig.SmtpClient(self.address, source=source) as c:
            if c.greeting.code != 220:
                return str(c.greeting)
            reply = c.mail("s@sender.test")
            for command in commands:
                reply = c.cmd(command)
            if content is not None:
                reply = c.cmd("DATA")
                if reply.code == 354:
                    c.write(content)
                    reply = c.read()
            return str(reply)


def too_many_recipients(relay):
    with rig.SmtpClient(relay.address) as c:
        c.mail("s@sender.test")
        c.write("".join(f"RCPT TO:<u{i}@example.com.{SUFFIX}>\r\n" for i in range(2001)))
        return [c.read() for _ in range(2001)][-1].code


def too_many_connections(relay):
    clients = [rig.SmtpClient(relay.address) for _ in range(8)]
    relay.page.wait_value(splitrelay_connections=8)
    with rig.SmtpClient(relay.address, helo=None) as c:
        code = c.greeting.code
    for c in clients:
        c.quit()
    relay.page.wait_value(splitrelay_connections=0)
    return code


def refuse_everything(relay):
    rcpt = f"RCPT TO:<anna@example.com.{SUFFIX}>"
    loop = b"X-Split-Copy: destination=archive; id=1; host=relay.test\r\n\r\nx\r\n.\r\n"
    assert relay.said(source="127.0.0.2").startswith("554 5.7.1")
    assert relay.said("HURRY").startswith("500")
    assert relay.said(rcpt, content=b"a\nb\r\n.\r\n").startswith("550 5.5.2")
    assert relay.said(rcpt.replace("archive", "nowhere")).startswith("451")
    assert relay.said("RCPT TO:<anna@example.com>").startswith("550")
    assert relay.said("RSET", "MAIL FROM:<s@sender.test> SIZE=9999999").startswith("452 4.3.4")
    assert relay.said(rcpt, content=loop).startswith("554")
    assert too_many_recipients(relay) == 452
    assert too_many_connections(relay) == 421
    relay.primary.hook = lambda stage, _c, _a: "550 5.1.1 unknown" if stage == "rcpt" else None
    with rig.SmtpClient(relay.front) as c:
        c.mail("s@sender.test")
        assert c.rcpt("anna@example.com").code == 550
    relay.primary.hook = None
    relay.primary.extensions = ()
    relay.primary.cut()
    rig.wait_for(lambda: relay.primary.open_connections == 0, 10, "no connection to the primary")
    with rig.SmtpClient(relay.front) as c:
        assert c.mail("s@sender.test", "BODY=8BITMIME").code == 451
        assert c.mail("s@sender.test", "SMTPUTF8").code == 553
        assert c.mail("s@sender.test", "RET=HDRS").code == 451
    now = relay.page.look()
    for kind in ("access", "command", "content", "destination", "relay", "size", "loop", "recipients", "connections", "primary"):
        assert now[f"splitrelay_refusals_total{{kind={kind}}}"] == (4 if kind == "primary" else 1), (kind, now)
    assert now["splitrelay_refusals_total{kind=other}"] == 0


def let_space_run_out(relay):
    """Without space: MAIL gets 452, a listener delivers without copies, and /readyz is 503."""
    page = relay.page
    assert get(page.port, "/readyz")[::2] == (200, "ready\n")
    filler = rig.fill_disk(relay.mount, 500000)
    status, _, why = get(page.port, "/readyz")
    assert status == 503 and "bytes are free" in why and why.count("\n") == 1, why
    with rig.SmtpClient(relay.address) as c:
        assert c.mail("s@sender.test").code == 452
    rig.send(relay.front, "s@sender.test", ["anna@example.com"], b"Subject: without\r\n\r\n")
    os.unlink(filler)
    assert get(page.port, "/readyz")[0] == 200
    now = page.look()
    assert now["splitrelay_messages_without_copies_total"] == 1
    assert now["splitrelay_refusals_total{kind=space}"] == 1


def let_the_spool_break(relay):
    """A directory is missing: a local fault."""
    os.rename(relay.spool, relay.spool + ".away")
    status, _, why = get(relay.page.port, "/readyz")
    os.rename(relay.spool + ".away", relay.spool)
    assert status == 503 and relay.spool in why, why
    os.rmdir(os.path.join(relay.spool, "large"))
    with rig.SmtpClient(relay.address) as c:
        c.mail("s@sender.test")
        c.rcpt(f"anna@example.com.{SUFFIX}")
        assert c.data(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 5000).code == 451
    relay.page.wait_value(**{"splitrelay_refusals_total{kind=fault}": 1})


def label(name, **labels):
    return f"{name}{{{','.join(f'{k}={v}' for k, v in sorted(labels.items()))}}}"


def wait_queue(relay, state, copies):
    page = relay.page
    page.wait_value(**{label("splitrelay_queue_copies", destination="archive", state=state): copies})
    assert (page.now[label("splitrelay_queue_bytes", destination="archive", state=state)] > 0) == (copies > 0)
    if copies > 0:
        age = label("splitrelay_queue_oldest_age_seconds", destination="archive", state=state)
        page.wait(age, lambda v: 0 < v < 60 * rig.TIME_FACTOR, "to rise")


def deliver(relay):
    """Have copies sent, moved to the dead letters, and in progress, with exact counts."""
    page, sink = relay.page, relay.archive
    relay.send("anna", "ben")
    page.wait_value(**{label("splitrelay_deliveries_total", destination="archive", result="sent"): 2})
    page.wait_value(**{label("splitrelay_destination_connections", destination="archive"): 1})
    sink.hook = lambda stage, _c, arg: "550 5.1.1 unknown" if stage == "rcpt" else None
    relay.send("carl")
    page.wait_value(**{label("splitrelay_deliveries_total", destination="archive", result="dead"): 1})
    wait_queue(relay, "dead", 1)
    sink.hook = lambda stage, _c, arg: rig.HANG if stage == "mail" else None
    relay.send("dora")
    page.wait_value(**{label("splitrelay_deliveries_in_progress", destination="archive"): 1})
    wait_queue(relay, "queued", 1)
    sink.hook = None
    sink.cut()
    wait_queue(relay, "queued", 0)


def skip(relay):
    """Send copies that the destination does not want."""
    page, before = relay.page, relay.page.look()
    relay.send("anna", content=b"X-Skip: yes\r\n\r\n")
    relay.send("anna", content=b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * 6000)
    for condition in ("unless_header", "max_size"):
        assert page.value(label("splitrelay_copies_skipped_total", destination="archive", condition=condition)) == 1
    for name in ("splitrelay_messages_total", "splitrelay_copies_total{destination=archive}"):
        assert page.now[name] == before[name], name


def go_down(relay):
    """Have a copy deferred, and the destination suspended while it is down."""
    page, sink = relay.page, relay.archive
    suspended = label("splitrelay_destination_suspended", destination="archive")
    rig.wait_for(lambda: page.value(suspended) == 0, 20, "a healthy destination")
    sink.hook = lambda stage, _c, _a: "451 4.3.0 later" if stage == "dot" else None
    relay.send("emil")
    deferred = label("splitrelay_deliveries_total", destination="archive", result="deferred")
    page.wait(deferred, lambda v: v > 0, "to rise")
    sink.stop()
    sink.hook = None
    page.wait_value(**{suspended: 1})
    assert page.now[label("splitrelay_destination_suspensions_total", destination="archive")] > 0
    sink.start()
    page.wait_value(**{suspended: 0})
    wait_queue(relay, "queued", 0)


def put_aside(relay):
    """In the states that are easier had by hand: deferred for long, held."""
    change = "UPDATE copy SET state = ?, due = ? WHERE id = (SELECT min(id) FROM copy)"
    for row, state, copies in (("held", "held", 1), ("queued", "deferred", 1), ("dead", "dead", 2)):
        assert rig.queue.change(relay.spool, change, row, int(time.time()) + 1800) == 1
        wait_queue(relay, state, copies)
    wait_queue(relay, "deferred", 0)


def suspend(relay):
    """By splitctl: nothing is delivered until the destination is resumed. Meanwhile the database grows."""
    page = relay.page
    suspended = label("splitrelay_queue_suspended", destination="archive")
    before = page.look()
    assert suspended not in before
    rig.run_splitctl(relay.rig, relay.daemon.configuration_path, "suspend", "archive")
    page.wait_value(**{suspended: 1})
    for size in (100, 100, 400):
        relay.send("anna", content=b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * 10 * size)
    page.wait("splitrelay_queue_database_bytes", lambda v: v > before["splitrelay_queue_database_bytes"], "to rise")
    rig.run_splitctl(relay.rig, relay.daemon.configuration_path, "resume", "archive")
    rig.wait_for(lambda: suspended not in page.look(), 20, "the end of the suspension")
    wait_queue(relay, "queued", 0)
    page.wait("splitrelay_queue_database_free_bytes", lambda v: v > 0, "to rise")


def lock_the_database(relay):
    """An administrator's transaction is open: what a delivery came to is written after it."""
    page, sink = relay.page, relay.archive
    sink.hook = lambda stage, _c, _a: rig.HANG if stage == "mail" else None
    relay.send("anna")
    page.wait_value(**{label("splitrelay_deliveries_in_progress", destination="archive"): 1})
    other = sqlite3.connect(rig.queue.path(relay.spool), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    sink.hook = None
    sink.cut()
    page.wait("splitrelay_queue_unwritten_outcomes", lambda v: v > 0, "to rise")
    other.close()
    page.wait_value(splitrelay_queue_unwritten_outcomes=0)
    wait_queue(relay, "queued", 0)


def test_every_metric_of_splitrelay_moves(r):
    need_parser()
    relay = Relay(r)
    page = relay.page
    page.look()
    deliver(relay)
    now = page.look()
    assert now["splitrelay_messages_total"] == 3
    assert now["splitrelay_copies_total{destination=archive}"] == 3
    assert now["splitrelay_message_bytes_total"] == now["splitrelay_copy_bytes_total{destination=archive}"] == 3 * 17
    assert now["splitrelay_copy_disk_seconds_count{destination=archive}"] == 3
    skip(relay)
    go_down(relay)
    refuse_everything(relay)
    put_aside(relay)
    suspend(relay)
    lock_the_database(relay)
    let_space_run_out(relay)
    reload_with(relay.daemon, page, relay.text + "nonsense\n", "failed")
    assert page.value("splitrelay_config_last_reload_successful") == 0
    reload_with(relay.daemon, page, relay.text, "ok")
    assert page.value("splitrelay_config_last_reload_successful") == 1
    change_table(page, "splitrelay", relay.rig.path("copies"), "ben@example.com archive\n", "ben@example.com nowhere\n")
    let_the_spool_break(relay)
    sent = page.value(label("splitrelay_deliveries_total", destination="archive", result="sent"))
    assert sent == sum(len(t.rcpts) for t in relay.archive.accepted)
    assert page.now["splitrelay_delivery_seconds_count{destination=archive}"] == sent
    assert not page.unmoved(), page.unmoved()
    check_names(page, "splitrelay")


def check_names(page, program):
    """Check that the names follow Prometheus' conventions, and that the manual describes each metric."""
    with open(os.path.join(TOP, "docs", f"{program}.8"), encoding="utf-8") as f:
        manual = f.read()
    for name, kind in page.types.items():
        assert name.startswith((f"{program}_", "process_")), name
        exposed = f"{name}_total" if kind == "counter" else name
        assert kind in ("counter", "gauge", "histogram"), (name, kind)
        assert kind != "histogram" or name.endswith("_seconds"), name
        assert kind != "gauge" or not name.endswith("_total"), name
        assert name.startswith("process_") or re.search(rf"^\.It Li {exposed}( |$)", manual, re.M), f"{exposed} is not in {program}.8"


def test_abuse(r):
    """The HTTP server answers only known requests, closes silent connections, and logs nothing of a request."""
    daemon, page, _ = start_milter(r)
    port = page.port
    assert get(port, "/healthz")[::2] == (200, "ok\n")
    assert get(port, "/readyz")[::2] == (200, "ready\n")
    assert get(port, "/healthz?evil=1")[0] == 200
    assert get(port, "/evil")[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "EVIL"):
        status, headers, _ = get(port, "/metrics", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD"), (method, status)
    status, headers, body = get(port, "/metrics", "HEAD")
    assert status == 200 and body == "" and int(headers["Content-Length"]) > 1000
    for request in (b"evil\r\n\r\n", b"GET /metrics HTTP/1.1\r\nEvil: " + b"x" * 100000, b"\0" * 20000, b"GET " + b"/evil" * 5000):
        with socket.create_connection(("127.0.0.1", port), timeout=30 * rig.TIME_FACTOR) as s:
            try:
                s.sendall(request)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass  # the server may close the connection early
    silent = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(100)]
    for s in silent:
        try:
            s.sendall(b"GET /met")
        except OSError:
            pass
    assert get(port, "/healthz")[0] == 200
    for s in silent:
        s.close()
    daemon.stop()
    assert not [ln for ln in daemon.log().split("\n") if re.search("(?i)evil", ln)]
    assert not accepts(("127.0.0.1", port))


def test_many_connections_take_little_time(r):
    """When all places are taken, at most 100 connections a second are closed for others, and the latest one is served."""
    _, page, _ = start_milter(r)
    silent = []
    begin = None
    for number in range(31 + 50):  # of 32 places the last one is kept free
        silent.append(socket.create_connection(("127.0.0.1", page.port), timeout=60 * rig.TIME_FACTOR))
        if number >= 31:
            assert silent[number - 31].recv(1) == b""
            begin = begin or time.monotonic()
    assert time.monotonic() - begin >= 0.45, "the connections were closed faster than one in 10 ms"
    assert get(page.port, "/healthz")[0] == 200
    for s in silent:
        s.close()


def test_off_by_default(r):
    """Without the option metrics no port is opened."""
    values = {"socket": r.path("m.sock"), "port": 1, "nobody": r.path("nobody"), "on_failure": "accept"}
    values.update(known=r.write("k", KNOWN), table=r.write("f", "* primary\n"))
    text = Template(MILTER).substitute(values).replace('metrics = "inet:1"\n', "")
    daemon = rig.start_splitmilter(r, text, values["socket"])
    with os.popen(f"ss -Hltnp | grep -F pid={daemon.pid},") as listening:
        assert listening.read() == ""
    assert not daemon.log_lines("metrics at")


def test_a_taken_port_ends_the_start(r):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        os.mkdir(r.path("s"), 0o700)
        text = f'relay {{ spool_directory = "{r.path("s")}" metrics = "inet:{port}" listen = {{ "unix:{r.path("l")}" }} }}\nlog {{ target = "stderr" }}\n'
        daemon = rig.Daemon(r, "splitrelay", [rig.program("splitrelay"), "-c", r.write("taken.conf", text)])
        daemon.start()
        assert daemon.popen.wait(timeout=20 * rig.TIME_FACTOR) == 69
        assert daemon.log_lines(r"error: metrics: .*in use"), daemon.log()
        daemon.popen = None


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Tables that fail, recover, or are removed, with a real Postfix; also headers, and bypassed clients."""

import os
import subprocess

import rig
from rig.milter import Milter

def tower(r, on_failure, **more):
    path = r.path("map.sock")
    lines = f'    filter_maps += {{ "socketmap:unix:{path}:filters" }}\n    on_failure = "{on_failure}"\n'
    return rig.Tower(r, milter=lines, **more), path


def test_socketmap_failures_are_temporary(r):
    """After each kind of fault of a socketmap server the recipient gets 451 4.3.0, and the log has one line. When the server works
    again, mail is split without a restart."""
    t, path = tower(r, "tempfail")

    def refused(reason):
        before = len(t.milter.log_lines("status=tempfail"))
        reply = t.rcpt_reply("anna@example.com")
        assert reply.code == 451 and "4.3.0" in str(reply), reply
        lines = t.milter.wait_log(f"warning: .*to=<anna@example.com>, status=tempfail .socketmap:unix:.*{reason}")
        assert lines and len(t.milter.log_lines("status=tempfail")) == before + 1, t.milter.log()

    refused("cannot connect: No such file")
    server = rig.SocketMap(r, path, lambda _name, _key: b"NOTFOUND ")
    assert t.rcpt_reply("anna@example.com").code == 250
    for fault, reason in (("garbage", "no netstring"), (b"TEMP busy", "TEMP busy"), (b"PERM no", "PERM no"), (b"TIMEOUT ", "TIMEOUT"), (b"OK nosuchfilter", "nosuchfilter"), ("hang", "timed out")):
        server.fault = fault
        refused(reason)
    server.fault = b"OK primary"
    t.send(["anna@example.com"], b"Subject: x\r\n\r\nx\r\n")
    message = t.mailbox.wait(1, 30)[0]
    assert message.headers("X-Filtered-By") == ["primary"]


def test_socketmap_failures_are_accepted(r):
    """With on_failure = "accept" a message whose look-up fails is delivered unchanged, with a line in the log."""
    t, _ = tower(r, "accept", copies="* archive\n")
    t.send(["anna@example.com"], b"Subject: x\r\n\r\nx\r\n")
    message = t.mailbox.wait(1, 30)[0]
    assert not message.headers("X-Filtered-By")
    assert len(t.milter.wait_log(r"to=<anna@example.com>, status=unchanged \(socketmap:")) == 1
    t.settle()
    assert not t.backups["archive"].accepted


BREAKING = """
log {{ target = "stderr" }}
milter {{
    socket = "unix:{milter}"
    canonical_classes = {{ "envelope_recipient", "header_recipient" }}
    {options}
    on_failure = "{on_failure}"
}}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:2601" }} }}
"""
TAGGED = [("+", "<b@y.test.one.filter.split.invalid>", "ORCPT=rfc822;b@y.test"), ("-", "<b@y.test>")]
COPIED = [("+", "<b@y.test.archive.copy.split.invalid>", "NOTIFY=NEVER ORCPT=rfc822;b@y.test")]


def test_a_connection_that_breaks_is_no_failure(r):
    """If a kept connection to the socketmap server breaks, the request is repeated over a new one, and that answer is used, for
    every kind of map and with any on_failure."""
    path = r.path("map.sock")
    asked = f'= {{ "socketmap:unix:{path}:map" }}'
    answers = {"b@y.test": b"OK one", "s@x.test": b"OK one"}
    server = rig.SocketMap(r, path, lambda _name, key: answers.get(key, b"NOTFOUND "))
    server.fault = "once"
    for options, results, changes in (
        (f"filter_maps {asked}", {"b@y.test": b"OK one"}, TAGGED),
        (f"copy_maps {asked}", {"b@y.test": b"OK archive"}, COPIED),
        (f"sender_filter_maps {asked}", {"s@x.test": b"OK one"}, TAGGED),
        (f"sender_copy_maps {asked}", {"s@x.test": b"OK archive"}, COPIED),
        (
            f"canonical_maps {asked}",
            {"b@y.test": b"OK c@y.test"},
            [("m", "To", 1, "c@y.test"), ("+", "<c@y.test>", "ORCPT=rfc822;b@y.test"), ("-", "<b@y.test>")],
        ),
    ):
        for on_failure in ("tempfail", "accept"):
            answers.clear()
            answers.update(results)
            before = server.broken
            text = BREAKING.format(milter=r.path("m.sock"), options=options, on_failure=on_failure)
            daemon = rig.start_splitmilter(r, text, r.path("m.sock"))
            m = Milter(r.path("m.sock"))
            for _ in range(3):
                m.mail("<s@x.test>")
                assert m.rcpt("<b@y.test>") == "c", (options, on_failure, daemon.log())
                m.data()
                m.header("To", "b@y.test")
                assert m.eom() == (changes, "c"), (options, on_failure, daemon.log())
            assert server.broken > before, options
            assert "status=" not in daemon.log(), daemon.log()
            m.close()
            daemon.kill()  # after SIGTERM libmilter needs five seconds


def test_a_connection_that_breaks_under_a_listener(r):
    """The same holds for copy_maps of a listener: each message is accepted and copied."""
    path = r.path("map.sock")
    server = rig.SocketMap(r, path, lambda _name, _key: b"OK newmail")
    server.fault = "once"
    d = rig.Duplicator(r, listener=f'copy_maps = {{ "socketmap:unix:{path}:map" }} require_copies = "yes"')
    for i in range(4):
        with d.client() as c:
            assert c.mail("s@x.test").code == 250 and c.rcpt("b@y.test").code == 250, d.daemon.log()
            assert c.data(f"Subject: {i}\r\n\r\nx\r\n".encode()).code == 250
    d.primary.wait(4, 20)
    d.backups["newmail"].wait(4, 20)
    assert server.broken > 0


LONG = "a" * 60 + "!"  # needs more steps with /^(a+)+$/ than pcre tables allow


def test_a_limit_is_a_refusal(r):
    """An address that exceeds the limit of a look-up gets 451, also with on_failure = "accept", so it cannot avoid its filter."""
    table = r.write("patterns", "/^(a+)+@x\\.test$/ one\n/^b@/ one\n")
    text = BREAKING.format(
        milter=r.path("m.sock"), options=f'filter_maps = {{ "pcre:{table}" }} sender_filter_maps = {{ "pcre:{table}" }}', on_failure="accept"
    )
    daemon = rig.start_splitmilter(r, text, r.path("m.sock"))
    m = Milter(r.path("m.sock"))
    m.mail("<s@x.test>")
    assert m.rcpt(f"<{LONG}@x.test>").startswith("451 4.3.0 "), daemon.log()
    assert m.rcpt("<b@y.test>") == "c"
    m.data()
    m.header("To", f"{LONG}@x.test")  # without canonical_maps there is no look-up
    assert m.eom() == (TAGGED, "c"), daemon.log()
    m.mail(f"<{LONG}@x.test>")
    assert m.rcpt("<c@y.test>").startswith("451 4.3.0 "), daemon.log()
    m.close()
    assert len(daemon.wait_log(r"status=tempfail \(.*patterns:1: .*limit exceeded", count=2)) == 2


def test_a_limit_in_headers_is_a_refusal(r):
    """A message gets 451 if an address in a header exceeds the limit of a look-up, also with on_failure = "accept"."""
    table = r.write("patterns", "/^(a+)+@x\\.test$/ c@y.test\n")
    text = BREAKING.format(milter=r.path("m.sock"), options=f'canonical_maps = {{ "pcre:{table}" }}', on_failure="accept")
    rig.start_splitmilter(r, text, r.path("m.sock"))
    m = Milter(r.path("m.sock"))
    for to, end in ((f"b@y.test, {LONG}@x.test", "451 4.3.0 "), ("aa@x.test", "c")):
        m.mail("<s@x.test>")
        assert m.rcpt("<b@y.test>") == "c"
        m.data()
        m.header("To", to)
        changes, answer = m.eom()
        assert answer.startswith(end) and changes == ([("m", "To", 1, "c@y.test")] if end == "c" else []), (changes, answer)
    m.close()


def test_a_limit_under_a_listener(r):
    """With a listener such an address gets 451, also with require_copies = "no", so it cannot avoid its copies."""
    table = r.write("patterns", "/^(a+)+@x\\.test$/ none\n")
    d = rig.Duplicator(r, listener=f'copy_maps = {{ "pcre:{table}" }} require_copies = "no"')
    with d.client() as c:
        assert c.mail("s@x.test").code == 250 and c.rcpt("b@y.test").code == 250
        assert c.rcpt(f"{LONG}@x.test").code == 451
        assert c.data(b"Subject: x\r\n\r\nx\r\n").code == 250
    assert d.primary.wait(1, 20)[0].addrs == ["b@y.test"]
    assert d.backups["newmail"].wait(1, 20)[0].addrs == ["b@y.test"]


# Results of tables, valid and invalid ones. The test compares what two programs say about them.
VALUES = {
    "canonical": (
        "b@y.test", "@y.test", "b@y.test.", "b..c@y.test", '"b c"@y.test', "b@[192.0.2.1]", "<b@y.test>", "b", "@", "@y@z", "b@c@d", "b@y.test, c@z.test",
        "b@y.test c@z.test", "Name <b@y.test>", "b@y.test (c)", "@y.test:b@z.test", "b c@y.test", "b@y..test", "b@-y.test", f"b@{'a' * 64}.test",
        f"{'b.' * 510}c@y", f"{'b..' * 340}@y", f"@{'a.' * 127}ab", "b@y.test.one.filter.split.invalid", "@split.invalid", "b%split.invalid@y.test", "jürgen@y.test",
        "b@ü.test", "b\tc@y.test", ",", "none", "*",
    ),
    "filter": (
        "one", "ONE", "none", "None", "smtp:[127.0.0.1]:10024", "smtp:127.0.0.1:10024", "smtp:[127.0.0.1]", "one 10%", "one 10%, none", "one, none", "none 10%", "one 101%",
        "one 10 %", "10%", "one one", "two", ":", "::", "smtp", "smtp:", "SMTP:", "local:x", "local:", "error", "error:a, b 5%", "errors:x", "discard:", "retry: x",
        "relay:[store.test]", "relay:[store.test]:25", "relay:[store.test]:26", "lmtp:unix:x", "none,", ",", "one:", "no ne", "*",
    ),
    "copy": ("archive", "Archive", "none", "archive, archive", "archive 25%", "archive, none", "none 25%", "none, none", "nowhere", "archive nowhere", ",", "25%", "archive 25% 25%", ":", "*"),
}
AGREE = """
log {{ target = "stderr" }}
milter {{ socket = "unix:{milter}" {option}_maps = {{ "{table}" }} unfiltered_nexthops = {{ "relay:[store.test]" }} }}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:2601" }} }}
relay {{ spool_directory = "{spool}" }}
"""


def test_check_and_daemon_have_one_rule(r):
    """splitctl check and splitmilter refuse the same results of tables."""
    path = r.path("map.sock")
    answers = {}
    rig.SocketMap(r, path, lambda _name, key: answers.get(key, b"NOTFOUND "))
    for option, values in VALUES.items():
        rows = {f"u{i}@x.test": value for i, value in enumerate(values)}
        table = r.write(f"table.{option}", "".join(f"{key} {value}\n" for key, value in rows.items()))
        answers.clear()
        answers.update({key: b"OK " + value.encode() for key, value in rows.items()})
        common = {"milter": r.path("m.sock"), "option": option, "spool": r.path("spool")}
        checked = r.write("check.conf", AGREE.format(table=f"texthash:{table}", **common))
        _, out, _ = rig.run_splitctl(r, checked, "check", check=False)
        refused = {ln.split('"')[1] for ln in out.splitlines() if ln.startswith("error") and "result of" in ln}
        daemon = rig.start_splitmilter(r, AGREE.format(table=f"socketmap:unix:{path}:map", **common), r.path("m.sock"), name=option)
        m = Milter(r.path("m.sock"))
        m.mail("<s@x.test>")
        failed = {key for key in rows if m.rcpt(f"<{key}>").startswith("451 4.3.0")}
        m.close()
        daemon.kill()
        different = {rows[key]: "check" if key in refused else "daemon" for key in refused ^ failed}
        assert not different, f"{option}: refused by one alone: {different}"
        assert len(values) * 0.3 < len(refused) < len(values) * 0.8, (option, len(refused), len(values))


def test_a_table_that_is_deleted(r):
    """If the file of a table is deleted, the table that was read before stays in use, with one line in the log. A new file is
    used."""
    t = rig.Tower(r, filters_table="* primary\n")
    os.unlink(t.tables["filter"])
    t.milter.wait_log("table not reloaded.*tables/filter: No such file")
    t.send(["anna@example.com"], b"Subject: gone\r\n\r\nx\r\n")
    assert t.mailbox.wait(1, 30)[0].headers("X-Filtered-By") == ["primary"]
    # A file that was written just before the start is read twice, with a line in the log.
    reloads = len(t.milter.log_lines("table reloaded: .*tables/filter"))
    t.set_table("filter", "* secondary\n")
    t.milter.wait_log("table reloaded: .*tables/filter", count=reloads + 1)
    t.send(["anna@example.com"], b"Subject: back\r\n\r\nx\r\n")
    assert t.mailbox.wait(2, 30)[1].headers("X-Filtered-By") == ["secondary"]
    assert len(t.milter.log_lines("table not reloaded")) == 1


def compiled_table_is_truncated(r, kind):
    """Check that after a truncation of postmap's file the table that was read before stays in use, with one line in the log; that
    a complete file is used without a restart; and that `splitctl check' reports a truncated one."""
    directory = os.path.dirname(r.write("compiled/main.cf", "compatibility_level = 3.6\n"))
    path = os.path.join(directory, "filters")
    done = subprocess.run(["postconf", "-c", directory, "-m"], stdout=subprocess.PIPE, check=True, timeout=60)
    if kind not in done.stdout.decode().split():
        raise rig.Skip(f"postmap does not make {kind} (postfix-{kind})")

    def compile_with(name):
        rows = "".join(f"user{i}@example.com {name}\n" for i in range(2000))
        r.write("compiled/filters", rows)
        if os.path.exists(f"{path}.{kind}"):
            os.unlink(f"{path}.{kind}")
        subprocess.run(["postmap", "-c", directory, f"{kind}:{path}"], check=True, timeout=60)

    def goes_through(name, subject):
        """Check that one message, to recipients from all parts of the table, passes this filter."""
        before = len(t.mailbox.accepted)
        t.send([f"user{i}@example.com" for i in (0, 777, 1999)], f"Subject: {subject}\r\n\r\nx\r\n".encode())
        assert t.mailbox.wait(before + 1, 30)[-1].headers("X-Filtered-By") == [name]

    compile_with("primary")
    t = rig.Tower(r, milter=f'    filter_maps += {{ "{kind}:{path}" }}\n')
    goes_through("primary", "whole")
    reloads = len(t.milter.log_lines("table reloaded: "))
    size = os.path.getsize(f"{path}.{kind}")
    os.truncate(f"{path}.{kind}", size // 3)
    t.milter.wait_log(f"error: table not reloaded, what was read before stays: .*filters.{kind} .*cut off")
    goes_through("primary", "cut off")
    compile_with("secondary")
    t.milter.wait_log("table reloaded: ", count=reloads + 1)
    goes_through("secondary", "whole again")
    assert len(t.milter.log_lines("table not reloaded")) == 1, t.milter.log()
    assert not t.milter.log_lines("status="), t.milter.log()
    os.truncate(f"{path}.{kind}", size // 3)
    status, out, _ = rig.run_splitctl(r, t.configuration_path, "check", check=False)
    assert status == 1 and "cut off" in out, out


def test_truncated_lmdb(r):
    compiled_table_is_truncated(r, "lmdb")


def test_truncated_cdb(r):
    compiled_table_is_truncated(r, "cdb")


def test_headers_and_bypass(r):
    """Postfix queues rewritten To and Cc, and nothing else of the content changes. For a bypassed client nothing changes."""
    text = b'From: old@example.com\r\nTo: "Old, O." <Old@example.com>,\r\n\tbob@example.com (Bob)\r\nCc: g: old@example.com;\r\nSubject: old@example.com\r\n\r\nold@example.com\r\n'
    classes = '    canonical_classes = { "envelope_recipient", "header_recipient" }\n'
    t = rig.Tower(r, canonical="old@example.com new@example.net\n", filters_table="* primary\n", milter=classes)
    t.send(["old@example.com"], text)
    message = t.mailbox.wait(1, 30)[0]
    assert [x.addr for x in message.rcpts] == ["new@example.net"], message.rcpts
    assert b'\nTo: "Old, O." <new@example.net>,\r\n\tbob@example.com (Bob)\r\n' in message.data, message.data
    assert b"\nCc: g: new@example.net;\r\n" in message.data, message.data
    assert b"\nFrom: old@example.com\r\n" in message.data and message.data.endswith(b"Subject: old@example.com\r\n\r\nold@example.com\r\n")
    path = t.configuration_path
    with open(path, encoding="utf-8") as f:
        configuration = f.read()
    r.write("splitmilter.conf", configuration.replace(classes, classes + '    bypass_clients = { "127.0.0.0/8" }\n'))
    rig.run_splitctl(r, path, "reload", check=False)
    t.milter.wait_log("configuration reloaded")
    t.send(["old@example.com"], text)
    message = t.mailbox.wait(2, 30)[1]
    assert [x.addr for x in message.rcpts] == ["old@example.com"], message.rcpts
    assert message.data.endswith(text) and not message.headers("X-Filtered-By")


if __name__ == "__main__":
    rig.main()

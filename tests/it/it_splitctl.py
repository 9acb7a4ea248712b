#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The commands check, explain, queue, retry and reload of splitctl. Needs neither Postfix nor the daemons nor root."""

import collections
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from rig import queue as spool_queue

PROGRAM = os.path.join(os.environ.get("SPLIT_BUILD_DIR", "build/build"), "splitctl")
SOURCE = os.environ.get("SPLIT_SOURCE_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
TIMEOUT = 30 * float(os.environ.get("SPLIT_TIME_FACTOR", "1"))

CONFIGURATION = """\
recipient_delimiter = "+"
milter {{
    socket = "unix:{d}/milter.sock"
    canonical_maps = {{ "texthash:{d}/canonical" }}
    filter_maps = {{ "texthash:{d}/filter" }}
    copy_maps = {{ "texthash:{d}/copy" }}
    {milter}
}}
filter primary   {{ nexthop = "smtp:[primary.test]:10024" }}
filter secondary {{ nexthop = "smtp:[secondary.test]:25" }}
relay {{ spool_directory = "{d}/spool" listen = {{ "unix:{d}/relay.sock" }} }}
destination archive {{ relay_to = "127.0.0.1:{port}" }}
destination newmail {{ relay_to = "127.0.0.1:{port}" }}
"""
CANONICAL = "first@example.test alias@application.test\n"
FILTER = "# who goes where\nfirst@example.test smtp:secondary.test:25\nplain.test none\n* primary\n"
COPY = "first@example.test archive, newmail\nexample.test archive\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.d = tempfile.mkdtemp(prefix="it_splitctl-")
        self.addCleanup(shutil.rmtree, self.d)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]
        for name, text in (("canonical", CANONICAL), ("filter", FILTER), ("copy", COPY)):
            self.write(name, text)
        self.configure()

    def path(self, *names):
        return os.path.join(self.d, *names)

    def write(self, name, data):
        path = self.path(*name.split("/"))
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())

    def configure(self, milter="", more=""):
        self.write("conf", CONFIGURATION.format(d=self.d, port=self.port, milter=milter) + more)

    def run_ctl(self, *args, status=0, config=True):
        command = [PROGRAM, *(["-c", self.path("conf")] if config else []), *args]
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        out, err = done.stdout.decode(), done.stderr.decode()
        self.assertEqual(done.returncode, status, f"{args}\n{out}{err}")
        return out, err


class Usage(Case):
    def test_wrong_usage_is_64(self):
        for args in (
            (),
            ("bogus",),
            ("-x",),
            ("check", "more"),
            ("check", "--json", "more"),
            ("explain",),
            ("explain", "--bogus", "a@b"),
            ("explain", "-f"),
            ("queue", "a", "b"),
            ("queue", "--all", "a", "b"),
            ("queue", "--summary", "330B940391A78201"),
            ("history", "--in", "dead"),
            ("show",),
            ("show", "--in", "dead"),
            ("show", "--content", "--all"),
            ("show", "--content", "A1", "B2"),
            ("retry",),
            ("retry", "a/b"),
            ("retry", "a\nb"),
            ("retry", "--all", "archive", "newmail"),
            ("delete",),
            ("delete", "--in", "dead"),
            ("delete", "--limit", "5"),
            ("delete", "--in", "dead", "archive"),
            ("delete", "--all", "archive", "newmail"),
            ("requeue", "--to", "newmail"),
            ("suspend",),
            ("suspend", "a", "b"),
            ("suspend", "archive", "--for", "soon"),
            ("suspend", "archive", "--for", "0"),
            ("resume",),
            ("resume", "archive", "--for", "1h"),
            ("compare",),
            ("compare", "./a"),
            ("compare", "./a", "./b", "./c"),
            ("compare", "./a", "./b", "--bogus"),
            ("status", "--json", "--watch"),
            ("help", "a", "b"),
            ("help", "--all"),
            ("reload", "more"),
        ):
            out, err = self.run_ctl(*args, status=64)
            self.assertEqual(out, "")
            self.assertRegex(err, "usage: splitctl|the history has no places", args)

    def test_values_that_select_something_else(self):
        """A value that is a mistake is not a selection of everything."""
        for option, value, why in (
            ("--from", "", "not an address"),
            ("--to", "example.test", "not an address; a domain is written as @"),
            ("--reason", "", "empty"),
            ("--older", "soon", "not an age"),
            ("--newer", "-1h", "not an age"),
            ("--larger", "0", "not a size"),
            ("--larger", "1X", "not a size"),
            ("--mta-id", "", "empty"),
            ("--message-id", "", "empty"),
            ("--limit", "0", "not a number"),
            ("--limit", "1x", "not a number"),
            ("--in", "tmp", "not queue, hold or dead"),
            ("--in", "queue,", "not queue, hold or dead"),
            ("--in", "", "not queue, hold or dead"),
        ):
            for command in ("queue", "delete"):
                out, err = self.run_ctl(command, "--all", option, value, status=64)
                self.assertEqual((out, f"splitctl: {option} '{value}': {why}" in err), ("", True), err)

    def test_version_and_help(self):
        for option in ("-V", "--version"):
            self.assertRegex(self.run_ctl(option, config=False)[0], r"^splitctl \d\S*\n$")
        out = self.run_ctl("-h", config=False)[0]
        self.assertEqual([self.run_ctl(*args, config=False)[0] for args in (["--help"], ["help"])], [out, out])
        found = re.findall(r"(?m)^  ([a-z][a-z-]+) +\S", out)
        self.assertEqual(len(set(found)), 20, out)
        with open(os.path.join(SOURCE, "docs", "splitctl.8"), encoding="utf-8") as f:
            manual = f.read()
        for command in found:
            text, _ = self.run_ctl("help", command, config=False)
            self.assertTrue(text.startswith(f"usage: splitctl [-c FILE] {command}"), text)
            self.assertEqual(self.run_ctl(command, "x", "--help", "y", config=False)[0], text)
            # Every option that the program takes is in the manual, and the other way round.
            synopsis = manual[manual.index(".Sh SYNOPSIS"):manual.index(".Ss check")]
            for option in re.findall(r"--([a-z-]+)", text):
                self.assertRegex(synopsis, rf"Fl -{option}\b", command)
            self.assertRegex(manual, rf"(?m)^\.Ic .*\b{command}\b", command)
        known = set(re.findall(r"--([a-z-]+)", "".join(self.run_ctl("help", c, config=False)[0] for c in found))) | {"version", "help"}
        self.assertEqual(set(re.findall(r"Fl -([a-z]+(?:-[a-z]+)*)", manual)) - known, set())
        self.assertIn("SELECTION: [--from PATTERN]", self.run_ctl("help", "hold", config=False)[0])
        self.assertIn("unknown command 'bogus'", self.run_ctl("help", "bogus", config=False, status=64)[1])

    def test_output_that_cannot_be_written_is_no_success(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "-V"], stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"cannot write", done.stderr)

    def test_a_broken_configuration_is_78(self):
        self.write("conf", "milter {\n    sockets = 1\n}\n")
        for args in (("explain", "a@b"), ("queue",), ("retry", "--all"), ("reload",)):
            _, err = self.run_ctl(*args, status=78)
            self.assertIn(f"{self.d}/conf:2: unknown key 'sockets' in section milter", err)


class Check(Case):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("spool"), 0o700)

    def listen(self):
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.path("milter.sock"))
        s.listen(5)
        self.addCleanup(s.close)

    def test_all_is_well(self):
        self.listen()
        with open(self.path("spool", "lock"), "w", encoding="ascii") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            out, _ = self.run_ctl("check")
        self.assertIn("0 errors, 0 warnings", out)
        self.assertIn(f"splitrelay runs (process {os.getpid()})", out)
        self.assertIn(f"destination archive: [127.0.0.1]:{self.port} answers", out)

    def test_a_size_limit_below_that_of_postfix(self):
        """A message_size_limit below that of Postfix gets a warning, because Postfix would keep larger copies in its queue, and
        drop them silently in the end."""
        if not shutil.which("postconf"):
            self.skipTest("postconf is not installed")
        self.addCleanup(os.environ.pop, "MAIL_CONFIG", None)
        os.environ["MAIL_CONFIG"] = self.path("postfix")
        for directory, limit in (("postfix", 0), ("second", 60000000)):
            os.mkdir(self.path(directory))
            with open(self.path(directory, "main.cf"), "w", encoding="ascii") as f:
                f.write(f"compatibility_level = 3.6\nmessage_size_limit = {limit}\n")
                if directory == "postfix":
                    f.write(f"multi_instance_directories = {self.path('second')}\n")
        out, _ = self.run_ctl("check")
        self.assertRegex(out, r"(?m)^warning +relay.message_size_limit is 52428800, Postfix in .*/postfix has none")
        self.assertRegex(out, r"(?m)^warning +relay.message_size_limit is 52428800, that of Postfix in .*/second is 60000000")
        with open(self.path("postfix", "main.cf"), "a", encoding="ascii") as f:
            f.write("message_size_limit = 52428800\nmulti_instance_directories =\n")
        self.assertNotIn("message_size_limit", self.run_ctl("check")[0])

    def test_what_does_not_run_is_a_warning(self):
        self.listener.close()
        out, _ = self.run_ctl("check")
        self.assertRegex(out, r"(?m)^warning +milter: .*milter\.sock: no answer: No such file")
        self.assertRegex(out, r"(?m)^warning +spool: splitrelay does not run")
        self.assertRegex(out, r"(?m)^warning +destination newmail: .*does not answer: Connection refused")
        self.assertIn("0 errors, 4 warnings", out)

    def test_errors(self):
        def expect(pattern):
            out, _ = self.run_ctl("check", status=1)
            self.assertRegex(out, "(?m)^error +" + pattern)

        os.chmod(self.path("spool"), 0o770)
        expect("spool: .*others than its owner may write")
        os.rmdir(self.path("spool"))
        expect("spool: .*No such file")
        self.write("spool", "")
        expect("spool: .*is no directory")
        self.write("filter", "a@b tertiary\n")
        expect(r'tables: .*/filter:1: .*"tertiary"')
        os.unlink(self.path("filter"))
        expect("tables: .*/filter: No such file")
        self.configure(milter="socket_group = no-such-group")
        expect("milter: socket_group: there is no group 'no-such-group'")
        self.configure(more="filter a {\n}\n")
        expect(r"configuration: .*/conf:\d+: filter a: nexthop is missing")
        os.unlink(self.path("conf"))
        expect("configuration: .*No such file")

    def test_all_that_is_wrong_with_tables(self):
        """check reports all faults in tables with their file and line, and filters and destinations that no table uses."""
        self.write("filter", "a@b tertiary\nb@b primary\n\nc@b secondary 10%, quaternary\n")
        self.write("copy", "a@b nobody\n")
        out, _ = self.run_ctl("check", status=1)
        for expected in (r'/filter:1: result of "a@b": "tertiary"', r'/filter:4: result of "c@b": "quaternary"', r'/copy:1: result of "a@b": "nobody"'):
            self.assertRegex(out, f"(?m)^error +tables: .*{expected}")
        self.assertRegex(out, r"(?m)^note +.*conf:\d+: filter secondary: no table names it$")
        self.assertRegex(out, r"(?m)^note +.*conf:\d+: destination archive: no table names it$")
        self.assertNotIn("filter primary", out)
        self.assertIn("3 errors", out)

    def test_a_direction_that_no_mail_has(self):
        """Without local_domains no mail is internal: a warning for a destination that waits for it, a note for one that leaves it
        out. It is no fault if internal and outbound are taken alike. Each milter counts with its own tables."""
        more = "".join(
            f'destination d{i} {{ relay_to = "127.0.0.1:{self.port}" direction = {{ {words} }} }}\n'
            for i, words in enumerate(("internal", "inbound, internal", "outbound, internal", "inbound", "outbound"))
        )
        self.write("copy", "* archive newmail d0 d1 d2 d3 d4\n")
        self.configure(more=more)
        out, _ = self.run_ctl("check")
        empty = "no mail is internal, because local_domains of section milter is empty"
        for i in (0, 1):
            self.assertRegex(out, rf"(?m)^warning +{self.d}/conf:{14 + i}: destination d{i}: {empty}")
        self.assertRegex(out, rf"(?m)^note +.*/conf:18: destination d4: {empty}")
        self.assertEqual(out.count("local_domains of"), 3, out)
        after = f'milter after {{ socket = "unix:{self.d}/after.sock" copy_maps = {{ "static:d1" }} }}\n'
        self.configure(milter="local_domains = { example.test }", more=more + after)
        out, _ = self.run_ctl("check")
        self.assertRegex(out, r"(?m)^warning +.*/conf:15: destination d1: .* local_domains of section milter after is empty")
        self.assertEqual(out.count("local_domains of"), 1, out)

    def test_a_listener_with_a_direction(self):
        """A listener, or its tables, must not name a destination that has a direction."""
        inbound = f'destination inbound {{ relay_to = "127.0.0.1:{self.port}" direction = {{ inbound }} }}\n'
        listener = 'listener l {{ listen = {{ "unix:{d}/l.sock" }} primary = {{ "127.0.0.1:{port}" }}\n {copies} }}\n'
        for copies, expected in (
            ("copies = { archive,\n inbound }", r'configuration: .*/conf:17: listener l: copies: "inbound" has a direction'),
            ('copy_maps = { "texthash:%s" }' % self.path("copy"), r'listener l: .*/copy:2: result of "b@b": "inbound" has a direction'),
            ('copy_maps = { "static:inbound" }', r'listener l: .*/conf:16: static:inbound: .*"inbound" has a direction'),
        ):
            self.write("copy", "a@b archive\nb@b inbound\n")
            self.configure(more=inbound + listener.format(d=self.d, port=self.port, copies=copies))
            out, _ = self.run_ctl("check", status=1)
            self.assertRegex(out, f"(?m)^error +{expected}", copies)

    def test_json(self):
        self.write("copy", "a@b nobody\n")
        out, _ = self.run_ctl("check", "--json", status=1)
        findings = [json.loads(line) for line in out.splitlines()]
        self.assertTrue(all(set(f) >= {"level", "text"} for f in findings))
        self.assertTrue({"ok", "note", "warning", "error"} >= {f["level"] for f in findings})
        errors = [f["text"] for f in findings if f["level"] == "error"]
        self.assertEqual(len(errors), 1, out)
        self.assertIn("/copy:1: ", errors[0])

    @unittest.skipIf(shutil.which("postmap") is None, "needs postmap")
    def test_a_compiled_table_that_is_older_than_its_source(self):
        self.write("main.cf", "compatibility_level = 3.6\n")
        self.write("filter", "*  primary\n")
        done = subprocess.run(["postmap", "-c", self.d, f"cdb:{self.d}/filter"], stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            self.skipTest("postmap does not make cdb")
        self.write("conf", CONFIGURATION.format(d=self.d, port=self.port, milter="").replace(f"texthash:{self.d}/filter", f"cdb:{self.d}/filter"))
        self.assertNotIn("older", self.run_ctl("check")[0])
        later = time.time() + 10
        os.utime(self.path("filter"), (later, later))
        self.assertRegex(self.run_ctl("check")[0], r"(?m)^warning +tables: .*/filter\.cdb is older than its source .*: run postmap cdb:")

    def test_a_socketmap_that_does_not_answer(self):
        self.configure(milter=f'sender_filter_maps = {{ "socketmap:unix:{self.d}/nobody:map" }}')
        out, _ = self.run_ctl("check")
        self.assertRegex(out, r"(?m)^warning +tables: socketmap:unix:.*/nobody:map: cannot connect")
        self.assertRegex(out, r"(?m)^ok +tables: 4$")

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_another_users_spool(self):
        os.chmod(self.d, 0o755)
        for path in (self.d, self.path("spool")):
            os.chown(path, 65534, 65534)
        self.assertIn("0 errors", self.run_ctl("check")[0])

    def test_no_space(self):
        self.configure(more='relay { min_free_space = "900000G" }\n')
        out, _ = self.run_ctl("check")
        self.assertRegex(out, r"(?m)^warning +spool: \d+ MB free, less than min_free_space")


class Explain(Case):
    def test_table_key_and_line_that_decided(self):
        out, _ = self.run_ctl("explain", "First+ext@Example.test")
        for text in (
            f"texthash:{self.d}/canonical line 1: first@example.test -> alias@application.test",
            f"texthash:{self.d}/filter line 2: first@example.test -> smtp:secondary.test:25",
            f"texthash:{self.d}/copy line 1: first@example.test -> archive, newmail",
        ):
            self.assertIn(text, out)
        self.assertRegex(out, r"(?m)^  canonical +alias\+ext@application\.test ")
        self.assertRegex(out, r"(?m)^  filter +secondary ")
        self.assertRegex(out, r"(?m)^  copies +archive, newmail ")

    def test_direction(self):
        """explain has the direction, the reason for it, and the copies that are skipped. Without a destination that has a
        direction there is no word of it."""
        self.assertNotIn("direction", self.run_ctl("explain", "a@example.test")[0])
        self.write("copy", "* archive, outside\n")
        self.configure(
            milter='local_domains = { example.test } local_networks = { "192.0.2.0/24" } bypass_clients = { "198.51.100.1" }',
            more=f'destination outside {{ relay_to = "127.0.0.1:{self.port}" direction = {{ outbound, inbound }} }}\n',
        )
        skipped = "  skipped    outside              (direction = outbound, inbound)\n"
        for words, direction, reason in (
            ((), "inbound", "without --client, a client outside is assumed"),
            (("--client", "203.0.113.1"), "inbound", "the client is not in local_networks"),
            (("--client", "192.0.2.9"), "internal", "the client is in local_networks, the recipient is in local_domains"),
            (("--client", "203.0.113.1", "--authenticated"), "internal", "the client has authenticated, the recipient is in local_domains"),
        ):
            out, _ = self.run_ctl("explain", *words, "a@example.test")
            self.assertIn(f"  direction  {direction:<20} ({reason})\n", out)
            self.assertEqual(skipped in out, direction == "internal", out)
            self.assertEqual(out.count(".outside.copy.split.invalid"), direction != "internal", out)
        self.assertIn("(the client has authenticated, the recipient is not in local_domains)", self.run_ctl("explain", "--authenticated", "a@b.test")[0])
        self.assertNotIn("  direction  ", self.run_ctl("explain", "--client", "198.51.100.1", "a@b.test")[0])
        out, _ = self.run_ctl("explain", "--json", "--authenticated", "a@example.test", "a@b.test")
        self.assertEqual(
            [(o["direction"], o["copies"], o["skipped"]) for o in map(json.loads, out.splitlines()[:2])],
            [("internal", ["archive"], ["outside"]), ("outbound", ["archive", "outside"], [])],
        )

    def test_the_envelope(self):
        out, _ = self.run_ctl("explain", "-f", "s@x.test", "first@example.test", "a@plain.test", "<b@plain.test>")
        orcpt = "ORCPT=rfc822;first@example.test"
        self.assertEqual(
            out[out.index("Envelope"):].splitlines(),
            [
                "Envelope",
                "  MAIL FROM:<s@x.test>",
                "  RCPT TO:<a@plain.test>",
                "  RCPT TO:<b@plain.test>",
                f"  RCPT TO:<alias@application.test.secondary.filter.split.invalid> {orcpt}",
                f"  RCPT TO:<first@example.test.archive.copy.split.invalid> NOTIFY=NEVER {orcpt}",
                f"  RCPT TO:<first@example.test.newmail.copy.split.invalid> NOTIFY=NEVER {orcpt}",
            ],
        )

    def test_json(self):
        out, _ = self.run_ctl("explain", "--json", "-f", "s@x.test", "first@example.test", "u@plain.test")
        first, second, last = (json.loads(line) for line in out.splitlines())
        self.assertEqual(first["final"], "alias@application.test")
        self.assertEqual((first["filter"], first["copies"]), ("secondary", ["archive", "newmail"]))
        self.assertEqual(
            first["filter_reason"],
            {
                "table": f"texthash:{self.d}/filter",
                "key": "first@example.test",
                "value": "smtp:secondary.test:25",
                "path": self.path("filter"),
                "line": 2,
                "host": "",
                "query": "",
            },
        )
        self.assertEqual((second["filter"], second["copies"], second["copy_reason"]), (None, [], None))
        envelope = last["envelope"]
        self.assertEqual(envelope["sender"], "s@x.test")
        self.assertEqual(envelope["recipients"][0], {"address": "u@plain.test", "words": ""})
        self.assertEqual(len(envelope["recipients"]), 4)

    def test_refusals(self):
        out, _ = self.run_ctl("explain", "a@b.primary.filter.split.invalid", "a@[192.0.2.1]", "u@plain.test", status=1)
        self.assertRegex(out, r"(?m)^  refused +550 5\.7\.1 ")
        self.assertRegex(out, r"(?m)^  refused +550 5\.1\.3 ")
        self.assertTrue(out.endswith("  RCPT TO:<u@plain.test>\n"), out)

    def test_filter_by_header_and_defer(self):
        self.configure(milter="filter_method = header mixed_filters = defer")
        out, _ = self.run_ctl("explain", "a@other.test", "b@other.test")
        self.assertIn("\n  header X-Split-Filter: smtp:[primary.test]:10024\n", out)
        self.assertIn("\n  RCPT TO:<a@other.test>\n", out)
        out, _ = self.run_ctl("explain", "a@other.test", "u@plain.test", status=1)
        self.assertRegex(out, r"u@plain\.test\n  refused +451 4\.5\.3 ")

    def test_bytes_that_are_no_text(self):
        out, _ = self.run_ctl("explain", b"a\x1b[31m@plain.test", status=1)
        self.assertNotIn("\x1b", out)
        out, _ = self.run_ctl("explain", "--json", b"a\xff@plain.test", status=1)
        self.assertIn("?", json.loads(out.splitlines()[0])["recipient"])

    def test_the_samples(self):
        text = CONFIGURATION.replace("secondary.test", "secondaryfilter.example.com")
        self.write("conf", text.format(d=os.path.join(SOURCE, "conf", "maps"), port=self.port, milter=""))
        out, _ = self.run_ctl("explain", "firstmailaddress@example.com", "x@old.example.com", "private@example.com")
        self.assertRegex(out, r"canonical +alias123@application\.example\.com ")
        self.assertRegex(out, r"canonical +x@new\.example\.com ")
        self.assertRegex(out, r"copies +none .*private@example\.com -> none")


    def test_a_sender_in_brackets(self):
        for sender in ("<s@x.test>", "s@x.test"):
            self.assertIn("\n  MAIL FROM:<s@x.test>\n", self.run_ctl("explain", "-f", sender, "a@plain.test")[0])
            self.assertEqual(json.loads(self.run_ctl("explain", "--json", "-f", sender, "a@plain.test")[0].splitlines()[-1])["envelope"]["sender"], "s@x.test")
        self.assertIn("\n  MAIL FROM:<>\n", self.run_ctl("explain", "-f", "<>", "a@plain.test")[0])


class Queue(Case):
    def put(self, ident, destination="archive", recipients=(("a@example.test", "rfc822;a@example.test", "pending", ""),), **more):
        more = {"arrival": 1700000000.5, "mta_queue_id": "ABC123", "message_id": "<m@x>", **more}
        return spool_queue.put(self.path("spool"), destination, recipients, copy_id=ident, **more)

    def lines(self, *args, status=0):
        out, _ = self.run_ctl("queue", "--json", *args, status=status)
        return {o["queue_id"]: o for o in map(json.loads, out.splitlines())}

    def setUp(self):
        super().setUp()
        self.later = int(time.time()) + 3600
        self.put("A201", due=1700000040)
        self.put(
            "B401",
            "newmail",
            [("done@example.test", "", "sent", "250 2.0.0 Ok"), ("wait@example.test", "", "pending", "450 4.2.0 <wait@example.test> later")],
            due=self.later,
            attempts=3,
            sender="",
            message_id="",
        )
        self.put("C601", recipients=[("no@example.test", "", "dead", "550 5.1.1 unknown")], state="dead", attempts=1, sender="e\x1b[1m@sender.test")

    def test_json(self):
        found = self.lines()
        self.assertEqual(list(found), ["A201", "B401", "C601"])
        # What is due is tried now, not in the past.
        self.assertLess(abs(found["A201"].pop("next_attempt") - time.time()), TIMEOUT)
        self.assertEqual(
            found["A201"],
            {
                "queue_name": "active",
                "queue_id": "A201",
                "copy_id": "A201",
                "destination": "archive",
                "arrival_time": 1700000000,
                "message_size": 17,
                "sender": "s@sender.test",
                "mta_queue_id": "ABC123",
                "message_id": "<m@x>",
                "attempts": 0,
                "recipients": [{"address": "a@example.test", "status": "queued", "delay_reason": ""}],
            },
        )
        b = found["B401"]
        self.assertEqual((b["queue_name"], b["next_attempt"], b["attempts"], b["sender"]), ("deferred", self.later, 3, ""))
        self.assertEqual([r["status"] for r in b["recipients"]], ["sent", "queued"])
        c = found["C601"]
        self.assertEqual((c["queue_name"], c["next_attempt"]), ("dead", None))
        self.assertEqual(c["recipients"][0]["delay_reason"], "550 5.1.1 unknown")

    def test_one_destination(self):
        self.assertEqual(list(self.lines("newmail")), ["B401"])
        self.assertEqual(list(self.lines("--all", "NewMail")), ["B401"])
        self.run_ctl("queue", "tertiary", status=1)
        self.run_ctl("queue", "../queue", status=1)

    def test_selections(self):
        for args, expected in (
            (["--from", "S@Sender.test"], "A"),
            (["--from", "<>"], "B"),
            (["--from", "@sender.test"], "AC"),
            (["--from", "*"], "ABC"),
            (["--to", "wait@example.test"], "B"),
            (["--to", "done@example.test"], ""),
            (["--to", "*@example.test", "archive"], "AC"),
            (["--reason", "LATER"], "B"),
            (["--reason", "%"], ""),
            (["--older", "1d"], "ABC"),
            (["--newer", "1d"], ""),
            (["--newer", "49000d"], "ABC"),
            (["--older", "49000d"], ""),
            (["--larger", "16"], "ABC"),
            (["--larger", "17"], ""),
            (["--mta-id", "ABC123"], "ABC"),
            (["--mta-id", "abc123"], ""),
            (["--message-id", "m@x"], "AC"),
            (["--message-id=<m@x>", "--in=dead"], "C"),
            (["--limit", "2"], "AB"),
            (["--in", "queue,dead", "--limit", "9"], "ABC"),
            (["--in", "hold"], ""),
            (["--all"], "ABC"),
            (["archive", "--in", "queue"], "A"),
        ):
            self.assertEqual("".join(i[0] for i in self.lines(*args)), expected, args)
            if "--all" not in args and len(args) < 3 and args[0] not in ("--in", "--limit", "archive"):
                shown = [json.loads(line)["queue_id"][0] for line in self.run_ctl("show", "--json", *args)[0].splitlines()]
                self.assertEqual("".join(shown), expected, args)
        self.assertEqual(self.run_ctl("queue", "--to", "x@y")[0], "No such copy\n")
        self.assertEqual(self.run_ctl("show", "--to", "x@y")[0], "No such copy\n")

    def test_ids(self):
        ident = self.put("330B940391A78201")
        self.assertEqual(list(self.lines(ident)), [ident])
        out, err = self.run_ctl("queue", "330B940391A78202", ident, status=1)
        self.assertIn(f"{ident}*", out)
        self.assertIn("no copy 330B940391A78202", err)

    def test_summary(self):
        self.put("D801", "newmail", [("b@example.test", "", "pending", "450 4.2.0 <b@example.test> later")], arrival=time.time() - 130)
        self.put("EA01", state="held", arrival=time.time())
        out, _ = self.run_ctl("queue", "--summary")
        rows = {line[:46].strip(): line[46:].split() for line in out.splitlines()}
        self.assertEqual(rows[""], "T 5 10 20 40 80 160 320 640 1280 1280+".split())
        self.assertEqual(rows["TOTAL"], "5 2 0 0 0 0 0 0 0 0 3".split())
        self.assertEqual(rows["newmail"], "2 1 0 0 0 0 0 0 0 0 1".split())
        self.assertEqual(rows["450 4.2.0 <> later"][0], "2")
        self.assertEqual((rows["550 5.1.1 unknown"][0], rows["not tried yet"][0], rows["held"][0]), ("1", "1", "1"))
        found = [json.loads(line) for line in self.run_ctl("queue", "--summary", "--json", "--in", "queue,hold", "archive")[0].splitlines()]
        self.assertEqual([(f["destination"], f["reason"], f["copies"]) for f in found], [("archive", None, 2), ("archive", "held", 1), ("archive", "not tried yet", 1)])
        self.assertEqual(found[1]["by_age"], [1] + 9 * [0])

    def test_summary_of_many_reasons(self):
        """Rows that have no end are put together, and counted all the same."""
        spool_queue.change(
            self.path("spool"),
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1499) INSERT INTO message SELECT 1048576 + i * 512,"
            " 1700000000, 5, 's@x', '', '', '', '', '', '', '', 'body', 'stored' FROM n",
        )
        spool_queue.change(
            self.path("spool"),
            "INSERT INTO copy (id, message, destination, state, due, attempts) SELECT id + 1, id, 'd' || id, 'queued', 1, 1 FROM message WHERE id >= 1048576",
        )
        spool_queue.change(
            self.path("spool"),
            "INSERT INTO recipient SELECT id, 0, 'a@x', '', 'pending', 'no ' || id FROM copy WHERE id >= 1048576",
        )
        self.put("2000001", recipients=[("late@example.test", "", "pending", "a new reason")])
        found = [json.loads(line) for line in self.run_ctl("queue", "--summary", "--json")[0].splitlines()]
        copies, by_reason = collections.Counter(), collections.Counter()
        for f in found:
            (copies if f["reason"] is None else by_reason)[f["destination"]] += f["copies"]
        self.assertEqual(copies, by_reason)
        self.assertEqual((sum(copies.values()), copies["archive"]), (1504, 3))
        self.assertIn("other reasons", {f["reason"] for f in found})

    def test_for_people(self):
        out, _ = self.run_ctl("queue")
        self.assertRegex(out, r"(?m)^A201\* +17 .* s@sender\.test$")
        self.assertRegex(out, r"(?m)^B401 +17 .* <>$")
        self.assertRegex(out, r"(?m)^C601# +17 .* e\?\[1m@sender\.test$")
        self.assertIn("dest=newmail, attempts=3, queue_id=ABC123, next ", out)
        self.assertIn("    (450 4.2.0 <wait@example.test> later)\n", out)
        self.assertRegex(out, r"(?m)^ +done@example\.test  sent$")
        self.assertTrue(out.endswith("-- 1 kB in 3 copies.\n"), out)

    def test_empty_and_missing(self):
        shutil.rmtree(self.path("spool"))
        for command in ("queue", "stats", "history"):
            self.assertIn("No such file", self.run_ctl(command, status=69)[1])
        os.mkdir(self.path("spool"), 0o700)
        self.assertEqual(self.run_ctl("queue")[0], "The queue is empty\n")
        self.assertEqual(self.run_ctl("queue", "archive")[0], "The queue is empty\n")
        self.assertEqual(self.run_ctl("queue", "--json")[0], "")
        self.assertEqual(self.run_ctl("history")[0], "Nothing in the history\n")
        self.assertEqual(os.listdir(self.path("spool")), [])

    def test_a_database_that_is_none(self):
        self.write("spool/queue.db", b"no database" * 1000)
        self.assertIn("queue.db", self.run_ctl("queue", status=69)[1])
        self.run_ctl("delete", "--all", status=69)

    def test_a_content_that_is_missing(self):
        spool_queue.change(self.path("spool"), "UPDATE message SET body_at = 'file' WHERE id = ?", 0xB400)
        found = self.lines(status=1)
        self.assertEqual(len(found), 3)
        self.assertIn("No such file", found["B401"]["problem"])
        self.assertIn("No such file", self.run_ctl("queue", status=1)[0])
        self.assertIn("No such file", self.run_ctl("show", "B401", status=1)[0])
        self.run_ctl("show", "--content", "B401", status=1)
        self.lines("archive")

    def test_dry_run(self):
        """It says what the command itself does then."""
        line = "{}: dest={}, from=<{}>, would be {}\n"
        self.put("D801", state="held")
        for args, expected in (
            (["hold", "--all"], [("A201", "archive", "s@sender.test", "held"), ("B401", "newmail", "", "held")]),
            (["retry", "--all"], [("B401", "newmail", "", "tried now")]),
            (["release", "--to", "@example.test"], [("D801", "archive", "s@sender.test", "released")]),
            (["requeue", "--all"], [("C601", "archive", "e?[1m@sender.test", "requeued")]),
            (["requeue", "--to", "newmail", "--all"], [("A201", "archive", "s@sender.test", "requeued"), ("C601", "archive", "e?[1m@sender.test", "requeued")]),
            (["requeue", "--to", "NEWMAIL", "--to", "a@example.test", "--in", "hold", "archive"], [("D801", "archive", "s@sender.test", "requeued")]),
            (["delete", "--from", "<>"], [("B401", "newmail", "", "deleted")]),
        ):
            before = spool_queue.copies(self.path("spool"))
            out, _ = self.run_ctl(*args, "--dry-run")
            deferred = "deferred " if args[0] == "retry" else ""
            count = f"{len(expected)} {deferred}cop{'y' if len(expected) == 1 else 'ies'} would be {expected[0][3]}\n"
            self.assertEqual(out, "".join(line.format(*e) for e in expected) + count, args)
            self.assertEqual(spool_queue.copies(self.path("spool")), before)
            found = json.loads(self.run_ctl(*args, "--dry-run", "--json")[0])
            self.assertEqual((found["changed"], found["dry_run"], found["action"]), (len(expected), True, args[0]))
            self.assertEqual(json.loads(self.run_ctl(*args, "--json")[0])["changed"], len(expected), args)
            for copy in before: # as it was
                spool_queue.change(self.path("spool"), "DELETE FROM copy WHERE id = ?", int(copy.id, 16))
                spool_queue.change(self.path("spool"), "DELETE FROM recipient WHERE copy = ?", int(copy.id, 16))
                self.put(copy.id, copy.destination, copy.recipients, state=copy.state, due=copy.due, attempts=copy.attempts, sender=copy.sender)

    def test_dry_run_of_ids(self):
        self.assertEqual(self.run_ctl("hold", "--dry-run", "A201")[0], "A201: would be held\n")
        for args, why in (
            (["release", "A201"], "copy A201 is in the queue"),
            (["retry", "C601"], "copy C601 is a dead letter"),
            (["requeue", "A201"], "copy A201 is in the queue"),
            (["requeue", "--to", "archive", "A201"], "the copy is for archive already"),
            (["delete", "F1"], "no copy F1"),
        ):
            for more in ("--dry-run", "--json"):
                out, err = self.run_ctl(*args, more, status=1)
                self.assertIn(f"splitctl: {args[0]} {args[-1]}: {why}\n", err)
                if more == "--json":
                    self.assertEqual((json.loads(out)["error"], json.loads(out)["changed"]), (why, 0))
        self.assertEqual(len(self.lines()), 3)

    def test_options_stand_anywhere(self):
        for args in (["--json", "newmail", "--to", "wait@example.test"], ["newmail", "--json", "--to", "wait@example.test"], ["newmail", "--to=wait@example.test", "--json"]):
            self.assertEqual(json.loads(self.run_ctl("queue", *args)[0])["queue_id"], "B401")
        out = "archive: suspended until it is resumed\n"
        for args in (["archive", "--reason", "x"], ["--reason", "x", "archive"], ["ARCHIVE", "--reason=x"]):
            self.assertEqual(self.run_ctl("suspend", *args)[0], out)
        self.run_ctl("resume", "archive")
        self.assertEqual(self.run_ctl("hold", "A201", "--dry-run")[0], "A201: would be held\n")
        self.assertEqual(self.run_ctl("hold", "archive", "--all", "--dry-run", "--limit", "1")[0].splitlines()[-1], "1 copy would be held")

    def test_suspended_without_splitrelay(self):
        out, _ = self.run_ctl("suspend", "archive", "--for", "2h", "--reason", "moves \x1b[1m")
        self.assertRegex(out, r"^archive: suspended until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n$")
        found = self.lines("archive")["A201"]
        self.assertEqual(found["queue_name"], "deferred")
        self.assertLess(abs(found["next_attempt"] - time.time() - 7200), TIMEOUT)
        self.assertIn("because        moves ?[1m\n", self.run_ctl("show", "A201")[0])
        self.run_ctl("suspend", "archive")
        self.assertIsNone(self.lines("archive")["A201"]["next_attempt"])
        self.assertRegex(self.run_ctl("stats")[0], r"(?m)^archive .* suspended$")
        self.assertEqual(self.run_ctl("resume", "archive")[0], "archive: resumed\n")
        self.assertEqual(self.run_ctl("resume", "archive")[0], "archive: was not suspended by an administrator\n")
        self.assertEqual(self.lines("archive")["A201"]["queue_name"], "active")
        self.assertIn("there is no destination 'x'", self.run_ctl("suspend", "x", status=1)[1])
        self.assertIn("there is no destination 'x/y'", self.run_ctl("resume", "x/y", status=1)[1])
        self.assertIn("there is no destination 'a", self.run_ctl("resume", 70 * "a", status=1)[1])
        self.run_ctl("resume", "former")
        self.run_ctl("suspend", "archive", "--reason", 1000 * "\u00e4")
        self.assertRegex(self.run_ctl("show", "A201")[0], r"(?m)^because +\u00e4+\??$")

    def test_rows_written_by_hand(self):
        """What is longer than splitrelay writes it is shown, and ends nothing."""
        for sql in ("UPDATE recipient SET reason = ?, state = 'pending'", "UPDATE message SET sender = ?", "UPDATE copy SET destination = ?, attempts = 1",
                    "INSERT INTO suspended VALUES ('archive', 1, 0, ?)"):
            spool_queue.change(self.path("spool"), sql, 5000 * "x")
        for args, status in ((["queue"], 0), (["queue", "--summary"], 0), (["show", "A201"], 0), (["stats"], 0), (["hold", "--dry-run", "A201"], 0), (["hold", "--all"], 0)):
            self.run_ctl(*args, status=status)
        subprocess.run([PROGRAM, "-c", self.path("conf"), "status"], stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=False)

    def test_history(self):
        self.run_ctl("delete", "A201")
        self.run_ctl("requeue", "--to", "archive", "B401")
        out, _ = self.run_ctl("history")
        self.assertRegex(out, r"^[-\d]+ [:\d]+ B401: dest=newmail, from=<>, to=wait@example\.test, size=17, attempts=3, result=requeued, queue_id=ABC123 \(.*\)\n")
        self.assertRegex(out, r"\n[-\d]+ [:\d]+ A201: dest=archive, from=<s@sender\.test>, to=a@example\.test, .* result=deleted, queue_id=ABC123, message-id=<m@x>\n$")
        for args, expected in (([], "BA"), (["archive"], "A"), (["--to", "wait@example.test"], "B"), (["--limit", "1"], "B"), (["--from", "<>"], "B"),
                               (["--message-id", "m@x"], "A"), (["--older", "1h"], ""), (["--newer", "1h", "--all"], "BA")):
            found = [json.loads(line) for line in self.run_ctl("history", "--json", *args)[0].splitlines()]
            self.assertEqual("".join(f["queue_id"][0] for f in found), expected, args)
        self.assertEqual(
            {k: v for k, v in json.loads(self.run_ctl("history", "--json", "archive")[0]).items() if k != "time"},
            {"queue_id": "A201", "copy_id": "A201", "destination": "archive", "sender": "s@sender.test", "recipients": "a@example.test", "message_id": "<m@x>",
             "mta_queue_id": "ABC123", "message_size": 17, "result": "deleted", "relay": "", "reply": "", "attempts": 0},
        )
        self.assertIn("the history has nothing of copy 330B940391A78201", self.run_ctl("history", "330B940391A78201", status=1)[1])

    def test_no_history(self):
        self.configure(more='relay { history = "0" }\n')
        self.run_ctl("delete", "A201")
        out, err = self.run_ctl("history")
        self.assertEqual((out, "no history is kept" in err), ("Nothing in the history\n", True))


class Control(Case):
    """A splitrelay of a few lines at the control socket."""

    def serve(self, replies):
        os.makedirs(self.path("spool"), 0o700)
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(TIMEOUT)
        server.bind(self.path("spool", "control"))
        server.listen(5)
        requests = []

        def run():
            for reply in replies:
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as f:
                    requests.append(f.readline().decode())
                    connection.sendall(reply.encode())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(server.close)
        self.addCleanup(thread.join, TIMEOUT)
        return requests

    def test_retry_of_ids(self):
        requests = self.serve(["ok\n", "ok 1 0 0\n", "error no copy\x1b B2\n"])
        out, err = self.run_ctl("retry", "A1", "B2", status=1)
        self.assertEqual(requests, ["ping\n", "retry id=A1\n", "retry id=B2\n"])
        self.assertEqual(out, "A1: to be tried now\n")
        self.assertEqual(err, "splitctl: retry B2: no copy? B2\n")

    def test_all_of_them(self):
        requests = self.serve(["ok\n", "ok 5 0 0\n", "ok\n", "ok 2 0 0\n"])
        self.assertEqual(self.run_ctl("retry", "--all")[0], "5 deferred copies to be tried now\n")
        self.run_ctl("hold", "--all", "ARCHIVE")
        self.assertEqual(requests, ["ping\n", "retry all\n", "ping\n", "hold all destination=archive\n"])

    def test_selections_are_passed_on(self):
        requests = self.serve(["ok\n", "ok 5 1 0\n", "ok\n", "ok 0 0 0\n"])
        out, _ = self.run_ctl("requeue", "--to", "newmail", "--from", "a+b c@x", "--to", "@y", "--reason", "no room=\u00e4", "--larger", "1k",
                              "--limit", "7", "--in", "hold,dead", "--message-id", "m@x", "--mta-id", "4F", "archive")
        self.assertEqual(out, "5 copies requeued\n1 being delivered: requeued afterwards, unless accepted\n")
        self.assertEqual(
            requests[1],
            "requeue destination=archive in=hold,dead from=a+2Bb+20c@x to=@y reason=no+20room+3D+C3+A4 mta-id=4F message-id=m@x larger=1024 limit=7"
            " requeue-to=newmail\n",
        )
        self.run_ctl("hold", "--older", "49000d")
        self.assertEqual(requests[3], "hold before=1\n")

    def test_replies(self):
        for reply, args, status, out, err in (
            ("ok 0 1 0", ["hold", "A1"], 0, "A1: is being delivered: held afterwards, unless accepted\n", ""),
            ("ok 0 0 0", ["hold", "A1"], 1, "", "splitctl: A1: not held: it has changed meanwhile, or has another order\n"),
            ("ok 3 0 2 disk full", ["hold", "--all"], 1, "3 copies held\n", "splitctl: hold: 2 copies failed: disk full\n"),
            ("ok nonsense", ["hold", "--all"], 1, "", "splitctl: hold: splitrelay sent a reply that makes no sense\n"),
            ("progress 1\nok 2 0 0", ["hold", "--all"], 0, "2 copies held\n", ""),
            ("error the queue is damaged", ["hold", "--all"], 1, "", "splitctl: hold: the queue is damaged\n"),
        ):
            shutil.rmtree(self.path("spool"), ignore_errors=True)
            self.serve(["ok\n", reply + "\n"])
            self.assertEqual(self.run_ctl(*args, status=status), (out, err), reply)

    def test_suspensions_are_passed_on(self):
        requests = self.serve(["ok\n", "ok\n", "ok\n", "ok 1\n", "ok\n", "error disk full\n"])
        self.assertEqual(self.run_ctl("suspend", "archive", "--for", "1h", "--reason", "a move")[0][:29], "archive: suspended until 20" + time.strftime("%y"))
        self.assertEqual(self.run_ctl("resume", "archive")[0], "archive: resumed\n")
        self.assertIn("disk full", self.run_ctl("suspend", "archive", status=1)[1])
        self.assertRegex(requests[1], r"^suspend archive \d{10} reason=a\+20move\n$")
        self.assertEqual(requests[2:], ["ping\n", "resume archive\n", "ping\n", "suspend archive 0 reason=\n"])

    def test_unknown_destination(self):
        self.serve(["ok\n"])
        self.assertIn("no destination 'x'", self.run_ctl("retry", "--all", "x", status=1)[1])

    def test_splitrelay_does_not_run(self):
        self.run_ctl("retry", "A1", status=69)


class Completion(Case):
    """conf/bash-completion/splitctl, in a bash without the package bash-completion."""

    def complete(self, *words):
        words = [PROGRAM, *words]
        script = ". \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _splitctl; printf '%s\\n' \"${COMPREPLY[@]}\""
        done = subprocess.run(
            ["bash", "--norc", "-c", script, "bash", os.path.join(SOURCE, "conf", "bash-completion", "splitctl"), *words],
            capture_output=True, timeout=TIMEOUT, check=True,
        )
        self.assertEqual(done.stderr, b"")
        return done.stdout.decode().split()

    def test_words(self):
        conf = ["-c", self.path("conf")]
        commands = re.findall(r"(?m)^  ([a-z][a-z-]+) +\S", self.run_ctl("help", config=False)[0])
        os.mkdir(self.path("maildir"), 0o700)
        for words, expected in (
            ([""], sorted(commands)),
            (["setup"], ["setup-postfix", "setup-sendmail"]),
            (["setup-"], ["setup-postfix", "setup-sendmail"]),
            (["--v"], ["--version"]),
            (["help", "re"], ["release", "reload", "requeue", "resume", "retry"]),
            (["status", "--w"], ["--warn-age", "--warn-dead", "--watch"]),
            (["status", "--metrics", self.path("con")], [self.path("conf")]),
            (["queue", "--in", ""], ["dead", "hold", "queue"]),
            (["queue", "--in", "=", "d"], ["dead"]),
            (["queue", "--in", "="], ["dead", "hold", "queue"]),
            (["hold", "--from", ""], []),
            ([*conf, "queue", ""], ["archive", "newmail"]),
            ([*conf, "requeue", "--to", "new"], ["newmail"]),
            ([*conf, "requeue", "--to", "newmail", "--all", "a"], ["archive"]),
            ([*conf, "queue", "--to", "new"], []),
            ([*conf, "suspend", "archive", "--r"], ["--reason"]),
            ([*conf, "resume", "n"], ["newmail"]),
            (["-c", self.path("con")], [self.path("conf")]),
            ([*conf, "compare", ""], ["archive", "newmail"]),
            ([*conf, "compare", "archive", self.path("maild")], [self.path("maildir")]),
            (["compare", "--header", ""], []),
            (["setup-sendmail", "m"], ["mailertable", "mc"]),
            (["reload", ""], []),
            (["bogus", "--"], ["--help"]),
        ):
            self.assertEqual(self.complete(*words), expected, words)

    def test_options_are_those_of_the_command(self):
        for command in ("queue", "delete", "setup-postfix", "explain", "compare"):
            text, _ = self.run_ctl("help", command, config=False)
            self.assertEqual(set(self.complete(command, "--")), set(re.findall(r"--[a-z-]+", text)) | {"--help"})
        self.assertEqual(self.complete("explain", "-"), ["--authenticated", "--client", "--help", "--json", "--message", "--origin", "-f", "-n"])

    def test_ids(self):
        ident = spool_queue.put(self.path("spool"), "archive", copy_id="330B940391A78201")
        spool_queue.put(self.path("spool"), "archive", copy_id="440B940391A78401")
        self.assertEqual(self.complete("-c", self.path("conf"), "show", "33"), [ident])

    def test_destinations_of_other_files(self):
        self.write("conf.d/more.conf", 'destination "late-1" {\n}\n  destination later{\n}\n# destination never {\n')
        self.assertEqual(self.complete("-c", self.path("conf"), "suspend", ""), ["archive", "late-1", "later", "newmail"])


class Reload(Case):
    def daemon(self, lock_path):
        """A process that holds the lock and waits for SIGUSR1."""
        os.makedirs(os.path.dirname(lock_path), 0o700, exist_ok=True)
        script = (
            "import fcntl, signal, sys\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
            "f = open(sys.argv[1], 'w')\n"
            "fcntl.lockf(f, fcntl.LOCK_EX)\n"
            "print('ready', flush=True)\n"
            f"sys.exit(0 if signal.sigtimedwait([signal.SIGUSR1], {TIMEOUT}) else 1)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script, lock_path], stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process

    def test_both_are_told(self):
        milter = self.daemon(self.path("milter.sock.pid"))
        relay = self.daemon(self.path("spool", "lock"))
        out, _ = self.run_ctl("reload")
        self.assertEqual(out, f"splitmilter reloads (process {milter.pid}); see its log for the result\nsplitrelay reloads (process {relay.pid}); see its log for the result\n")
        self.assertEqual((milter.wait(TIMEOUT), relay.wait(TIMEOUT)), (0, 0))

    def test_a_broken_table_tells_nobody(self):
        relay = self.daemon(self.path("spool", "lock"))
        self.write("filter", "a@b tertiary\n")
        _, err = self.run_ctl("reload", status=78)
        self.assertIn('/filter:1: ', err)
        self.assertIsNone(relay.poll())
        self.write("filter", FILTER)
        out, _ = self.run_ctl("reload")
        self.assertIn("splitmilter does not run\n", out)
        self.assertEqual(relay.wait(TIMEOUT), 0)

    def test_a_number_without_lock_is_not_believed(self):
        victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        self.write("spool/lock", f"{victim.pid}\n")
        self.write("milter.sock.pid", f"{victim.pid}\n")
        out, _ = self.run_ctl("reload", status=69)
        self.assertEqual(out, "splitmilter does not run\nsplitrelay does not run\n")
        self.assertIsNone(victim.poll())

    def test_no_pid_file(self):
        self.configure(milter='socket = "inet:8890@127.0.0.1"')
        relay = self.daemon(self.path("spool", "lock"))
        _, err = self.run_ctl("reload", status=69)
        self.assertIn("milter.pid_file is not set", err)
        self.assertEqual(relay.wait(TIMEOUT), 0)

    def test_no_pid_file_but_a_unit(self):
        self.configure(milter='socket = "inet:8890@127.0.0.1"')
        milter = self.daemon(self.path("elsewhere"))
        self.write("bin/systemctl", f'#!/bin/sh\n[ "$3" = splitmilter.service ] && printf "LoadState=loaded\\nActiveState=active\\nMainPID={milter.pid}\\n"\n')
        os.chmod(self.path("bin", "systemctl"), 0o755)
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = self.path("bin") + ":" + os.environ["PATH"]
        out, _ = self.run_ctl("reload")
        self.assertIn(f"splitmilter reloads (process {milter.pid}); see its log for the result\n", out)
        self.assertEqual(milter.wait(TIMEOUT), 0)


if __name__ == "__main__":
    signal.alarm(int(10 * TIMEOUT))
    unittest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The commands check, explain, queue, retry and reload of splitctl. Needs neither Postfix nor the daemons nor root."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAM = os.path.join(os.environ.get("SPLIT_BUILD_DIR", "build/build"), "splitctl")
SOURCE = os.environ.get("SPLIT_SOURCE_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
TIMEOUT = 30 * float(os.environ.get("SPLIT_TIME_FACTOR", "1"))
REASON_WIDTH = 239

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


def spool_file(copies, sender="s@sender.test", content=b"Subject: x\r\n\r\nx\r\n", arrival=1700000000):
    """A spool file as docs/queue.md describes it. copies: (id, destination, attempts, recipients);
    recipients: (state, address, orcpt, reason)."""
    lines = [
        "splitrelay-spool 1",
        f"size {len(content):020d}",
        f"time {arrival}.123456",
        f"sender {sender or '-'}",
        "client_name client.test",
        "client_addr 192.0.2.1",
        "helo client.test",
        "protocol ESMTP",
        "mta_queue_id ABC123",
        "flags -",
    ]
    for ident, destination, attempts, recipients in copies:
        lines.append(f"copy {ident} {destination} {attempts:04d}")
        lines += [f"rcpt {state} {address} {orcpt} {reason:<{REASON_WIDTH}}" for state, address, orcpt, reason in recipients]
    return "\n".join(lines + ["END", ""]).encode() + content


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
            ("queue", "--all"),
            ("retry",),
            ("retry", "a/b"),
            ("retry", "a\nb"),
            ("retry", "--all", "archive", "newmail"),
            ("reload", "more"),
        ):
            out, err = self.run_ctl(*args, status=64)
            self.assertEqual(out, "")
            self.assertIn("usage: splitctl", err)

    def test_version_and_help(self):
        self.assertTrue(self.run_ctl("-V", config=False)[0].startswith("splitctl "))
        out, _ = self.run_ctl("-h", config=False)
        for word in ("check", "explain", "queue", "retry", "reload"):
            self.assertIn(f"\n  {word}", out)

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
    def put(self, place, ident, **more):
        recipients = more.pop("recipients", [("q", "a@example.test", "rfc822;a@example.test", "")])
        copy = (ident, more.pop("destination", "archive"), more.pop("attempts", 0), recipients)
        self.write(f"spool/{place}/{ident}", spool_file([copy], **more))

    def lines(self, *args, status=0):
        out, _ = self.run_ctl("queue", "--json", *args, status=status)
        return {o["queue_id"]: o for o in map(json.loads, out.splitlines())}

    def setUp(self):
        super().setUp()
        self.later = int(time.time()) + 3600
        self.put("queue/archive/1700000040", "A1")
        self.put(
            f"queue/newmail/{self.later}",
            "B2",
            destination="newmail",
            attempts=3,
            sender="",
            recipients=[
                ("s", "done@example.test", "-", "250 2.0.0 Ok"),
                ("q", "wait@example.test", "-", "450 4.2.0 later"),
            ],
        )
        self.put("dead/archive", "C3", attempts=1, sender="e+1B[1m@sender.test", recipients=[("d", "no@example.test", "-", "550 5.1.1 unknown")])

    def test_json(self):
        found = self.lines()
        self.assertEqual(sorted(found), ["A1", "B2", "C3"])
        # The next attempt of a copy that is due is now, not in the past.
        self.assertLess(abs(found["A1"].pop("next_attempt") - time.time()), TIMEOUT)
        self.assertEqual(
            found["A1"],
            {
                "queue_name": "active",
                "queue_id": "A1",
                "destination": "archive",
                "arrival_time": 1700000000,
                "message_size": 17,
                "sender": "s@sender.test",
                "mta_queue_id": "ABC123",
                "attempts": 0,
                "recipients": [{"address": "a@example.test", "status": "queued", "delay_reason": ""}],
            },
        )
        b = found["B2"]
        self.assertEqual((b["queue_name"], b["next_attempt"], b["attempts"], b["sender"]), ("deferred", self.later, 3, ""))
        self.assertEqual([r["status"] for r in b["recipients"]], ["sent", "queued"])
        c = found["C3"]
        self.assertEqual((c["queue_name"], c["next_attempt"]), ("dead", None))
        self.assertEqual(c["recipients"][0]["delay_reason"], "550 5.1.1 unknown")

    def test_one_destination(self):
        self.assertEqual(list(self.lines("newmail")), ["B2"])
        self.run_ctl("queue", "tertiary", status=1)
        self.run_ctl("queue", "../queue", status=69)

    def test_for_people(self):
        out, _ = self.run_ctl("queue")
        self.assertRegex(out, r"(?m)^A1\* +17 .* s@sender\.test$")
        self.assertRegex(out, r"(?m)^B2 +17 .* <>$")
        self.assertRegex(out, r"(?m)^C3# +17 .* e\?\[1m@sender\.test$")
        self.assertIn("dest=newmail, attempts=3, queue_id=ABC123, next ", out)
        self.assertIn("    (450 4.2.0 later)\n", out)
        self.assertRegex(out, r"(?m)^ +done@example\.test  sent$")
        self.assertTrue(out.endswith("-- 1 kB in 3 copies.\n"), out)

    def test_empty_and_missing(self):
        shutil.rmtree(self.path("spool"))
        self.assertIn("No such file", self.run_ctl("queue", status=69)[1])
        os.mkdir(self.path("spool"))
        self.assertEqual(self.run_ctl("queue")[0], "The queue is empty\n")
        self.assertEqual(self.run_ctl("queue", "archive")[0], "The queue is empty\n")
        self.assertEqual(self.run_ctl("queue", "--json")[0], "")

    def test_files_that_are_no_copies(self):
        self.write("spool/queue/archive/1700000040/D4", b"splitrelay-spool 1\nsize x\n")
        found = self.lines(status=1)
        self.assertEqual(len(found), 4)
        self.assertTrue(found["D4"]["problem"])
        self.assertIn("cannot be read", self.run_ctl("queue", status=1)[0])


class Control(Case):
    """A simple splitrelay of the test at the control socket."""

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
        requests = self.serve(["ok\n", "ok 1\n", "error no such copy\n"])
        out, err = self.run_ctl("retry", "A1", "B2", status=1)
        self.assertEqual(requests, ["ping\n", "retry A1\n", "retry B2\n"])
        self.assertEqual(out, "retry A1: will be tried now\n")
        self.assertIn("no such copy", err)

    def test_retry_of_all(self):
        requests = self.serve(["ok\n", "ok 5\n", "ok\n", "ok 2\n"])
        self.run_ctl("retry", "--all")
        self.run_ctl("retry", "--all", "ARCHIVE")
        self.assertEqual(requests, ["ping\n", "retry --all\n", "ping\n", "retry --all archive\n"])

    def test_unknown_destination(self):
        self.serve(["ok\n"])
        self.assertIn("no destination 'x'", self.run_ctl("retry", "--all", "x", status=1)[1])

    def test_nobody_listens(self):
        self.run_ctl("retry", "A1", status=69)


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

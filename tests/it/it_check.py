#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl check: files are opened as the daemons' users, with the restrictions of their units; skipped lines of tables; options
that do not fit together."""

import fcntl
import grp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

from it_splitctl import CONFIGURATION, TIMEOUT, Case

import rig

NOBODY = 65534
HOLDER = (
    "import fcntl, signal, sys, time\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
    "files = [open(path, 'a+') for path in sys.argv[1:]]\n"
    "for f in files: fcntl.lockf(f, fcntl.LOCK_EX)\n"
    "print('ready', flush=True)\n"
    f"signal.sigtimedwait([signal.SIGTERM], {TIMEOUT})\n"
)


def findings(out):
    return [json.loads(line) for line in out.splitlines()]


class Checked(Case):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("spool"), 0o700)

    def check(self, status=None):
        """The findings, by level."""
        done = subprocess.run([self.program(), "-c", self.path("conf"), "check", "--json"], capture_output=True, timeout=TIMEOUT, check=False)
        found = findings(done.stdout.decode())
        self.assertEqual(done.returncode, int(any(f["level"] == "error" for f in found)), done.stdout + done.stderr)
        self.assertEqual(done.stderr, b"")
        if status is not None:
            self.assertEqual(done.returncode, status, done.stdout)
        return {level: [f for f in found if f["level"] == level] for level in ("ok", "note", "warning", "error")}

    @staticmethod
    def program():
        return os.path.join(os.environ.get("SPLIT_BUILD_DIR", "build/build"), "splitctl")

    def expect(self, level, pattern):
        found = self.check()
        texts = [f["text"] for f in found[level]]
        for text in texts:
            if re.search(pattern, text):
                return
        self.fail(f"no {level} /{pattern}/ in {found}")


@unittest.skipIf(os.geteuid() != 0, "needs root")
class AsTheDaemons(Checked):
    def setUp(self):
        super().setUp()
        for path in (self.d, self.path("spool")):
            os.chown(path, NOBODY, NOBODY)
            os.chmod(path, 0o755 if path == self.d else 0o700)

    def hold(self, *wrapper):
        """A process of user nobody that holds both locks, as the daemons do."""
        locks = [self.path("milter.sock.pid"), self.path("spool", "lock")]
        command = [*wrapper, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable, "-c", HOLDER, *locks]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process

    def unit(self, **settings):
        """Write a systemctl that knows both units."""
        lines = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "inactive", "MainPID": "0", "User": "nobody", **settings}
        self.write("bin/systemctl", "#!/bin/sh\ncat <<'TEXT'\n" + "".join(f"{k}={v}\n" for k, v in lines.items()) + "TEXT\n")
        os.chmod(self.path("bin", "systemctl"), 0o755)
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = self.path("bin") + ":" + os.environ["PATH"]

    def test_a_daemon_with_another_lock(self):
        """If spool_directory was changed, check reports that the running daemon needs a restart, not that none runs."""
        self.unit(ActiveState="active", MainPID=str(os.getpid()))
        out, _ = self.run_ctl("reload", status=1)
        self.assertIn(f"splitrelay (process {os.getpid()}) was started with another relay.spool_directory: it needs a restart\n", out)
        self.expect("warning", r"^spool: splitrelay runs \(process \d+\), but not with this spool_directory: it needs a restart$")

    def files_of_root(self):
        """Check the findings for files that root can read and user nobody cannot."""
        self.expect("ok", "^tables: 3$")
        os.chmod(self.path("filter"), 0o600)
        self.expect("error", rf"^tables: /\S+/conf:\d+: filter_maps: .*{self.d}/filter: Permission denied")
        os.chmod(self.path("filter"), 0o644)
        self.write("password", "secret\n")
        os.chmod(self.path("password"), 0o600)
        self.configure(more=f'destination secret {{ relay_to = "127.0.0.1:{self.port}" auth_user = "u" auth_password_file = "{self.path("password")}" auth_plaintext = yes tls = none }}\n')
        self.expect("error", rf"^/\S+/conf:\d+: destination secret: {self.d}/password: .*Permission denied")
        os.mkdir(self.path("mail"), 0o755)
        self.configure(more=f'destination files {{ relay_to = "maildir:{self.d}/mail/box" }}\n')
        self.expect("warning", f"^destination files: maildir:{self.d}/mail/box: cannot be written to by user nobody: Permission denied")
        self.configure()
        os.chmod(self.path("conf"), 0o600)
        self.expect("error", r"^configuration: for splitrelay \(user nobody\): .*Permission denied")

    def test_of_a_stopped_daemon(self):
        self.files_of_root()

    def test_of_a_running_daemon(self):
        os.chown(self.path("spool"), NOBODY, NOBODY)
        self.hold()
        self.expect("ok", "^splitrelay: files are opened as user nobody, as its process does$")
        self.files_of_root()

    def test_of_a_unit(self):
        """If the unit's user is not the owner of the spool, check reports an error, because splitrelay refuses such a spool."""
        os.chown(self.path("spool"), 0, 0)
        self.unit()
        self.expect("error", "^spool: .* belongs to root, and splitrelay is user nobody$")

    def test_what_a_sandbox_hides_and_protects(self):
        os.mkdir(self.path("mail"))
        os.chown(self.path("mail"), NOBODY, NOBODY)
        self.write("hidden/filter", "* primary\n")
        os.chmod(self.path("hidden"), 0o755)
        text = CONFIGURATION.format(d=self.d, port=self.port, milter="").replace("/filter", "/hidden/filter")
        self.write("conf", text + f'destination files {{ relay_to = "maildir:{self.d}/mail/box" }}\n')
        self.unit()
        self.assertEqual(self.check(0)["error"], [])
        self.unit(ProtectSystem="strict", ReadWritePaths=f"{self.d}/spool -/run/splitmilter", InaccessiblePaths=f"{self.d}/hidden")
        found = self.check(1)
        texts = [f["text"] for f in found["error"] + found["warning"]]
        for pattern in (
            f"^milter.socket: {self.d}: read-only for splitmilter.service .ProtectSystem=strict, and no ReadWritePaths= names it.; systemctl edit splitmilter",
            f"^destination files: maildir:{self.d}/mail/box: is read-only for splitrelay.service",
            f"^tables: {self.d}/hidden/filter: not visible for splitmilter.service .InaccessiblePaths=",
        ):
            self.assertTrue(any(re.search(pattern, t) for t in texts), f"{pattern}\n{texts}")
        self.assertFalse(any(t.startswith("spool: /") for t in texts), texts)
        self.unit(ProtectSystem="strict", ReadWritePaths=self.d)
        self.assertEqual(self.check(0)["error"], [])

    def test_a_capability_in_a_user_namespace(self):
        """A unit with CAP_NET_BIND_SERVICE and PrivateUsers=yes gets a warning, because it cannot open a privileged port."""
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as f:
            if int(f.read()) < 2:
                self.skipTest("all ports are open to all users here")
        self.write("conf", CONFIGURATION.format(d=self.d, port=self.port, milter="").replace(f"unix:{self.d}/relay.sock", "inet:1@127.0.0.1"))
        self.unit(AmbientCapabilities="cap_net_bind_service", PrivateUsers="yes")
        self.expect("warning", r"^relay.listen: .* user nobody may not listen there .*CAP_NET_BIND_SERVICE and PrivateUsers=no")
        self.unit(AmbientCapabilities="cap_net_bind_service", PrivateUsers="no")
        self.assertFalse([f for f in self.check(0)["warning"] if "may not listen" in f["text"]])

    def test_the_file_system_of_a_running_daemon(self):
        if rig.daemons.has_thread_sanitizer():
            self.skipTest("ThreadSanitizer does not let splitctl enter a mount namespace")
        os.mkdir(self.path("mail"))
        os.chown(self.path("mail"), NOBODY, NOBODY)
        self.configure(more=f'destination files {{ relay_to = "maildir:{self.d}/mail/box" }}\n')
        mount = f'mount --bind "{self.d}/mail" "{self.d}/mail" && mount -o remount,bind,ro "{self.d}/mail" && exec "$@"'
        if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("mount namespaces are not allowed here")
        self.expect("ok", "^destination files: maildir:.* answers$")
        self.hold("unshare", "-m", "sh", "-c", mount, "sh")
        self.expect("warning", f"^destination files: maildir:{self.d}/mail/box: cannot be written to by user nobody: Read-only file system")


class Tables(Checked):
    def test_lines_that_are_skipped(self):
        """check reports each line of a table that look-ups skip, with its place, and prints nothing on standard error."""
        self.write(
            "filter",
            "\ufeff# comment\na@x.test\nb@x.test: primary\nc@x.test primary\nc@x.test secondary\n\"d@x.test primary\n* primary\n",
        )
        self.write("rules", "/(/ primary\n/x/ $2 primary\n/y/ primary\nendif\n")
        self.configure(milter=f'sender_filter_maps = {{ "pcre:{self.path("rules")}" }}')
        found = [(os.path.basename(f["path"]), f["line"], f["text"]) for f in self.check(0)["warning"] if "line" in f]
        self.assertEqual(
            [(name, line) for name, line, _ in found],
            [("filter", 1), ("filter", 2), ("filter", 3), ("filter", 5), ("filter", 6), ("rules", 1), ("rules", 2), ("rules", 4)],
            found,
        )
        words = ("byte order mark", "expected format", '"key: value"', "duplicate entry", "unbalanced", "error in regexp", "larger than the number of groups", "ENDIF")
        for (name, line, text), word in zip(found, words):
            self.assertIn(f"tables: {self.path(name)}:{line}: ", text)
            self.assertIn(word, text)
        out, _ = self.run_ctl("check")
        self.assertRegex(out, r"(?m)^warning +tables: .*/filter:2: expected format")
        self.assertIn("0 errors, 10 warnings", out)  # two of them are about daemons that do not run

    def test_a_byte_order_mark_does_not_hide_the_first_key(self):
        self.write("filter", "\ufefffirst@example.test secondary\n* primary\n")
        out, _ = self.run_ctl("explain", "first@example.test")
        self.assertRegex(out, r"(?m)^  filter +secondary ")

    def test_a_listener(self):
        self.write("listed", "a@x.test\nb@x.test nowhere\n")
        self.configure(more=f'listener smtp {{ listen = {{ "inet:1@127.0.0.1" }} primary = "127.0.0.1:{self.port}" copy_maps = {{ "texthash:{self.path("listed")}" }} }}\n')
        found = self.check(1)
        self.assertEqual([(f.get("path"), f.get("line")) for f in found["error"]], [(self.path("listed"), 2)], found)
        self.assertIn((self.path("listed"), 1), [(f.get("path"), f.get("line")) for f in found["warning"]])

    def test_addresses_that_are_rewritten_for_ever(self):
        self.write("canonical", "a@x.test b@x.test\nb@x.test a@x.test\nc@x.test c@x.test\nd@x.test e@x.test\n@one.test @two.test\n@two.test @one.test\n")
        found = self.check(1)["error"]
        self.assertEqual([f["line"] for f in found], [1, 2, 5, 6], found)
        self.assertIn('canonical mapping of "a@x.test" does not end', found[0]["text"])


class Together(Checked):
    def section(self, where):
        return f'listener smtp {{ listen = {{ "{where}" }} primary = "127.0.0.1:{self.port}" }}\n'

    def test_the_same_port_twice(self):
        self.listen_at("inet:10030@127.0.0.1", self.section("inet:10030@127.0.0.1"))
        self.expect("error", r"^sockets: relay.listen and listen of listener smtp are the same: \[?127\.0\.0\.1\]?:10030$")
        self.listen_at("inet:10030@127.0.0.1", self.section("inet:10030@0.0.0.0"))
        self.expect("error", "^sockets: relay.listen and listen of listener smtp are the same")
        self.configure(more=self.section(f"unix:{self.d}/milter.sock"))
        self.expect("error", "^sockets: milter.socket and listen of listener smtp are the same")
        for other in ("inet:10031@127.0.0.1", "inet:10030@127.0.0.2", "inet6:10030@::"):
            self.listen_at("inet:10030@127.0.0.1", self.section(other))
            self.assertEqual(self.check(0)["error"], [])

    def listen_at(self, where, more=""):
        self.write("conf", CONFIGURATION.format(d=self.d, port=self.port, milter="").replace(f"unix:{self.d}/relay.sock", where) + more)

    def test_a_port_of_another_program(self):
        self.listen_at(f"inet:{self.port}@127.0.0.1")
        self.expect("warning", rf"^relay.listen: \[?127\.0\.0\.1\]?:{self.port}: another program listens there$")
        with open(self.path("spool", "lock"), "w", encoding="ascii") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)  # as splitrelay does
            self.assertFalse([f for f in self.check(0)["warning"] if "another program" in f["text"]])

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_a_port_and_a_group_that_only_root_has(self):
        for path in (self.d, self.path("spool")):
            os.chown(path, NOBODY, NOBODY)
            os.chmod(path, 0o755 if path == self.d else 0o700)
        self.configure(milter="socket_group = daemon")
        self.expect("error", "^milter: socket_group: user nobody is no member of group daemon")
        self.configure(milter=f"socket_group = {grp.getgrgid(NOBODY).gr_name}")
        self.assertEqual(self.check(0)["error"], [])
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as f:
            if int(f.read()) < 2:
                self.skipTest("all ports are open to all users here")
        self.listen_at("inet:1@127.0.0.1")
        self.expect("warning", r"^relay.listen: \[?127\.0\.0\.1\]?:1: user nobody may not listen there .*CAP_NET_BIND_SERVICE")

    def test_a_socket_for_every_local_user(self):
        self.configure(milter='socket_mode = "0666"')
        self.expect("warning", "^milter: socket_mode 0666 lets every local user connect and stop splitmilter")
        self.configure(milter='socket_mode = "0660"')
        self.assertFalse([f for f in self.check()["warning"] if "socket_mode" in f["text"]])

    def test_a_missing_directory(self):
        self.write("conf", CONFIGURATION.format(d=self.d, port=self.port, milter="").replace("/milter.sock", "/nowhere/milter.sock"))
        self.expect("error", f"^milter.socket: {self.d}/nowhere/milter.sock: {self.d}/nowhere: No such file")
        self.configure(more=self.section(f"unix:{self.d}/none/smtp"))
        self.expect("error", f"^listener smtp: listen: {self.d}/none/smtp: {self.d}/none: No such file")

    def test_copies_for_a_destination_that_is_not_configured(self):
        spool = self.path("spool")
        rig.queue.put(spool, "former", state="dead")
        self.expect("note", "^spool: 0 copies for destination former, which is not configured, and 1 dead")
        rig.queue.put(spool, "former")
        self.expect("warning", "^spool: 1 copy for destination former, which is not configured, and 1 dead")

    def write_main_cf(self, delimiter):
        """Dated back: if main.cf has just changed, postconf of Postfix 3.10 forgets MAIL_CONFIG and names /etc/postfix."""
        self.write("postfix/main.cf", f"compatibility_level = 3.6\nrecipient_delimiter = {delimiter}\n")
        rig.date_back(self.path("postfix/main.cf"))

    @unittest.skipIf(shutil.which("postconf") is None, "needs postconf")
    def test_another_recipient_delimiter(self):
        self.addCleanup(os.environ.pop, "MAIL_CONFIG", None)
        os.environ["MAIL_CONFIG"] = self.path("postfix")
        self.write_main_cf("-")
        self.expect("warning", r'^recipient_delimiter is "\+", that of Postfix in .*/postfix is "-"')
        self.write_main_cf("+")
        self.assertFalse([f for f in self.check(0)["warning"] if "recipient_delimiter" in f["text"]])
        # Without tables there is no finding.
        self.write_main_cf("-")
        self.write("conf", f'relay {{ spool_directory = "{self.d}/spool" listen = {{ "unix:{self.d}/relay.sock" }} }}\n')
        self.assertFalse([f for f in self.check(0)["warning"] if "recipient_delimiter" in f["text"]])

    def test_the_last_reload(self):
        with open(self.path("spool", "lock"), "w", encoding="ascii") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            for word, text, pattern in (
                ("failed", "conf:1: wrong", r"^splitrelay: the last reload \(2023-.*\) failed, an older configuration is in use: conf:1: wrong$"),
                ("restart", "relay.listen", r"^splitrelay: since the last reload \(2023-.*\) it needs a restart: relay.listen$"),
            ):
                self.write("spool/lock.reload", f"splitmilter-verdict 1 {os.getpid()} 1 1700000000 {word} {text}\n")
                self.expect("warning", pattern)
            self.write("spool/lock.reload", f"splitmilter-verdict 1 {os.getpid() + 1} 1 1700000000 failed other\n")
            self.assertFalse([f for f in self.check(0)["warning"] if "reload" in f["text"]])

    def test_a_daemon_that_has_no_work_here(self):
        """Without tables splitmilter is not expected to run, and without destinations and listeners splitrelay is not."""
        self.write("conf", f'relay {{ spool_directory = "{self.d}/none" }}\nmilter {{ socket = "unix:{self.d}/milter.sock" }}\n')
        found = self.check(0)
        self.assertEqual(found["warning"], [])
        self.assertEqual(
            [f["text"] for f in found["note"]],
            [
                "milter: splitmilter does not belong to this machine: the configuration has no tables for it",
                "relay: splitrelay does not belong to this machine: the configuration has no destination and no listener",
            ],
        )


class Hostile(Checked):
    """No command of splitctl prints control characters from names that others chose."""

    EVIL = "e\x1b]0;x\x07vil\x1b[2J\u009b31m"

    def test_everything_that_is_printed(self):
        spool, evil = self.path("spool"), self.EVIL
        for state in ("queued", "held", "dead", evil):
            for destination in ("archive", evil):
                ident = rig.queue.put(
                    spool,
                    destination,
                    [(f"{evil}@x.test", evil, "pending", evil), ("a@x.test", "", evil, "")],
                    state=state,
                    sender=f"{evil}@x.test",
                    content=f"Subject: {evil}\r\n\r\nx\r\n".encode(),
                    message_id=f"<{evil}>",
                    mta_queue_id=evil,
                    client=(evil, evil, evil, evil),
                )
        rig.queue.change(spool, "INSERT INTO suspended VALUES ('archive', 1, 0, ?), (?, 1, 0, 'x')", evil, evil)
        columns = "copy, destination, time, sender, recipients, message_id, mta_queue_id, size, result, relay, reply, attempts"
        rig.queue.change(spool, f"INSERT INTO history ({columns}) VALUES (1, ?, 1, ?, ?, ?, ?, 1, ?, ?, ?, 1)", *[evil] * 8)
        if shutil.which("postconf"):
            self.addCleanup(os.environ.pop, "MAIL_CONFIG", None)
            os.environ["MAIL_CONFIG"] = self.path("postfix")
            self.write("postfix/main.cf", f"compatibility_level = 3.6\nmulti_instance_name = {self.EVIL}\nrecipient_delimiter = {self.EVIL}\n"
                       f"queue_directory = {self.path('postfix')}/queue\n")
        os.mkdir(self.path(self.EVIL))
        shutil.copy(self.path("filter"), self.path(self.EVIL, "filter"))
        with open(self.path(self.EVIL, "filter"), "a", encoding="utf-8") as f:
            f.write(f"k{self.EVIL}@x.test no{self.EVIL}where\n")
        self.configure(milter=f'sender_filter_maps = {{ "texthash:{self.path(self.EVIL, "filter")}" }}')
        seen = ""
        for args in (("queue",), ("queue", "--json"), ("queue", "--summary"), ("queue", self.EVIL), ("show", ident), ("show", "--json", ident), ("stats",), ("stats", "--json"),
                     ("history",), ("history", "--json"), ("status",), ("status", "--json"),
                     ("check",), ("check", "--json"), ("explain", "-f", self.EVIL, self.EVIL), ("delete", "--all", self.EVIL), ("delete", "--all", "--from", self.EVIL, "--dry-run"), ("resume", self.EVIL), ("retry", "--all", self.EVIL), ("status", "--postfix", self.EVIL), ("reload",)):
            done = subprocess.run([self.program(), "-c", self.path("conf"), *args], capture_output=True, timeout=TIMEOUT, check=False)
            text = (done.stdout + done.stderr).decode()
            self.assertFalse(re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", text), f"{args}: {text!r}")
            seen += text
        self.assertIn("e?]0;x?vil?[2J", seen)


class Start(Checked):
    """A daemon that is started by hand and cannot serve prints the reason on standard error, although its log goes to syslog."""

    def start(self, expected):
        program = os.path.join(os.path.dirname(self.program()), "splitrelay")
        env = {k: v for k, v in os.environ.items() if k != "JOURNAL_STREAM"}
        done = subprocess.run([program, "-c", self.path("conf")], env=env, capture_output=True, timeout=TIMEOUT, check=False)
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertRegex(done.stderr.decode(), expected)

    def test_a_spool_of_version_0_1(self):
        """Neither is a copy of it delivered, nor is it taken for empty."""
        os.makedirs(self.path("spool", "queue", "archive", "1700000000"))
        os.makedirs(self.path("spool", "hold", "archive"))
        self.assertFalse([f for f in self.check()["error"] if "0.1" in f["text"]])
        self.write("spool/hold/archive/A1", b"splitrelay-spool 1\n")
        pattern = f"spool_directory {self.d}/spool holds copies of splitrelay 0.1 .in hold/.: drain it with splitrelay 0.1 first"
        self.expect("error", f"^spool: {pattern}")
        self.start(f"^splitrelay: {pattern}")
        self.assertFalse(os.path.exists(self.path("spool", "queue.db")))

    def test_a_spool_that_others_may_write(self):
        for mode in (0o777, 0o770, 0o702):
            os.chmod(self.path("spool"), mode)
            self.start(f"^splitrelay: spool_directory {self.d}/spool: others than its owner may write there .mode {mode:04o}.: chmod 0700 ")
        self.assertEqual(os.listdir(self.path("spool")), [])
        self.run_ctl("hold", "--all", status=69)

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_a_spool_of_another(self):
        os.chown(self.path("spool"), NOBODY, NOBODY)
        self.start(f"^splitrelay: spool_directory {self.d}/spool belongs to user {NOBODY}, and this process is user 0$")

    def test_a_socket_that_cannot_be_opened(self):
        """splitmilter prints the reason as well, but not under systemd."""
        self.write("conf", CONFIGURATION.format(d=self.d, port=self.port, milter="").replace("/milter.sock", "/nowhere/milter.sock"))
        program = os.path.join(os.path.dirname(self.program()), "splitmilter")
        env = {k: v for k, v in os.environ.items() if k != "JOURNAL_STREAM"}
        done = subprocess.run([program, "-c", self.path("conf")], env=env, capture_output=True, timeout=TIMEOUT, check=False)
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertRegex(done.stderr.decode(), f"(?m)^splitmilter: cannot open {self.d}/nowhere/milter.sock.pid: No such file")
        done = subprocess.run([program, "-c", self.path("conf")], env=dict(env, JOURNAL_STREAM="8:1"), capture_output=True, timeout=TIMEOUT, check=False)
        self.assertEqual((done.returncode, done.stderr), (69, b""))


if __name__ == "__main__":
    signal.alarm(int(10 * TIMEOUT))
    unittest.main()

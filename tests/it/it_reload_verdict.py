#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl reload waits for the results of the daemons, prints them, and has a matching exit code. No MTA is needed."""

import os
import re
import shutil
import signal

import rig
from rig.daemons import accepts, program

NOBODY = 65534
EX_CONFIG = 78


class Both:
    """splitmilter and splitrelay with one configuration. user: the uid of another user that they run as."""

    def __init__(self, r, user=None):
        self.r = r
        self.port = r.free_port()
        self.directory = r.path("run")
        os.mkdir(self.directory, 0o755)
        os.mkdir(r.path("spool"), 0o700)
        r.write("filter", "* primary\n")
        r.write("password", "secret\n", 0o600)
        wrapper = []
        if user is not None:
            for path in (self.directory, r.path("spool"), r.path("password")):
                os.chown(path, user, user)
            os.chmod(r.sanitizer_directory, 0o777)
            wrapper = [shutil.which("setpriv"), f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        self.path = r.path("verdict.conf")
        self.configure()
        self.milter = rig.Daemon(r, "splitmilter", [*wrapper, program("splitmilter"), "-c", self.path])
        self.relay = rig.Daemon(r, "splitrelay", [*wrapper, program("splitrelay"), "-c", self.path])
        self.milter.start(lambda: accepts(os.path.join(self.directory, "milter.sock")))
        self.relay.start(lambda: accepts(("127.0.0.1", self.port)))

    def configure(self, milter="", port=None, destination=""):
        self.r.write(
            "verdict.conf",
            'log { target = "stderr" }\n'
            f'milter {{ socket = "unix:{self.directory}/milter.sock" filter_maps = {{ "texthash:{self.r.path("filter")}" }} {milter} }}\n'
            'filter primary { nexthop = "smtp:[127.0.0.1]:1" }\n'
            'filter secondary { nexthop = "smtp:[127.0.0.1]:2" }\n'
            f'relay {{ listen = {{ "inet:{port or self.port}@127.0.0.1" }} spool_directory = "{self.r.path("spool")}" }}\n'
            f'destination archive {{ relay_to = "[127.0.0.1]:1" {destination} }}\n',
        )

    def reload(self):
        return rig.run_splitctl(self.r, self.path, "reload", check=False)


def test_it_comes_back_when_they_have_reloaded(r):
    t = Both(r)
    for count in (1, 2):
        status, out, err = t.reload()
        assert status == 0, out + err
        assert out == f"splitmilter has reloaded (process {t.milter.pid})\nsplitrelay has reloaded (process {t.relay.pid})\n", out
        for daemon in (t.milter, t.relay):
            assert len(daemon.log_lines("configuration reloaded")) == count, daemon.log()


def test_what_the_daemon_cannot_read(r):
    """If a daemon cannot read a file that root can read, splitctl reload has the daemon's reason, and exits with 78."""
    rig.need_root()
    t = Both(r, NOBODY)
    t.configure(destination=f'auth_user = "u" auth_password_file = "{r.path("password")}" auth_plaintext = yes tls = none')
    status, out, err = t.reload()
    assert status == 0, out + err
    os.chown(r.path("password"), 0, 0)
    status, out, err = t.reload()
    assert status == EX_CONFIG and "splitmilter has reloaded" in out, out + err
    place = r"its old configuration stays: /\S+/verdict\.conf:\d+: destination archive: "
    assert re.search(rf"splitrelay has not reloaded, {place}{r.path('password')}: ", err), err
    assert "Permission denied" in err, err
    os.chown(r.path("password"), NOBODY, NOBODY)
    os.chmod(r.path("filter"), 0o600)
    status, out, err = t.reload()
    assert status == EX_CONFIG and "splitrelay has reloaded" in out, out + err
    place = r"its old configuration stays: /\S+/verdict\.conf:\d+: filter_maps: "
    assert re.search(f"splitmilter has not reloaded, {place}.*Permission denied", err), err


def test_what_needs_a_restart(r):
    t = Both(r)
    t.configure(milter='socket_mode = "0666"', port=r.free_port())
    status, out, err = t.reload()
    assert status == 1, out + err
    assert f"splitmilter has reloaded (process {t.milter.pid}), but needs a restart: milter.socket_mode\n" in out, out
    assert f"splitrelay has reloaded (process {t.relay.pid}), but needs a restart: relay.listen\n" in out, out
    assert t.milter.log_lines("milter.socket_mode has changed: that needs a restart"), t.milter.log()
    t.configure()
    assert t.reload()[0] == 0


def test_a_verdict_of_another_time_does_not_count(r):
    """splitctl reload ignores the verdict of an earlier reload, and does not wait for a daemon that does not run."""
    t = Both(r)
    for daemon in (t.milter, t.relay):
        daemon.signal(signal.SIGUSR1)
        daemon.wait_log("configuration reloaded")
    r.write("filter", "* secondary\n")
    assert t.reload()[0] == 0
    assert all(len(d.log_lines("configuration reloaded")) == 2 for d in (t.milter, t.relay))
    t.relay.stop()
    status, out, err = t.reload()
    assert status == 0 and "splitrelay does not run\n" in out, out + err


def test_destinations_that_cannot_be_started(r):
    """If there is no memory for the stacks of new destinations, the reload fails, none of them exists, and the old one still
    works."""
    rig.need_tools("strace")
    if rig.daemons.instrumented():
        raise rig.Skip("sanitizers and strace do not go together")
    t = Both(r)
    sink = rig.Sink(r, "archive")
    with open(t.path, encoding="utf-8") as f:
        before = f.read().replace('"[127.0.0.1]:1"', f'"{sink.bracketed}"')
    r.write("verdict.conf", before)
    assert t.reload()[0] == 0
    r.write("verdict.conf", before + "".join(f'destination d{n} {{ relay_to = "{sink.bracketed}" }}\n' for n in range(50)))
    fault = "inject=mprotect:error=ENOMEM"  # mprotect(2) sets the guard of each stack
    with rig.Strace(r, t.relay.pid, fault):
        status, out, err = t.reload()
    assert status == EX_CONFIG and "splitmilter has reloaded" in out, (status, out, err)
    assert re.search(r"splitrelay has not reloaded, .*: destination d\d+: cannot start a worker: Cannot allocate memory", err), err
    for name, code in (("archive", 250), ("d0", 451)):
        with rig.SmtpClient(("127.0.0.1", t.port)) as c:
            c.mail("s@x.test")
            assert c.rcpt(f"a@x.test.{name}.copy.split.invalid").code == code, name
            if code == 250:
                assert c.data(b"Subject: x\r\n\r\ny\r\n").code == 250
    sink.wait(1)
    assert t.reload()[0] == 0
    rig.send(("127.0.0.1", t.port), "s@x.test", [f"a@x.test.d{n}.copy.split.invalid" for n in (0, 49)], b"Subject: x\r\n\r\ny\r\n")
    sink.wait(3)


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A second splitmilter, `milter NAME` and `splitmilter -n NAME`: each has its own tables, and splitctl looks at both."""

import json
import os
import re
import signal
import subprocess

import rig
from rig.daemons import TOP, accepts, program
from rig.milter import ask


class Two:
    """splitmilter and splitmilter -n after, with one configuration."""

    def __init__(self, r):
        self.r = r
        os.environ["MAIL_CONFIG"] = "/nonexistent"
        self.sockets = {"": r.path("milter.sock"), "after": r.path("after.sock")}
        os.mkdir(r.path("spool"), 0o700)
        r.write("copy", "a@example.com archive\n")
        self.path = self.configure()
        self.daemons = {}
        for name, socket in self.sockets.items():
            argv = [program("splitmilter"), "-c", self.path, *(("-n", name) if name else ())]
            self.daemons[name] = rig.Daemon(r, f"splitmilter{name}", argv).start(lambda socket=socket: accepts(socket))

    def configure(self, front="", after="", more=""):
        return self.r.write(
            "two.conf",
            'log { target = "stderr" }\n'
            f'milter {{ socket = "unix:{self.sockets[""]}" filter_maps = {{ "static:primary" }} {front} }}\n'
            f'milter after {{ socket = "unix:{self.sockets["after"]}" copy_maps = {{ "texthash:{self.r.path("copy")}" }} {after} }}\n'
            'filter primary { nexthop = "smtp:[127.0.0.1]:1" }\n'
            f'relay {{ listen = {{ "inet:{self.r.free_port()}@127.0.0.1" }} spool_directory = "{self.r.path("spool")}" min_free_space = "1k" }}\n'
            f'destination archive {{ relay_to = {{ "[127.0.0.1]:1" }} }}\n{more}',
        )

    def ctl(self, *args, status=0):
        code, out, err = rig.run_splitctl(self.r, self.path, *args, check=False)
        assert code == status, f"{args}: exit {code}, not {status}\n{out}{err}"
        return out + err


def test_each_has_its_own_tables(r):
    t = Two(r)
    assert ask(t.sockets[""]) == [("+", "<a@example.com.primary.filter.split.invalid>"), ("-", "<a@example.com>")], ask(t.sockets[""])
    assert ask(t.sockets["after"]) == [("+", "<a@example.com.archive.copy.split.invalid>")], ask(t.sockets["after"])
    for args, words in ((("explain",), r"filter +primary.*\n +copies +none"), (("explain", "-n", "after"), r"filter +none.*\n +copies +archive")):
        assert re.search(words, t.ctl(*args, "a@example.com")), args
    assert "two.conf: there is no section \"milter other\"" in t.ctl("explain", "-n", "other", "a@example.com", status=78)


def test_check(r):
    """check looks at the socket and the tables of both, and counts a destination as used that only one of them names."""
    t = Two(r)
    out = t.ctl("check", status=0)
    for line in ("milter: unix:{} answers", "milter after: unix:{} answers"):
        assert line.format(t.sockets["after" if "after" in line else ""]) in out, out
    assert "tables: 1" in out and "tables of milter after: 1" in out and "no table names it" not in out, out
    t.daemons["after"].stop()
    assert re.search("milter after: .*: no answer", t.ctl("check"))
    r.write("copy", "a@example.com nowhere\n")
    assert re.search(r"error +tables of milter after: .*/copy:1: ", t.ctl("check", status=1)), t.ctl("check", status=1)
    r.write("copy", "")
    t.configure(front=f'metrics = {{ "unix:{t.sockets["after"]}" }}')
    out = t.ctl("check", status=1)
    assert "milter.metrics and milter after.socket are the same" in out and "destination archive: no table names it" in out, out


def test_status(r):
    t = Two(r)
    found = json.loads(t.ctl("status", "--json", status=2))
    for name, daemon in t.daemons.items():
        s = found["splitmilter" + ("@" + name if name else "")]
        assert (s["running"], s["pid"]) == (True, daemon.pid), found
    assert found["reason"] == "splitrelay does not run", found
    assert re.search(rf"(?m)^splitmilter@after +runs +process {t.daemons['after'].pid}, unix:.*after.sock$", t.ctl("status", status=2))
    t.daemons["after"].stop()
    assert json.loads(t.ctl("status", "--json", status=2))["reason"] == "splitmilter@after does not run; splitrelay does not run"


def test_reload(r):
    """reload tells both, with the result of each; a mistake in a table of one of them keeps it from telling anybody."""
    t = Two(r)
    out = t.ctl("reload")
    for name, daemon in t.daemons.items():
        assert f"splitmilter{'@' + name if name else ''} has reloaded (process {daemon.pid})\n" in out, out
    t.configure(after='socket_mode = "0600"')
    out = t.ctl("reload", status=1)
    assert f"splitmilter@after has reloaded (process {t.daemons['after'].pid}), but needs a restart: milter after.socket_mode\n" in out, out
    assert f"splitmilter has reloaded (process {t.daemons[''].pid})\n" in out, out
    before = [len(d.log_lines("configuration reloaded")) for d in t.daemons.values()]
    r.write("copy", "a@example.com nowhere\n")
    assert "copy:1: " in t.ctl("reload", status=78)
    assert [len(d.log_lines("configuration reloaded")) for d in t.daemons.values()] == before
    # A section that is gone is refused, and the daemon goes on with the old one.
    r.write("copy", "a@example.com archive\n")
    text = open(t.path, encoding="utf-8").read()
    r.write("two.conf", re.sub("(?m)^milter after.*\n", "", text))
    t.daemons["after"].signal(signal.SIGUSR1)
    t.daemons["after"].wait_log('two.conf: there is no section "milter after"')
    assert ask(t.sockets["after"]) == [("+", "<a@example.com.archive.copy.split.invalid>")]


def test_command_line(r):
    path = r.write("c.conf", 'milter after { }\n')
    run = lambda name, *args: subprocess.run([program(name), "-c", path, *args], capture_output=True, text=True, timeout=60, check=False)
    assert run("splitmilter", "-n", "after", "-t").returncode == 0
    done = run("splitmilter", "-n", "other", "-t")
    assert done.returncode == 78 and 'c.conf: there is no section "milter other"' in done.stderr, done
    assert run("splitrelay", "-n", "after", "-t").returncode == 64


def test_unit(r):
    """splitmilter@.service has the settings of splitmilter.service, sandbox included, with -n and the directories of postfix-out; a
    daemon works in it, and reloads as ExecReload says."""
    texts = []
    for name in ("splitmilter", "splitmilter@"):
        with open(os.path.join(TOP, "conf", "systemd", f"{name}.service.in"), encoding="utf-8") as f:
            texts.append([line for line in f.read().splitlines() if not line.startswith(("#", "Description="))])
    differing = {line.partition("=")[0]: (line, other) for line, other in zip(*texts) if line != other}
    assert len(texts[0]) == len(texts[1]) and sorted(differing) == ["Before", "ExecStart", "ReadWritePaths"], differing
    assert all(set(line.split()) <= set(other.split()) for line, other in differing.values()), differing
    assert differing["ExecStart"][1].endswith("/splitmilter.conf -n %i")
    box = rig.Sandbox("splitmilter@")
    os.makedirs(r.path("run"))
    socket = f"{box.give(r.path('run'))}/after.sock"
    path = r.write("c.conf", f'log {{ target = "stderr" }} milter after {{ socket = "unix:{socket}" filter_maps = {{ "static:f" }} }} filter f {{ nexthop = "smtp:h" }}')
    daemon = rig.Daemon(r, "boxed", [*box.wrapper, program("splitmilter"), "-c", path, "-n", "after"]).start(lambda: accepts(socket))
    assert ask(socket)[0] == ("+", "<a@example.com.f.filter.split.invalid>")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log("configuration reloaded")


if __name__ == "__main__":
    rig.main(timeout=120)

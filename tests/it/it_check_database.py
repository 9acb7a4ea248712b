#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl check with a queue in PostgreSQL: who may read the password, replication, nodes. No output has the password."""

import json
import os
import re
import subprocess

import rig
from rig.daemons import program
from rig.node import Node

SECRET = "b%40d-secret"


class Site:
    """A server with a database, and a configuration that names it."""

    def __init__(self, r):
        self.r = r
        self.server = rig.Postgres(r, "db")
        self.uri = self.server.create_database("splitmilter")
        os.environ["MAIL_CONFIG"] = "/nonexistent"
        os.mkdir(r.path("spool"), 0o700)

    def configure(self, uri, more='queue_replicated = "no"', mode=0o640):
        self.path = self.r.write(
            "check.conf",
            f'log {{ target = "stderr" }}\nmilter {{ socket = "unix:{self.r.path("m.sock")}" }}\n'
            f'relay {{ listen = {{ "unix:{self.r.path("r.sock")}" }} spool_directory = "{self.r.path("spool")}" min_free_space = "1k"\n'
            f'queue = "{uri}" node = "one" {more} }}\n'
            f'destination archive {{ relay_to = {{ "[127.0.0.1]:1" }} }}\n',
            mode,
        )

    def ctl(self, *args):
        """(exit status, everything that was said)"""
        code, out, err = rig.run_splitctl(self.r, self.path, *args, check=False)
        return code, out + err

    def findings(self):
        """[(level, text)] of the findings about the queue."""
        _, said, _ = rig.run_splitctl(self.r, self.path, "check", "--json", check=False)
        return [(f["level"], f["text"]) for f in map(json.loads, said.splitlines()) if f["text"].startswith(("queue: ", "spool: "))]

    def levels(self, text):
        return [level for level, t in self.findings() if text in t]


def test_a_password_in_the_configuration(r):
    """A password in a file that all users may read is a warning. No output shows the password, whatever fails."""
    s = Site(r)
    for uri in (s.uri.replace("splitrelay@", f"splitrelay:{SECRET}@"), s.uri + f"&password={SECRET}"):
        for mode, levels in ((0o644, ["warning"]), (0o640, []), (0o600, [])):
            s.configure(uri, mode=mode)
            assert s.levels("has a password, and all users may read it") == levels, (oct(mode), s.findings())
        for args in (("check",), ("status",), ("status", "--json"), ("queue",), ("stats",), ("hold", "--all"), ("suspend", "archive")):
            code, said = s.ctl(*args)
            assert code != 0 and "password authentication failed" in said, (args, said)
            assert "secret" not in said, said
        done = subprocess.run([program("splitrelay"), "-c", s.path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        assert done.returncode != 0 and b"password authentication failed" in done.stdout and b"secret" not in done.stdout, done.stdout


def test_mistakes_in_the_uri(r):
    """What is wrong in a URI is told without its password."""
    s = Site(r)
    host = f"127.0.0.1:{s.server.port}"
    for uri in (f"postgresql://splitrelay:sec/ret@{host}/splitmilter", f"postgresql://splitrelay:sec%ret@{host}/splitmilter",
                f"postgresql://splitrelay:secret@{host}:x/splitmilter", f"postgresql://splitrelay:secret@{host}/splitmilter?sslmode=maybe",
                f"postgresql://splitrelay:secret@{host}/splitmilter?nonsense=1", f"postgresql://splitrelay:secret@{host}/splitmilter?x",
                f"postgresql://splitrelay:secret@no.such.host.invalid/splitmilter", f"postgresql://splitrelay:secret@{host}/other"):
        s.configure(uri)
        for args in (("check",), ("queue",), ("status", "--json")):
            code, said = s.ctl(*args)
            assert code != 0 and "sec" not in said, (uri, said)


def test_a_file_of_passwords(r):
    """A passfile that libpq would not use, or cannot read, is an error."""
    s = Site(r)
    s.configure(s.uri)
    assert s.levels("queue: passfile") == [] and s.levels("PostgreSQL 1") == ["ok"], s.findings()
    os.chmod(s.server.passfile, 0o640)
    assert s.levels("others than its owner may use it (mode 0640)") == ["error"], s.findings()
    os.chmod(s.server.passfile, 0o600)
    os.rename(s.server.passfile, s.server.passfile + ".gone")
    assert s.levels("No such file") == ["error"], s.findings()


def test_replication(r):
    """Without a synchronous standby the check has an error that names the setting, or a note with queue_replicated = "no"."""
    s = Site(r)
    s.configure(s.uri)
    assert s.levels("synchronous_standby_names is empty") == ["note"], s.findings()
    s.configure(s.uri, more="")
    assert s.levels("synchronous_standby_names is empty") == ["error"], s.findings()
    code, said = s.ctl("status")
    assert code == 2 and "replication: synchronous_standby_names is empty" in said.split("\n")[0], said
    assert s.ctl("check")[0] == 1
    standby = s.server.add_standby("standby")
    s.server.replicate(standby)
    assert s.levels("1 of 1 standbys synchronous") == ["ok"] and s.levels("synchronous_standby_names") == [], s.findings()
    found = json.loads(s.ctl("status", "--json")[1])["splitrelay"]
    assert found["queue"] == s.uri and found["replication"]["problem"] == "" and found["replication"]["synchronous"] == 1, found
    standby.stop()
    rig.wait_for(lambda: s.levels("is attached") == ["error"], 20, "the loss of the standby", s.findings)


def test_nodes(r):
    """status, show and queue tell what each node has; a node that is silent is a warning, one that was stopped is none."""
    s = Site(r)
    sink = rig.Sink(r, "archive", hook=lambda stage, _conn, _arg: rig.HANG if stage == "mail" else None)
    one, two = (Node(r, name, s.uri, sink, replicated="no") for name in ("one", "two"))
    assert one.put("x").code == 250

    def nodes(code=0):
        status, said, _ = rig.run_splitctl(r, two.configuration, "status", "--json", check=False)
        found = json.loads(said)
        assert status == code, found
        return found["reason"], {n["name"]: n for n in found["splitrelay"]["nodes"]}

    def copy():
        return json.loads(rig.run_splitctl(r, two.configuration, "queue", "--json", check=False)[1])

    _, found = nodes()
    assert [(n, found[n]["alive"], found[n]["copies"]) for n in ("one", "two")] == [("one", True, 1), ("two", True, 0)], found
    assert copy()["node"] == "one" and "ordered" not in copy(), copy()
    assert re.search("(?m)^node +one$", rig.run_splitctl(r, two.configuration, "show", copy()["queue_id"], check=False)[1])
    done = rig.run_splitctl(r, two.configuration, "delete", "--yes", "--all", check=False)
    assert "1 being delivered" in done[1], done
    assert copy()["ordered"] == "delete" and nodes()[0] == "", copy()
    text = rig.run_splitctl(r, two.configuration, "status", check=False)[1]
    assert "node one              alive, 1 copy, version " in text and "1 wait until no worker has their copies" in text, text
    two.daemon.stop()
    _, found = nodes(2)  # splitrelay does not run here
    assert not found["two"]["alive"] and found["two"]["until"] is None and found["two"]["copies"] == 0, found
    two.start()
    one.daemon.kill()
    rig.wait_for(lambda: not nodes_of(r, two)["one"]["alive"], 30, "the end of a lease")
    reason, found = nodes(1)
    assert reason == "node one is silent" and found["one"]["copies"] == 0 and found["one"]["until"] > 0, (reason, found)
    s.configure(s.uri)
    assert s.levels("node one is silent") == ["warning"], s.findings()


def nodes_of(r, node):
    said = rig.run_splitctl(r, node.configuration, "status", "--json", check=False)[1]
    return {n["name"]: n for n in json.loads(said)["splitrelay"]["nodes"]}


if __name__ == "__main__":
    rig.main()

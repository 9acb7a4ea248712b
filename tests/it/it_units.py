#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The daemons work behind the seccomp filter of their units, and in the unit's user namespace."""

import os
import shutil
import signal
import ssl
import stat
import subprocess
import urllib.request

import rig
from rig.milter import ask

CONTENT = b"Subject: x\r\nTo: a@example.com\r\n\r\ntext\r\n"


def directory(r, box, name):
    os.makedirs(r.path(name), exist_ok=True)
    return box.give(r.path(name))


def added(address):
    """The recipients that splitmilter adds to a message."""
    return [change[1] for change in ask(address) if change[0] == "+"]


def reload(daemon):
    before = len(daemon.log_lines("configuration reloaded"))
    daemon.signal(signal.SIGUSR1)
    daemon.wait_log("configuration reloaded", count=before + 1)


def page(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return answer.read().decode()


MILTER = """\
log {{ target = "stderr" }}
milter {{
    socket = "{socket}" {group}
    canonical_maps = {{ "texthash:{tables}/canonical", "pcre:{tables}/pcre" }}
    canonical_classes = {{ "envelope_recipient", "header_recipient" }}
    filter_maps = {{ "regexp:{tables}/regexp", "static:primary" }}
    metrics = {{ "inet:{metrics}" }}
}}
filter primary {{ nexthop = "smtp:[127.0.0.1]:25" }}
"""


def milter(r, socket, address, group=""):
    box = rig.Sandbox("splitmilter")
    run, metrics = directory(r, box, "run"), r.free_port()
    r.write("tables/canonical", "a@example.com b@example.com\n")
    r.write("tables/pcre", "/^(.*)@old\\.test$/ $1@new.test\n")
    r.write("tables/regexp", "/@other\\.test$/ none\n")
    text = MILTER.format(socket=socket.format(run=run), group=group, tables=r.path("tables"), metrics=metrics)
    daemon = rig.start_splitmilter(r, text, address, wrapper=box.wrapper)
    assert added(address) == ["<b@example.com.primary.filter.split.invalid>"]
    r.write("tables/canonical", "a@example.com c@example.com\n")
    reload(daemon)
    assert added(address) == ["<c@example.com.primary.filter.split.invalid>"]
    assert "splitmilter_" in page(metrics)
    return box, daemon


def test_splitmilter_gives_its_socket_to_a_group(r):
    path = r.path("run/milter.sock")
    box, _ = milter(r, "unix:{run}/milter.sock", path, 'socket_group = "mail"')
    assert os.stat(path).st_gid == box.gid and stat.S_IMODE(os.stat(path).st_mode) == 0o660


def test_splitmilter_on_tcp(r):
    port = r.free_port()
    milter(r, f"inet:{port}@127.0.0.1", ("127.0.0.1", port))


def test_splitmilter_says_why_it_may_not(r):
    """If the unit's user is not a member of socket_group, splitmilter ends with an error text, and is not killed."""
    box = rig.Sandbox("splitmilter")
    run = directory(r, box, "run")
    text = f'log {{ target = "stderr" }} milter {{ socket = "unix:{run}/m.sock" socket_group = "adm" }}'
    done = subprocess.run([*box.wrapper, rig.program("splitmilter"), "-c", r.write("m.conf", text)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 69 and "to group adm: Operation not permitted" in done.stderr, done


RELAY = """\
log {{ target = "stderr" }}
relay {{
    listen = {{ "inet:{port}@127.0.0.1", "unix:{run}/relay.sock" }}
    hostname = "relay.test" spool_directory = "{spool}" min_free_space = "1k"
    dns_servers = {{ "{dns}" }} metrics = {{ "inet:{metrics}" }} tls_cert_file = "{own}"
}}
destination archive {{ relay_to = {{ "archive.test:{sink}" }} tls = "verify" tls_ca_file = "{ca}" tls_name = {{ "mx.test" }}
    retry_min = "1s" retry_max = "1s" {more} }}
destination files {{ relay_to = {{ "maildir:{mail}" }} }}
destination system {{ relay_to = {{ "localhost:{plain}" }} inet_protocols = "ipv4" tls = "may" retry_min = "1s" retry_max = "1s" }}
listener migration {{ listen = {{ "inet:{listener}@127.0.0.1" }} primary = {{ "[127.0.0.1]:{plain}" }} copies = {{ "files" }} }}
"""


def test_splitrelay(r):
    """splitrelay can do all its work in the sandbox: TCP and unix sockets, a listener, TLS on both sides, MX and the system's
    resolver, a Maildir, and reload."""
    box = rig.Sandbox("splitrelay")
    ca = rig.Authority(r)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.issue("mx", "DNS:mx.test").path)
    sink = rig.Sink(r, "archive", tls=context)
    plain = rig.Sink(r, "plain")
    dns = rig.Dns(r, {("archive.test", "MX"): [(10, "mx.test")], ("mx.test", "A"): ["127.0.0.1"], ("localhost", "A"): ["127.0.0.1"]})
    own = box.give(ca.issue("own", "DNS:relay.test").path)
    ports = {name: r.free_port() for name in ("port", "metrics", "listener")}
    values = {name: directory(r, box, name) for name in ("run", "spool", "mail")}
    values |= {"dns": dns.server, "own": own, "ca": ca.path, "sink": sink.address[1], "plain": plain.address[1], **ports}
    daemon = rig.start_splitrelay(r, RELAY.format(more="", **values), ("127.0.0.1", ports["port"]), wrapper=box.wrapper)
    copies = [f"a@example.com.{name}.copy.split.invalid" for name in ("archive", "files", "system")]
    rig.send(daemon.address, "s@sender.test", copies, CONTENT)
    assert sink.wait(1)[0].tls.startswith("TLS")
    plain.wait(1)
    rig.wait_for(lambda: os.listdir(r.path("mail", "new")), 20, "a file in the Maildir", daemon.log)
    rig.send(("127.0.0.1", ports["listener"]), "s@sender.test", ["b@example.com"], CONTENT)
    plain.wait(2)
    rig.wait_for(lambda: len(os.listdir(r.path("mail", "new"))) == 2, 20, "the listener's copy", daemon.log)

    r.write("splitrelay.conf", RELAY.format(more='sender = "null"', **values))
    reload(daemon)
    rig.send(daemon.address, "s@sender.test", copies[:1], CONTENT)
    assert sink.wait(2)[1].sender == ""
    assert "splitrelay_" in page(ports["metrics"])
    assert rig.run_splitctl(r, daemon.configuration_path, "queue")[0] == 0
    rig.run_splitctl(r, daemon.configuration_path, "retry", "--all")


def test_daemons_are_limited_and_started_again(_):
    for name in ("splitmilter", "splitrelay"):
        unit = rig.Sandbox(name).unit
        with open(unit, encoding="utf-8") as f:
            text = f.read()
        head, service = text.split("[Service]")
        assert "\nStartLimitIntervalSec=0\n" in head  # systemd ignores the setting below [Service]
        for line in ("Restart=on-failure", "RestartSec=2s", "TasksMax=", "MemoryMax="):
            assert f"\n{line}" in service, (name, line)


def test_a_forbidden_call_is_an_error(r):
    """A forbidden system call returns an error, so that a daemon can log it. Without SystemCallErrorNumber it would be killed."""
    for name in ("splitmilter", "splitrelay"):
        box = rig.Sandbox(name)
        argv = [*box.wrapper, shutil.which("chroot", path="/usr/sbin:/usr/bin"), "/", "true"]
        done = subprocess.run(argv, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"), timeout=60, check=False)
        assert done.returncode == 125 and "Operation not permitted" in done.stderr, (name, done)


if __name__ == "__main__":
    rig.main()

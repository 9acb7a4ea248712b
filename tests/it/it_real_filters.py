#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""docs/filters.md with the real filters: amavis and spampd of Debian's packages, each of which gets its own recipients."""

import os
import pwd
import re
import socket
import threading

import rig

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
PORTS = {"amavis": 10024, "spampd": 10027}


class Syslog:
    """A listener at port 514, without which spampd does not start."""

    def __init__(self, r):
        self.path = r.path("syslog")
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 514))
        threading.Thread(target=self._take, daemon=True).start()
        r.show_on_failure("syslog", self.path)
        r.on_close(self.sock.close)

    def _take(self):
        with open(self.path, "ab", buffering=0) as f:
            while True:
                try:
                    f.write(self.sock.recv(8192) + b"\n")
                except OSError:
                    return


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def start(r, guide, name):
    """Start a filter as the unit of its package does."""
    user = pwd.getpwnam(name)
    directory = f"/run/{name}"
    os.makedirs(directory, exist_ok=True)
    os.chown(directory, user.pw_uid, user.pw_gid)
    argv = ["amavisd", "foreground"]
    if name == "spampd":
        # The jail has no journal, so spampd logs over the network.
        with open("/etc/default/spampd", "a", encoding="ascii") as f:
            f.write("LOGINET=1\n")
        guide.run("sh /usr/share/spampd/process_arguments.sh")
        with open("/run/spampd/spampd.arguments", encoding="ascii") as f:
            argv = ["spampd", "--nodetach", *f.read().partition("=")[2].replace('"', "").split()]
    daemon = rig.Daemon(r, name, argv, env={"PATH": rig.environment()["PATH"]})
    daemon.start(lambda: accepts(PORTS[name]), seconds=40)
    r.on_close(daemon.kill)  # after SIGTERM a Perl daemon has another exit status than 0
    return daemon


def test_each_recipient_has_its_filter(r):
    rig.need_tools("amavisd", "spampd")
    guide = rig.Guide(r)
    mailbox = rig.Sink(r, "mailbox")
    guide.fresh(mailbox, {})
    guide.run("postfix start")
    Syslog(r)
    guide.follow("filters.md")
    for name in PORTS:
        start(r, guide, name)
    for name in ("splitrelay", "splitmilter", "postfix"):
        guide.service("restart", name)
    body = b"From: s@example.net\r\nTo: list@example.com\r\nSubject: offer\r\nMessage-Id: <1@example.net>\r\n\r\n" + GTUBE
    rcpts = ["anna@example.com", "ben@example.com", "abuse@example.com"]
    rig.send(("127.0.0.1", 25), "s@example.net", rcpts, body)
    mailbox.wait_recipients(3, seconds=60)
    seen = {a: t for t in mailbox.accepted for a in t.addrs}
    assert sorted(seen) == sorted(rcpts) and len(mailbox.accepted) == 3, mailbox.describe()

    anna, ben, abuse = (seen[a] for a in rcpts)
    passed = {a: [h for h in t.headers("Received") if "amavis" in h] for a, t in seen.items()}
    assert len(passed[rcpts[0]]) == 1 and not passed[rcpts[1]] and not passed[rcpts[2]], passed
    assert anna.headers("X-Spam-Flag") == ["YES"] and not anna.headers("X-Spam-Checker-Version"), anna.data
    assert ben.headers("X-Spam-Checker-Version"), ben.data
    assert re.match("Yes", ben.headers("X-Spam-Status")[0]), ben.data
    assert not abuse.headers("X-Spam-Status"), abuse.data
    # amavis got the client's attributes, and Postfix still has them behind the filter.
    log = guide.run("cat /var/log/mail.log")
    assert re.search(r"reinject/smtpd.*orig_client=", log), log
    assert "loops back" not in log


if __name__ == "__main__":
    rig.main(timeout=150)

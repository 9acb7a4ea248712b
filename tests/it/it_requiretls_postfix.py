#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A message with REQUIRETLS that Postfix 3.11 receives passes the filter and is copied, or waits, although neither the filter nor
splitrelay offers REQUIRETLS. It is never bounced and never dropped."""

import subprocess
import time

import rig
from rig.setup_system import HERE, System

# Postfix enforces REQUIRETLS by default for a next hop that is a host name, here the filter; main.cf does so for all.
MAIN = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = {certificate}
smtp_requiretls_policy = {policy}
"""
MAILBOX = "mailbox unix - - n - - smtp\n    -o smtp_requiretls_policy=opportunistic\n"
LATER = "451 4.3.0 later"


def setup(r):
    done = subprocess.run(["postconf", "-d", "smtp_requiretls_policy"], capture_output=True, text=True, env=rig.environment(), check=False)
    if " = " not in done.stdout:
        raise rig.Skip("Postfix before 3.11 does not know REQUIRETLS")
    return System(r)


def prepare(s, policy):
    certificate = rig.Authority(s.r, f"ca{s.number}").issue("mail", "DNS:mail.example.com")
    s.fresh(main=MAIN.format(certificate=certificate.path, policy=policy))
    port = s.filters["primary"].address[1]
    s.configuration = s.configuration.replace(s.filters["primary"].bracketed, f"[filter.test]:{port}")
    s.conf = s.r.write("setup.conf", s.configuration)
    s.write("/etc/hosts", s.read("/etc/hosts") + "\n127.0.0.1 filter.test\n")
    s.write("/etc/postfix/master.cf", s.read("/etc/postfix/master.cf") + MAILBOX)
    s.write("/etc/postfix/own_routes", f"/@/ mailbox:[127.0.0.1]:{s.mailbox.address[1]}\n")
    s.ctl("--single", "--apply")
    s.start()


def send(subject):
    """To a recipient with a filter and a copy, and to one with a copy only."""
    with rig.SmtpClient((HERE, 25)) as c:
        c.starttls()
        assert "REQUIRETLS" in c.extensions, c.extensions
        assert c.mail("s@sender.test", "REQUIRETLS").code == 250
        for rcpt in ("anna@example.com", "carl@example.com"):
            assert c.rcpt(rcpt).code == 250
        assert c.data(f"From: s@sender.test\r\nSubject: {subject}\r\n\r\ntext\r\n".encode()).code == 250


def arrived(sink, subject):
    return sorted((a, *t.headers("X-Filtered-By")) for t in sink.accepted if subject in t.headers("Subject") for a in t.addrs)


def wait_for(s, is_done, what):
    """Wait, and have Postfix try its queue again every other second: qmgr(8) leaves a message for minutes if it was locked."""
    flushed = 0

    def poll():
        nonlocal flushed
        if is_done():
            return True
        if time.monotonic() > flushed + 2:
            s.run("postqueue", "-f")
            flushed = time.monotonic()
        return False

    rig.wait_for(poll, 40, what, s.log)


def wait_for_all(s, subject):
    wanted = [("anna@example.com", "primary"), ("carl@example.com",)]
    wait_for(s, lambda: arrived(s.mailbox, subject) == wanted, "the mail")
    wait_for(s, lambda: arrived(s.archive, subject) == [("anna@example.com",), ("carl@example.com",)], "the copies")
    # Whoever gets the mail or the copy sees that the sender has asked for TLS.
    for sink in (s.mailbox, s.archive):
        assert all(t.headers("Require-TLS-ESMTP") == ["yes"] for t in sink.accepted if subject in t.headers("Subject"))


def never_bounced(s):
    wait_for(s, lambda: "Mail queue is empty" in s.run("mailq"), "an empty queue")
    assert "status=bounced" not in s.log() and "non-delivery" not in s.log(), s.log()
    assert not [t for t in s.mailbox.accepted if t.sender == ""]


def check(s, policy):
    prepare(s, policy)
    send("at once")
    wait_for_all(s, "at once")
    # The filter, splitrelay's destination, and splitrelay itself take mail later.
    s.filters["primary"].hook, pass_on = lambda stage, *_: LATER if stage == "mail" else None, s.filters["primary"].hook
    s.archive.hook = lambda stage, *_: LATER if stage == "mail" else None
    relay = s.daemons[0]
    relay.stop()
    send("later")
    rig.wait_for(lambda: s.log().count("status=deferred") >= 2, 30, "deferred mail", s.log)
    assert arrived(s.mailbox, "later") in ([], [("carl@example.com",)]) and arrived(s.archive, "later") == []
    relay.start(lambda: rig.daemons.accepts(("127.0.0.1", 10030)))
    s.filters["primary"].hook, s.archive.hook = pass_on, None
    wait_for_all(s, "later")
    never_bounced(s)


def test_default_policy(s):
    """Postfix enforces REQUIRETLS for host names."""
    default = subprocess.run(["postconf", "-dh", "smtp_requiretls_policy"], capture_output=True, text=True, env=rig.environment(), check=True)
    check(s, default.stdout.strip())


def test_enforced_everywhere(s):
    """main.cf enforces REQUIRETLS for all next hops."""
    check(s, "enforce")


if __name__ == "__main__":
    rig.main(timeout=240)

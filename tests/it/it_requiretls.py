#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""REQUIRETLS (RFC 8689) is offered under TLS only and kept with a copy, which is never sent to a server that does not offer it."""

import os
import re

import rig
from it_tls import RIGHT, server_context

EXTENSIONS = ("PIPELINING", "8BITMIME", "DSN", "REQUIRETLS")
WITHOUT = ("PIPELINING", "8BITMIME", "DSN")
CONTENT = b"Subject: x\r\n\r\ny\r\n"
NOT_OFFERED = "REQUIRETLS is required, but it was not offered by host "
NOT_VERIFIED = "REQUIRETLS is required, but the certificate is not verified of host "
NOT_ENCRYPTED = "REQUIRETLS is required, but the connection is not encrypted to host "


class Relay:
    """splitrelay with TLS; destinations: name -> (relay_to, further options)."""

    def __init__(self, r, destinations, primary=None, listener=""):
        self.authority = rig.Authority(r)
        self.certificate = self.authority.issue("relay", RIGHT)
        self.address = ("127.0.0.1", r.free_port())
        self.listener = ("127.0.0.1", r.free_port())
        os.mkdir(r.path("spool"), 0o700)
        tls = f'tls_cert_file = "{self.certificate.path}"'
        text = (
            f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test"\n'
            f'spool_directory = "{r.path("spool")}" {tls} }}\n'
        )
        for name, (to, more) in destinations.items():
            text += f'destination {name} {{ relay_to = {{ {to} }} retry_min = "1s" retry_max = "1s" {more} }}\n'
        if primary:
            text += (
                f'listener migration {{ listen = {{ "inet:{self.listener[1]}@127.0.0.1" }} primary = {{ "{primary}" }} {tls}\n'
                f'pool_connections = 0 {listener} }}\n'
            )
        self.daemon = rig.start_splitrelay(r, text.replace("{ca}", self.authority.path), self.address)

    def server(self, name):
        """The TLS context of a server with a good certificate."""
        return server_context(self.authority.issue(name, RIGHT))

    def send(self, *names, words="REQUIRETLS"):
        with rig.SmtpClient(self.address) as c:
            c.starttls()
            assert c.mail("s@x.test", words).code == 250
            for name in names:
                assert c.rcpt(f"a@x.test.{name}.copy.split.invalid").code == 250
            assert c.data(CONTENT).code == 250


VERIFY = 'tls = "verify" tls_ca_file = "{ca}"'


def test_what_is_offered(r):
    """REQUIRETLS is offered and accepted under TLS only."""
    t = Relay(r, {"archive": ('"[127.0.0.1]:1"', "")})
    with rig.SmtpClient(t.address) as c:
        assert "REQUIRETLS" not in c.extensions, c.extensions
        assert str(c.mail("s@x.test", "REQUIRETLS")).startswith("530 5.7.10 ")
        c.starttls()
        assert "REQUIRETLS" in c.extensions, c.extensions
        assert str(c.mail("s@x.test", "REQUIRETLS=yes")).startswith("501 5.5.4 ")
        assert str(c.mail("s@x.test", "REQUIRETLS requiretls")).startswith("501 5.5.4 ")
        assert c.mail("s@x.test", "requiretls BODY=8BITMIME").code == 250


def test_destinations(r):
    """A copy with REQUIRETLS is sent only to a verified server that offers it, and waits otherwise, also over a restart. A copy
    without REQUIRETLS is sent to all."""
    names = ("good", "anycert", "trusting", "plain", "without")
    sinks = {name: rig.Sink(r, name, extensions=WITHOUT if name == "without" else EXTENSIONS) for name in names}
    sinks["second"] = rig.Sink(r, "second", extensions=EXTENSIONS)
    to = {name: f'"{sink.bracketed}"' for name, sink in sinks.items()}
    t = Relay(
        r,
        {
            "good": (to["good"], VERIFY),
            "trusting": (to["trusting"], 'tls = "may" tls_ca_file = "{ca}"'),
            "anycert": (to["anycert"], 'tls = "encrypt"'),
            "plain": (to["plain"], 'tls = "none"'),
            "without": (to["without"], VERIFY),
            "second": (f'{to["without"]}, {to["second"]}', VERIFY),
            "files": (f'"maildir:{r.path("mail")}"', ""),
        },
    )
    for name, sink in sinks.items():
        if name != "plain":
            sink.tls = t.server(name)
    everywhere = ("good", "trusting", "anycert", "plain", "without", "second", "files")
    for round_number in (1, 2):
        t.send(*everywhere)
        for name in ("good", "trusting", "second"):
            txn = sinks[name].wait(round_number)[-1]
            assert "REQUIRETLS" in txn.mail_params and txn.tls, (name, txn)
        rig.wait_for(lambda n=round_number: len(t.daemon.log_lines("dest=files, .*status=sent")) == n, 10, "the file", t.daemon.log)
    for name, why in (("anycert", NOT_VERIFIED), ("plain", NOT_ENCRYPTED), ("without", NOT_OFFERED)):
        t.daemon.wait_log(rf"dest={name}, relay=127\S+, .*dsn=4\.7\.30, status=deferred \({re.escape(why)}127\.0\.0\.1", count=4)
        assert not sinks[name].transactions, name
    assert not t.daemon.log_lines("suspended"), t.daemon.log()
    # Copies without REQUIRETLS do not wait for them.
    t.send(*everywhere, words="")
    for name, sink in sinks.items():
        txn = sink.wait(3 if name in ("good", "trusting", "second") else 1)[-1] if name != "second" else None
        assert txn is None or "REQUIRETLS" not in txn.mail_params, (name, txn)
    # The copies wait over a restart, and are sent when the server offers REQUIRETLS.
    t.daemon.stop()
    sinks["without"].extensions = EXTENSIONS
    t.daemon.start(lambda: rig.daemons.accepts(t.address))
    rig.wait_for(lambda: len([x for x in sinks["without"].accepted if x.tls and "REQUIRETLS" in x.mail_params]) == 2, 20, "two copies", t.daemon.log)
    assert not any("REQUIRETLS" in x.mail_params for x in sinks["anycert"].transactions + sinks["plain"].transactions)


def test_kept_connection(r):
    """A copy with REQUIRETLS does not use a kept connection to a server that does not offer it. A copy without REQUIRETLS may use
    any kept connection."""
    sinks = [rig.Sink(r, "first", extensions=WITHOUT), rig.Sink(r, "second", extensions=EXTENSIONS)]
    t = Relay(r, {"archive": (", ".join(f'"{sink.bracketed}"' for sink in sinks), VERIFY + " concurrency = 1")})
    for sink in sinks:
        sink.tls = t.server(sink.name)
    t.send("archive", words="")
    sinks[0].wait(1)
    t.send("archive")
    assert "REQUIRETLS" in sinks[1].wait(1)[0].mail_params
    t.send("archive", words="")
    assert "REQUIRETLS" not in sinks[1].wait(2)[1].mail_params
    assert len(sinks[0].transactions) == 1 and [line for _, line in sinks[0].commands][-1] == "QUIT"
    assert not t.daemon.log_lines("deferred|suspended"), t.daemon.log()


def test_listener(r):
    """A listener offers REQUIRETLS only if its primary does, and refuses it otherwise."""
    primary = rig.Sink(r, "primary", extensions=EXTENSIONS)
    t = Relay(r, {"archive": ('"[127.0.0.1]:1"', "")}, primary.bracketed, 'copies = { "archive" } primary_tls = "verify" primary_tls_ca_file = "{ca}"')
    primary.tls = t.server("primary")
    with rig.SmtpClient(t.listener) as c:
        assert "REQUIRETLS" not in c.extensions
        assert str(c.mail("s@x.test", "REQUIRETLS")).startswith("530 5.7.10 ")
        c.starttls()
        assert "REQUIRETLS" in c.extensions, c.extensions
        assert c.mail("s@x.test", "REQUIRETLS").code == 250 and c.rcpt("a@x.test").code == 250
        assert c.data(CONTENT).code == 250
        assert primary.wait(1)[0].mail_params == ["REQUIRETLS"] and primary.accepted[0].tls
        t.daemon.wait_log("dest=archive, .*status=deferred")
        primary.extensions = WITHOUT
        primary.cut()
        rig.wait_for(lambda: primary.open_connections == 0, 10, "no connection")
        assert str(c.mail("s@x.test", "REQUIRETLS")).startswith("451 4.7.30 ")
        assert c.mail("s@x.test").code == 250
    with rig.SmtpClient(t.listener) as c:
        c.starttls()
        assert "REQUIRETLS" not in c.extensions
        assert str(c.mail("s@x.test", "REQUIRETLS")).startswith("550 5.7.30 ")
    assert len(primary.transactions) == 1


def test_listener_with_a_primary_that_is_not_verified(r):
    primary = rig.Sink(r, "primary", extensions=EXTENSIONS)
    t = Relay(r, {"archive": ('"[127.0.0.1]:1"', "")}, primary.bracketed, 'primary_tls = "encrypt"')
    primary.tls = t.server("primary")
    with rig.SmtpClient(t.listener) as c:
        c.starttls()
        assert "REQUIRETLS" not in c.extensions
        assert str(c.mail("s@x.test", "REQUIRETLS")).startswith("550 5.7.30 ")
        assert c.mail("s@x.test").code == 250


if __name__ == "__main__":
    rig.main()

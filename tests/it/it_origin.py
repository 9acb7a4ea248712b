#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The options xforward and xclient: a real Postfix behind splitrelay logs the original client, and applies its rules to it."""

import os

import rig

HOSTS = "127.0.0.0/8"
MAIN = {
    "relay_domains": "example.com",
    "smtpd_authorized_xforward_hosts": HOSTS,
    "smtpd_delay_reject": "no",
    "smtpd_client_restrictions": "check_client_access inline:{192.0.2.66=REJECT}",
    "smtpd_helo_required": "yes",
    "inet_protocols": "all",
}


class Relay:
    """splitrelay before a Postfix that delivers to a sink. The destination odd is a sink with few extensions."""

    def __init__(self, r, lines, main=None):
        self.sink = rig.Sink(r, "mailbox")
        self.odd = rig.Sink(r, "odd", extensions=("PIPELINING", "XFORWARD ADDR FUTURE HELO"))
        self.postfix = rig.Postfix(r, "newmail", {**MAIN, "relayhost": self.sink.bracketed, **(main or {})})
        self.postfix.start()
        self.address = ("127.0.0.1", r.free_port())
        os.mkdir(r.path("spool"), 0o700)
        self.daemon = rig.start_splitrelay(
            r,
            f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test"\n'
            f'spool_directory = "{r.path("spool")}" }}\n'
            + "".join(
                f'destination {name} {{ relay_to = {{ "{to}" }} concurrency = 1 retry_min = "1s" retry_max = "1s" {lines} }}\n'
                for name, to in (("newmail", self.postfix.bracketed), ("odd", self.odd.bracketed))
            ),
            self.address,
        )

    def send(self, subject, xforward="", name="newmail", recipients=("anna",)):
        with rig.SmtpClient(self.address, helo="mta.test") as c:
            if xforward:
                assert c.cmd(f"XFORWARD {xforward}").code == 250
            assert c.mail("s@sender.test").code == 250
            for recipient in recipients:
                assert c.rcpt(f"{recipient}@example.com.{name}.copy.split.invalid").code == 250
            assert c.data(f"Subject: {subject}\r\n\r\nx\r\n".encode()).code == 250

    def arrived(self, subject):
        """Wait for the message with this subject, and return the mailbox's transaction."""

        def there():
            return [t for t in self.sink.accepted if subject in t.headers("Subject")]

        return rig.wait_for(there, 20, f"{subject} at the mailbox", lambda: self.daemon.log() + self.postfix.log())[0]

    def said(self, verb):
        return [line for _, line in self.odd.commands if line.startswith(verb)]


CLIENT = "NAME=client.test ADDR=192.0.2.7 PROTO=ESMTP HELO=helo.test IDENT=4QUEUE1"


def with_own_relay(lines, main=None):
    def wrap(function):
        def test(r):
            function(Relay(r, lines, main))

        test.__name__, test.__doc__ = function.__name__, function.__doc__
        return test

    return wrap


@with_own_relay('xforward = "yes"')
def test_xforward(t):
    """With XFORWARD Postfix logs the original client and queue id of each message."""
    t.send("one", CLIENT)
    t.arrived("one")
    t.postfix.wait_log(r"client=\S*\[127\.0\.0\.1\], orig_queue_id=4QUEUE1, orig_client=client\.test\[192\.0\.2\.7\]")
    # a message of another client over the same connection, with IPv6, and a HELO that needs encoding
    t.send("two", "NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7 PROTO=SMTP HELO=a+20b+2B IDENT=4QUEUE2")
    t.arrived("two")
    t.postfix.wait_log(r"orig_queue_id=4QUEUE2, orig_client=unknown\[2001:db8::7\]")
    t.daemon.wait_log(r"conn_use=2, .*status=sent")
    # without XFORWARD from the MTA, the MTA is the client
    t.send("three")
    t.arrived("three")
    t.postfix.wait_log(r"orig_queue_id=\w{10,}, orig_client=unknown\[127\.0\.0\.1\]")
    assert not t.daemon.log_lines("refuses XFORWARD")


@with_own_relay('xforward = "yes" recipient_limit = 1')
def test_xforward_before_each_transaction(t):
    """XFORWARD is sent before each transaction, also if the recipients of one copy are in two transactions."""
    t.send("limit", CLIENT, recipients=("anna", "ben"))
    rig.wait_for(lambda: len(t.postfix.log_lines("orig_queue_id=4QUEUE1, orig_client=client.test")) == 2, 15, "two transactions")
    rig.wait_for(lambda: len(t.sink.accepted) == 2, 15, "two messages")


@with_own_relay('xforward = "yes" xclient = "yes"')
def test_what_is_not_offered_is_not_sent(t):
    t.send("odd", CLIENT, "odd")
    t.odd.wait(1)
    assert t.said("XFORWARD") == ["XFORWARD ADDR=192.0.2.7", "XFORWARD HELO=helo.test"], t.said("XFORWARD")
    assert not t.said("XCLIENT")
    t.odd.hook = lambda stage, _c, _a: "550 5.7.0 no" if stage == "xfor" else None
    t.send("refused", CLIENT, "odd")
    t.odd.wait(2)
    t.daemon.wait_log(r"warning: dest=odd: \S+ refuses XFORWARD with 550", count=2)


@with_own_relay('xclient = "yes"', {"smtpd_authorized_xclient_hosts": HOSTS, "smtpd_authorized_xforward_hosts": ""})
def test_xclient(t):
    """With XCLIENT the log and Received have the original client, and a connection is used for one client only."""
    t.send("one", CLIENT)
    received = t.arrived("one").headers("Received")[0]
    assert "from helo.test (client.test [192.0.2.7])" in received, received
    t.postfix.wait_log(r"smtpd\[\d+\]: \w+: client=client\.test\[192\.0\.2\.7\]$")
    t.send("two", CLIENT.replace("4QUEUE1", "4QUEUE2"))
    t.arrived("two")
    t.daemon.wait_log(r"conn_use=2, .*status=sent")
    t.send("three", "ADDR=IPV6:2001:db8::7 PROTO=SMTP HELO=(x)+20y IDENT=4QUEUE3")
    received = t.arrived("three").headers("Received")[0]
    assert "from relay.test (unknown [IPv6:2001:db8::7])" in received, received
    t.postfix.wait_log(r"smtpd\[\d+\]: \w+: client=unknown\[2001:db8::7\]$")
    assert len(t.daemon.log_lines("conn_use=")) == 1
    t.send("four", CLIENT)
    t.arrived("four")
    assert len(t.postfix.log_lines(r": client=client\.test\[192\.0\.2\.7\]$")) == 3


@with_own_relay('xclient = "yes"', {"smtpd_authorized_xclient_hosts": HOSTS})
def test_xclient_that_is_refused(t):
    """If the server refuses the client of XCLIENT, its copy waits, and the copies of other clients are delivered."""
    t.send("bad", "NAME=bad.test ADDR=192.0.2.66 PROTO=ESMTP HELO=bad.test IDENT=4BAD")
    t.daemon.wait_log(
        r"dest=newmail, .*dsn=4\.7\.1, status=deferred \(host \S+ said: 554 5\.7\.1 .*192\.0\.2\.66.*\(in reply to XCLIENT command\)"
    )
    t.send("good", CLIENT)
    t.arrived("good")
    t.daemon.wait_log(r"192\.0\.2\.66.*in reply to XCLIENT", count=4)
    assert not t.daemon.log_lines("suspended")


def test_xclient_and_authentication(r):
    """A destination with both XCLIENT and a password is a configuration error, because XCLIENT ends the authentication."""
    password = r.write("password", "x", 0o600)
    path = r.write(
        "c.conf",
        f'destination a {{ relay_to = {{ "[127.0.0.1]:25" }} tls = "encrypt"\nauth_user = "u" auth_password_file = "{password}"\n'
        'xclient = "yes" }\n',
    )
    status, out, err = rig.run_splitctl(r, path, "check", check=False)
    assert status != 0 and f"{path}:3: destination a: xclient: XCLIENT ends the authentication" in out + err, out + err


if __name__ == "__main__":
    rig.main()

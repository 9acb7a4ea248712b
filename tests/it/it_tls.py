#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""TLS to destinations: with every policy and every kind of server a copy is delivered or deferred as splitmilter.conf(5) says.
Also misbehaving servers, and TLS from clients."""

import os
import re
import signal
import socket
import ssl

import rig

POLICIES = {
    "none": 'tls = "none"',
    "auto": "",  # the default: none to loopback addresses
    "may": 'tls = "may"',
    "encrypt": 'tls = "encrypt"',
    "verify": 'tls = "verify" tls_ca_file = "{ca}"',
    "name": 'tls = "verify" tls_ca_file = "{ca}" tls_name = {{ "mail.right.test" }}',
    "fingerprint": 'tls = "verify" tls_fingerprint = {{ "{fingerprint}" }}',
}

# The result for a copy: "plain" or "TLS": it is delivered so; otherwise it is deferred with this text in the log.
NOT_OFFERED = r"dsn=4\.7\.4, status=deferred \(TLS is required, but was not offered by host "
NO_START = r"dsn=4\.7\.5, status=deferred \(Cannot start TLS with "
NOT_GOOD = r"dsn=4\.7\.5, status=deferred \(Server certificate not verified: .*: "
SELF_SIGNED = NOT_GOOD + "self.signed certificate"
OTHER_NAME = NOT_GOOD + "the certificate is for another name"
OTHER_FINGERPRINT = NOT_GOOD + "its fingerprint is "
EXPIRED = NOT_GOOD + "certificate has expired"
EXPECTED = {
    #               none     auto     may      encrypt      verify       name         fingerprint (of the right one)
    "notls":       ("plain", "plain", "plain", NOT_OFFERED, NOT_OFFERED, NOT_OFFERED, NOT_OFFERED),
    "selfsigned":  ("plain", "plain", "TLS",   "TLS",       SELF_SIGNED, SELF_SIGNED, OTHER_FINGERPRINT),
    "wrongname":   ("plain", "plain", "TLS",   "TLS",       OTHER_NAME,  OTHER_NAME,  OTHER_FINGERPRINT),
    "expired":     ("plain", "plain", "TLS",   "TLS",       EXPIRED,     EXPIRED,     OTHER_FINGERPRINT),
    "right":       ("plain", "plain", "TLS",   "TLS",       "TLS",       "TLS",       "TLS"),
    "oldtls":      ("plain", "plain", "plain", NO_START,    NO_START,    NO_START,    NO_START),
}  # fmt: skip
RIGHT = "IP:127.0.0.1,DNS:mail.right.test"


class Certificates:
    def __init__(self, r):
        self.authority = rig.Authority(r)
        self.right = self.authority.issue("right", RIGHT)
        self.by_server = {
            "selfsigned": self.authority.self_signed("selfsigned", RIGHT),
            "wrongname": self.authority.issue("wrongname", "DNS:mail.wrong.test,IP:127.0.0.9"),
            "expired": self.authority.issue("expired", RIGHT, expired=True),
            "right": self.right,
            "oldtls": self.right,
        }


def server_context(certificate, authority=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    if authority:
        context.load_verify_locations(authority.path)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Relay:
    """splitrelay; destinations: name -> (relay_to, further options)."""

    def __init__(self, r, destinations, relay=""):
        self.rig = r
        self.destinations = destinations
        self.relay = relay
        self.address = ("127.0.0.1", r.free_port())
        self.spool = r.path("spool")
        os.mkdir(self.spool, 0o700)
        self.daemon = rig.start_splitrelay(r, self.text(), self.address)

    def text(self):
        sections = "".join(
            f'destination {name} {{ relay_to = {{ {to} }} retry_min = "1s" retry_max = "1s" command_timeout = "3s" {more} }}\n'
            for name, (to, more) in self.destinations.items()
        )
        return (
            'log { target = "stderr" }\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{self.spool}"\n'
            f"{self.relay} }}\n{sections}"
        )

    def send(self, *names, subject="x"):
        rcpts = [f"{name}@x.test.{name}.copy.split.invalid" for name in names]
        rig.send(self.address, "s@x.test", rcpts, f"Subject: {subject}\r\n\r\nx\r\n".encode())

    def reload(self):
        with open(self.daemon.configuration_path, "w", encoding="utf-8") as f:
            f.write(self.text())
        before = len(self.daemon.log_lines("configuration (not )?reloaded"))
        self.daemon.signal(signal.SIGUSR1)
        return self.daemon.wait_log("configuration (not )?reloaded", count=before + 1)[-1]

    def queued(self, name):
        return rig.queue.ids(self.spool, "queued", name)


def sections(certificates, servers):
    """Destinations for every policy with every server: name -> (relay_to, further options). servers: name -> port."""
    found = {}
    for server, port in servers.items():
        for policy, text in POLICIES.items():
            more = text.format(ca=certificates.authority.path, fingerprint=certificates.right.fingerprint)
            found[f"{policy}-{server}"] = (f'"[127.0.0.1]:{port}"', more)
    return found


def check_matrix(r, certificates, servers, sink, tls_header):
    """Send one copy for each cell of EXPECTED, and check the results. tls_header: the text of the server's Received header after a
    delivery with TLS."""
    relay = Relay(r, sections(certificates, servers))
    relay.send(*relay.destinations)
    expected = {f"{p}-{s}": EXPECTED[s][i] for s in servers for i, p in enumerate(POLICIES)}
    held = {name: text for name, text in expected.items() if text not in ("plain", "TLS")}
    delivered = {name: text for name, text in expected.items() if text in ("plain", "TLS")}
    sink.wait(len(delivered), 60)
    for name, text in held.items():
        relay.daemon.wait_log(rf"to=<{name}@x\.test>, dest={name}, .*{text}", 20)
    got = {}
    for t in sink.accepted:
        assert len(t.addrs) == 1, t
        name = t.addrs[0].split("@")[0]
        assert name not in got, f"{name} twice"
        got[name] = "TLS" if re.search(tls_header, " ".join(t.headers("Received"))) else "plain"
    assert got == delivered, {n: (got.get(n), delivered.get(n)) for n in got.keys() | delivered.keys() if got.get(n) != delivered.get(n)}
    for name in held:
        assert relay.queued(name), f"{name} is not in the queue"
        assert not relay.daemon.log_lines(rf"dest={name}, .*status=(sent|dead)"), name
    for name, text in delivered.items():
        words = [ln.split(" TLS connection established to ")[0].split()[-1] for ln in relay.daemon.log_lines(rf"bits\), dest={name}$")]
        policy = name.split("-")[0]
        wanted = [] if text == "plain" else ["Verified"] if policy in ("verify", "name", "fingerprint") else ["Untrusted"]
        assert words == wanted, (name, words, wanted)


def test_postfix(r):
    """With Postfix as the destination every policy has the result of EXPECTED."""
    certificates = Certificates(r)
    sink = rig.Sink(r, "mailbox")
    ports = {name: r.free_port() for name in EXPECTED}
    services = ""
    for name, port in ports.items():
        options = [f"smtpd_tls_security_level={'none' if name == 'notls' else 'may'}"]
        if name != "notls":
            options.append(f"smtpd_tls_chain_files={certificates.by_server[name].path}")
        if name == "oldtls":
            options += ["smtpd_tls_protocols=TLSv1,TLSv1.1", "tls_medium_cipherlist=ALL:@SECLEVEL=0"]
        services += f"127.0.0.1:{port} inet n - n - - smtpd" + "".join(f" -o {{{o}}}" for o in options) + "\n"
    server = rig.Postfix(
        r, "server", {"relayhost": sink.bracketed, "smtpd_tls_received_header": "yes", "tls_random_source": "dev:/dev/urandom"}, services
    )
    server.start()
    check_matrix(r, certificates, ports, sink, r"using TLSv1\.3 with cipher")


def test_exim(r):
    """With Exim (and GnuTLS) as the destination every policy has the result of EXPECTED."""
    rig.exim_program()
    certificates = Certificates(r)
    sink = rig.Sink(r, "mailbox")
    ports = {name: r.free_port() for name in EXPECTED}
    tls = {
        ports[name]: (certificate, ":-VERS-ALL:+VERS-TLS1.1" if name == "oldtls" else "")
        for name, certificate in certificates.by_server.items()
    }
    rig.Exim(r, "server", sink, list(ports.values()), tls)
    check_matrix(r, certificates, ports, sink, r"with esmtps")


def test_wrapped(r):
    """With tls_wrap a connection begins with TLS, as at port 465. SNI has the host name, and the certificate is verified for
    it."""
    certificates = Certificates(r)
    local = certificates.authority.issue("local", "DNS:localhost")
    asked = []
    context = server_context(local)
    context.sni_callback = lambda sock, name, ctx: asked.append(name)
    sink = rig.Sink(r, "wrapped", tls=context, wrap=True)
    verify = f'tls = "verify" tls_ca_file = "{certificates.authority.path}" tls_wrap = "yes"'
    relay = Relay(
        r,
        {
            "host": (f'"[localhost]:{sink.address[1]}"', verify),
            "address": (f'"[127.0.0.1]:{sink.address[1]}"', verify),
            "below": (f'"[127.0.0.1]:{sink.address[1]}"', verify + ' tls_name = { ".test", "localhost" }'),
        },
    )
    relay.send("host", "below", "address")
    sink.wait(2)
    relay.daemon.wait_log("dest=address, .*" + OTHER_NAME)
    assert sorted(t.addrs[0] for t in sink.accepted) == ["below@x.test", "host@x.test"]
    assert all(t.tls == "TLSv1.3" for t in sink.accepted)
    assert "localhost" in asked and None in asked and len(set(asked)) == 2, asked


def test_names_behind_mx(r):
    """A certificate is verified for the domain, or for tls_name, and not for the name in an MX record, which can be forged."""
    authority = rig.Authority(r)
    asked = []
    context = server_context(authority.issue("mx", "DNS:mx.example.test"))
    context.sni_callback = lambda sock, name, ctx: asked.append(name)
    sink = rig.Sink(r, "mx", tls=context)
    own = rig.Sink(r, "own", tls=server_context(authority.issue("own", "DNS:own.test")))
    dns = rig.Dns(
        r,
        {
            ("example.test", "MX"): [(10, "mx.example.test")],
            ("own.test", "MX"): [(10, "mx.example.test")],
            ("mx.example.test", "A"): ["127.0.0.1"],
        },
    )
    verify = f'tls = "verify" tls_ca_file = "{authority.path}" '
    relay = Relay(
        r,
        {
            "domain": (f'"example.test:{sink.address[1]}"', verify),
            "named": (f'"example.test:{sink.address[1]}"', verify + 'tls_name = "mx.example.test"'),
            "below": (f'"example.test:{sink.address[1]}"', verify + 'tls_name = { ".example.test" }'),
            "own": (f'"own.test:{own.address[1]}"', verify),
        },
        f'dns_servers = {{ "127.0.0.1:{dns.address[1]}" }}',
    )
    relay.send("domain", "named", "below", "own")
    sink.wait(2)
    own.wait(1)
    relay.daemon.wait_log("dest=domain, .*" + OTHER_NAME)
    assert sorted(t.addrs[0] for t in sink.accepted) == ["below@x.test", "named@x.test"]
    assert {"example.test", "mx.example.test"} == set(asked), asked


def test_sessions_and_connections(r):
    """With each version of TLS a connection is reused for further copies, and a new connection resumes the session."""
    certificates = Certificates(r)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = server_context(certificates.right)
        context.minimum_version = context.maximum_version = version
        name = version.name.lower().replace("_", "")
        sink = rig.Sink(r, name, tls=context)
        relay = Relay.__new__(Relay)
        relay.rig, relay.relay, relay.address = r, "", ("127.0.0.1", r.free_port())
        relay.spool = r.path(f"spool-{name}")
        os.mkdir(relay.spool, 0o700)
        more = f'tls = "verify" tls_ca_file = "{certificates.authority.path}" concurrency = 1'
        relay.destinations = {"a": (f'"{sink.bracketed}"', more)}
        relay.daemon = rig.start_splitrelay(r, relay.text(), relay.address)
        for i in range(3):
            relay.send("a")
            sink.wait(i + 1)
        relay.daemon.wait_log(r"conn_use=3, .*status=sent")
        assert sink.connections == 1
        sink.cut()
        relay.send("a")
        sink.wait(4)
        relay.daemon.wait_log(rf"Verified TLS connection resumed to 127\.0\.0\.1\[127\.0\.0\.1\]:{sink.address[1]}: TLSv1\.")
        relay.daemon.stop()


def test_client_certificate(r):
    """A copy is delivered to a Postfix that accepts only clients with a certificate, if the destination has one."""
    certificates = Certificates(r)
    ours = certificates.authority.issue("ours", "DNS:relay.test")
    sink = rig.Sink(r, "mailbox")
    server = rig.Postfix(
        r,
        "server",
        {
            "relayhost": sink.bracketed,
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_req_ccert": "yes",
            "smtpd_tls_chain_files": certificates.right.path,
            "smtpd_tls_CAfile": certificates.authority.path,
            "smtpd_tls_received_header": "yes",
            "tls_random_source": "dev:/dev/urandom",
        },
    )
    server.start()
    verify = f'tls = "verify" tls_ca_file = "{certificates.authority.path}"'
    relay = Relay(
        r,
        {
            "with": (f'"{server.bracketed}"', verify + f' tls_cert_file = "{ours.path}"'),
            "without": (f'"{server.bracketed}"', verify),
        },
    )
    relay.send("with", "without")
    received = " ".join(sink.wait(1)[0].headers("Received"))
    assert "(Client CN" in received and '"ours"' in received and "verified OK" in received, received
    relay.daemon.wait_log(r"dest=without, .*status=deferred")
    assert len(sink.accepted) == 1


def test_odd_servers(r):
    """If the handshake hangs or fails, or STARTTLS is refused, "encrypt" defers the copy and "may" sends it in plain text. A reply
    that is injected before TLS is discarded."""
    certificates = Certificates(r)
    context = server_context(certificates.right)
    encrypt, may = 'tls = "encrypt"', 'tls = "may"'

    def answer(text):
        return lambda stage, conn, arg: text if stage == "starttls" else None

    injected = "220 2.0.0 Go on\r\n250-injected.test\r\n250 SIZE 10"
    hooks = {
        "garbage": answer(rig.Raw(b"220 2.0.0 Go on\r\nThis is no handshake, and it is long enough to be read as one.\r\n")),
        "hang": answer(rig.Raw(b"220 2.0.0 Go on\r\n")),
        "refuse": answer("454 4.7.0 TLS not available"),
        "never": answer("554 5.7.0 No"),
        "inject": answer(injected),
    }
    sinks = {name: rig.Sink(r, name, tls=context, hook=hook) for name, hook in hooks.items()}
    destinations = {}
    for name, sink in sinks.items():
        destinations[f"{name}-may"] = (f'"{sink.bracketed}"', may)
        destinations[f"{name}-encrypt"] = (f'"{sink.bracketed}"', encrypt)
    relay = Relay(r, destinations)
    relay.send(*destinations)
    for name, sink in sinks.items():
        count = 2 if name == "inject" else 1
        found = sink.wait(count)
        assert len(found) == count, name
        versions = sorted(t.tls for t in found)
        assert versions == (["TLSv1.3", "TLSv1.3"] if name == "inject" else [""]), (name, versions)
    relay.daemon.wait_log(r"dest=garbage-encrypt, .*" + NO_START)
    relay.daemon.wait_log(r"dest=hang-encrypt, .*" + NO_START + ".*timed out")
    relay.daemon.wait_log(r"dest=refuse-encrypt, .*dsn=4\.7\.0, status=deferred \(host .* said: 454 4\.7\.0 TLS not available")
    relay.daemon.wait_log(r"dest=never-encrypt, .*dsn=4\.7\.0, status=deferred \(host .* said: 554 5\.7\.0 No")
    for name in ("garbage", "hang"):
        assert len(relay.daemon.log_lines(rf"dest={name}-may: Cannot start TLS with .*: going on without TLS")) == 1
    for name in ("garbage", "hang", "refuse", "never"):
        assert relay.queued(f"{name}-encrypt"), name


def test_held_until_mended(r):
    """A deferred copy is sent when the server's certificate is right. A reload reads the files again, and fails if one is
    damaged."""
    certificates = Certificates(r)
    sink = rig.Sink(r, "server", tls=server_context(certificates.by_server["expired"]))
    ca = r.path("trusted.pem")
    with open(ca, "w", encoding="ascii") as out, open(certificates.authority.path, encoding="ascii") as f:
        out.write(f.read())
    relay = Relay(r, {"a": (f'"{sink.bracketed}"', f'tls = "verify" tls_ca_file = "{ca}"')})
    relay.send("a")
    relay.daemon.wait_log("dest=a, .*" + EXPIRED)
    sink.tls = server_context(certificates.right)
    sink.wait(1)
    relay.daemon.wait_log("status=sent")
    with open(ca, "w", encoding="ascii") as f:
        f.write("nothing\n")
    assert re.search(r"not reloaded, the old one stays: /\S+\.conf:\d+: destination a: " + re.escape(ca), relay.reload())
    relay.send("a")
    sink.wait(2)
    other = rig.Authority(r, "other")
    os.replace(other.path, ca)
    assert "not" not in relay.reload()
    relay.send("a")
    relay.daemon.wait_log("dest=a, .*Server certificate not verified: .*(unable to get|self.signed)")
    assert len(sink.accepted) == 2


def test_primary(r):
    """A listener sends mail to its primary with TLS. If the certificate is not verified, the client gets a temporary refusal."""
    certificates = Certificates(r)
    sink = rig.Sink(r, "primary", tls=server_context(certificates.right))
    wrong = rig.Sink(r, "wrong", tls=server_context(certificates.by_server["wrongname"]))
    good, bad = (("127.0.0.1", r.free_port()) for _ in range(2))
    relay = Relay.__new__(Relay)
    relay.rig, relay.relay, relay.address, relay.destinations = r, "", ("127.0.0.1", r.free_port()), {}
    relay.spool = r.path("spool")
    os.mkdir(relay.spool, 0o700)
    text = relay.text()
    for name, address, server in (("good", good, sink), ("bad", bad, wrong)):
        text += (
            f'listener {name} {{ listen = {{ "inet:{address[1]}@127.0.0.1" }} primary = {{ "{server.bracketed}" }}\n'
            f'primary_tls = "verify" primary_tls_ca_file = "{certificates.authority.path}" }}\n'
        )
    relay.daemon = rig.start_splitrelay(r, text, relay.address)
    for _ in range(2):
        rig.send(good, "s@x.test", ["a@x.test"], b"Subject: x\r\n\r\nx\r\n")
    assert [t.tls for t in sink.wait(2)] == ["TLSv1.3", "TLSv1.3"]
    for greeting, refused in (("HELO", 451), ("EHLO", 421)):
        with rig.SmtpClient(bad, helo=None) as c:
            reply = c.cmd(f"{greeting} client.test")
            if reply.code == 250:
                reply = c.mail("s@x.test")
            assert str(reply).startswith(f"{refused} 4.7.5 Server certificate not verified"), reply
    assert not wrong.transactions


def test_plain_is_never_sent_where_tls_must_be(r):
    """A server without TLS gets no command but EHLO and QUIT from a destination with "encrypt" or "verify"."""
    sink = rig.Sink(r, "plain")
    relay = Relay(r, {"a": (f'"{sink.bracketed}"', 'tls = "encrypt"'), "v": (f'"{sink.bracketed}"', 'tls = "verify"')})
    relay.send("a", "v")
    relay.daemon.wait_log("dest=a, .*" + NOT_OFFERED, count=2)
    relay.daemon.wait_log("dest=v, .*" + NOT_OFFERED, count=2)
    assert {line.split()[0] for _, line in sink.commands} <= {"EHLO", "QUIT"}, sink.commands


def front(r, name, to, **settings):
    """A Postfix that sends all mail to splitrelay."""
    return rig.Postfix(r, name, {"relayhost": to, "tls_random_source": "dev:/dev/urandom", **settings})


def test_incoming(r):
    """splitrelay accepts mail from a real Postfix with STARTTLS and without; with tls = "encrypt" only with it. Commands that were
    sent before the handshake are discarded."""
    certificates = Certificates(r)
    sink = rig.Sink(r, "archive")
    relay = Relay(r, {"archive": (f'"{sink.bracketed}"', "")}, f'tls_cert_file = "{certificates.right.path}"')
    to = f"[127.0.0.1]:{relay.address[1]}"
    verify = {"smtp_tls_security_level": "verify", "smtp_tls_CAfile": certificates.authority.path, "smtp_tls_verify_cert_match": "mail.right.test"}
    fronts = {"plain": front(r, "plain", to), "secure": front(r, "secure", to, smtp_tls_loglevel="1", **verify)}
    for name, server in fronts.items():
        server.start()
        rig.send(server.address, "s@x.test", [f"{name}@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n")
        server.wait_log("status=sent")
    fronts["secure"].wait_log("Verified TLS connection established to 127.0.0.1")
    relay.daemon.wait_log(r"Anonymous TLS connection established from \[127\.0\.0\.1\]: TLSv1\.3 with cipher ")
    with_ = {t.addrs[0].split("@")[0]: t.headers("Received")[0] for t in sink.wait(2)}
    assert "with ESMTPS" in with_["secure"] and "with ESMTP;" in with_["plain"].replace("ESMTP id", "ESMTP;"), with_
    relay.relay += ' tls = "encrypt"'
    assert "not" not in relay.reload()
    rig.send(fronts["plain"].address, "s@x.test", ["late@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n")
    fronts["plain"].wait_log("status=deferred .*421 4.7.0 Must issue a STARTTLS command first")
    rig.send(fronts["secure"].address, "s@x.test", ["more@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n")
    sink.wait(3)
    # Commands that an attacker has put behind STARTTLS must not be executed inside TLS.
    context = ssl.create_default_context(cafile=certificates.authority.path)
    with socket.create_connection(relay.address, timeout=20) as s:
        talk(s, b"", b"220 ")
        talk(s, b"EHLO before.test\r\n", b"250 ")
        talk(s, b"STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<evil@x.test>\r\n", b"220 ")
        with context.wrap_socket(s, server_hostname="mail.right.test") as t:
            said = talk(t, b"MAIL FROM:<s@x.test>\r\n", b"")
            assert said.startswith(b"503 5.5.1 Send EHLO"), said
            assert b"STARTTLS" not in talk(t, b"EHLO after.test\r\n", b"250 ")
            assert talk(t, b"STARTTLS\r\n", b"").startswith(b"503 "), "STARTTLS inside of TLS"
            assert talk(t, b"MAIL FROM:<s@x.test>\r\n", b"").startswith(b"250 ")
    relay.daemon.wait_log("input after STARTTLS from .* is discarded")
    with socket.create_connection(relay.address, timeout=20) as s:
        talk(s, b"", b"220 ")
        talk(s, b"STARTTLS\r\n", b"220 ")
        s.sendall(b"EHLO this.is.no.handshake\r\n")
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
    relay.daemon.wait_log("TLS handshake with .* failed: ")


def talk(sock, line, until):
    """Send the line, and read replies up to a last line that begins with `until` (b"": one reply)."""
    sock.sendall(line)
    said = b""
    while not said.endswith(b"\r\n") or not said.split(b"\r\n")[-2].startswith(until) or said.split(b"\r\n")[-2][3:4] == b"-":
        part = sock.recv(4096)
        assert part, said
        said += part
    return said


def test_client_certificates(r):
    """With tls_client = "ask" a client outside of trusted_networks may send with a trusted certificate; with "require" every
    client needs one."""
    certificates = Certificates(r)
    foreign = rig.Authority(r, "foreign")
    certs = {
        "good": certificates.authority.issue("good", "DNS:front.test"),
        "foreign": foreign.issue("stranger", "DNS:front.test"),
        "known": foreign.issue("known", "DNS:known.test", expired=True),
        "old": certificates.authority.issue("old", "DNS:front.test", expired=True),
        "none": None,
    }
    sink = rig.Sink(r, "archive")
    ca = f'tls_cert_file = "{certificates.right.path}" tls_client_ca_file = "{certificates.authority.path}" '
    ca += f'tls_client_fingerprint = {{ "{certs["known"].fingerprint}" }} '
    relay = Relay(r, {"archive": (f'"{sink.bracketed}"', "")}, ca)
    to = f"[127.0.0.1]:{relay.address[1]}"
    outside = 'trusted_networks = { "192.0.2.0/24" } '
    fronts = {}
    for name, cert in certs.items():
        more = {"smtp_tls_chain_files": cert.path} if cert else {}
        if name == "good":  # as docs/scaling.md says, but the relay has no name here
            more["smtp_tls_policy_maps"] = f"inline:{{ {{ {to} = verify match=mail.right.test }} }}"
            more |= {"smtp_tls_CAfile": certificates.authority.path, "smtp_tls_loglevel": "1"}
        fronts[name] = front(r, name, to, smtp_tls_security_level="encrypt", **more)
        fronts[name].start()
    plain = fronts["plain"] = front(r, "plain", to)
    plain.start()
    for n, settings in enumerate((outside + 'tls_client = "ask"', 'tls_client = "require"', 'tls_client = "ask"', outside)):
        relay.relay = ca + settings
        assert "not" not in relay.reload()
        for name, server in fronts.items():
            rig.send(server.address, "s@x.test", [f"{name}{n}@x.test.archive.copy.split.invalid"], b"Subject: x\r\n\r\nx\r\n")
        if n == 2:
            for server in fronts.values():
                server.flush()
                server.wait_empty()
        for name, server in fronts.items():
            if n == 2 or (n < 2 and name in ("good", "known")):
                wanted = "status=sent"
            elif n == 3:
                wanted = "554 5.7.1 Access denied: not in trusted_networks"
            elif name == "plain":
                wanted = "421 4.7.0 Must issue a STARTTLS command first"
            else:
                wanted = "421 4.7.1 Access denied: no trusted certificate"
            server.wait_log(rf"to=<{name}{n}@.*{wanted}")
    sink.wait(18)  # deferred copies were accepted when all clients were trusted
    fronts["good"].wait_log(r"Verified TLS connection established to 127\.0\.0\.1")
    relay.daemon.wait_log(r"Trusted TLS connection established from \[127\.0\.0\.1\]: .*, client=good")
    relay.daemon.wait_log(r"Verified TLS connection established from \[127\.0\.0\.1\]: .*, client=known")
    relay.daemon.wait_log(r"Untrusted TLS connection established from \[127\.0\.0\.1\]: .*: certificate has expired")


def test_refusal_within_the_content(r):
    """A refusal that a server sends over TLS before it closes is read, also after a write has failed."""
    certificates = Certificates(r)
    sink = rig.Sink(r, "big", tls=server_context(certificates.right))

    def hook(stage, conn, _arg):
        if stage != "body":
            return None
        conn.sock.sendall(b"552 5.3.4 too big\r\n")
        conn.sock.close()
        return rig.CLOSE

    sink.hook = hook
    relay = Relay(r, {"archive": (f'"{sink.bracketed}"', 'tls = "encrypt"')})
    with rig.SmtpClient(relay.address) as c:
        c.mail("s@x.test")
        c.rcpt("a@x.test.archive.copy.split.invalid")
        assert c.data(b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * 300000).code == 250
    relay.daemon.wait_log(r"status=dead \(host \S+ said: 552 5\.3\.4 too big \(in reply to message body\)\)")


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Authentication to destinations: each mechanism with Postfix and Cyrus SASL, and with a server of the test that cheats."""

import base64
import hashlib
import hmac
import os
import re
import signal
import ssl

import rig

USER, PASSWORD = "relay", 'pass "word" with = and ü'


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
            f'destination {name} {{ relay_to = {{ "{to}" }} retry_min = "1s" retry_max = "1s" command_timeout = "3s" {more} }}\n'
            for name, (to, more) in self.destinations.items()
        )
        return (
            'log { target = "stderr" }\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{self.spool}"\n'
            f"{self.relay} }}\n{sections}"
        )

    def send(self, *names):
        rcpts = [f"{name}@x.test.{name}.copy.split.invalid" for name in names]
        rig.send(self.address, "s@x.test", rcpts, b"Subject: x\r\n\r\nx\r\n")

    def reload(self):
        with open(self.daemon.configuration_path, "w", encoding="utf-8") as f:
            f.write(self.text())
        before = len(self.daemon.log_lines("configuration (not )?reloaded"))
        self.daemon.signal(signal.SIGUSR1)
        return self.daemon.wait_log("configuration (not )?reloaded", count=before + 1)[-1]

    def queued(self, name):
        return rig.queue.ids(self.spool, "queued", name)


def password_file(r, name="password", text=PASSWORD):
    path = r.path(name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{text}\na second line that does not matter\n")
    os.chmod(path, 0o600)
    return path


def auth(path, *mechanisms, user=USER, plaintext=False):
    words = f'auth_user = "{user}" auth_password_file = "{path}"'
    if mechanisms:
        words += " auth_mechanisms = { " + ", ".join(f'"{m}"' for m in mechanisms) + " }"
    return words + (' auth_plaintext = "yes"' if plaintext else "")


def cyrus_postfix(r, sink, certificate):
    """A Postfix that accepts mail only from authenticated clients, with a password file of its own."""
    server = rig.Postfix(
        r,
        "server",
        {
            "relayhost": sink.bracketed,
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "cyrus",
            "smtpd_sasl_path": "smtpd",
            "smtpd_sasl_local_domain": "server.test",
            "smtpd_sasl_authenticated_header": "yes",
            "smtpd_client_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": certificate.path,
            "tls_random_source": "dev:/dev/urandom",
        },
    )
    directory = os.path.join(server.etc, "sasl")  # the default of Debian's Postfix; others need the setting
    rig.sasl_directory(directory, "smtpd", "server.test", USER, PASSWORD, "PLAIN LOGIN SCRAM-SHA-256", owner="postfix")
    server.set(cyrus_sasl_config_path=directory)
    server.start()
    return server


def test_postfix_with_cyrus(r):
    """Each mechanism works over TLS, and in plain text if that is allowed. With a wrong password, or with none, copies wait; a
    reload reads a corrected password."""
    authority = rig.Authority(r)
    certificate = authority.issue("server", "IP:127.0.0.1")
    sink = rig.Sink(r, "mailbox")
    server = cyrus_postfix(r, sink, certificate)
    path, wrong = password_file(r), password_file(r, "wrong", "another")
    verify = f'tls = "verify" tls_ca_file = "{authority.path}" '
    to = server.bracketed
    relay = Relay(
        r,
        {
            "best": (to, verify + auth(path)),
            "plain": (to, verify + auth(path, "PLAIN")),
            "login": (to, auth(path, "LOGIN")),  # without tls, a password makes "encrypt" the default
            "scram": (to, 'tls = "may" ' + auth(path, "SCRAM-SHA-256")),
            "open": (to, 'tls = "none" ' + auth(path, "PLAIN", plaintext=True)),
            "wrong": (to, verify + auth(wrong)),
            "nobody": (to, verify + auth(path, "PLAIN", user="nobody")),
            "without": (to, verify),
        },
    )
    relay.send(*relay.destinations)
    good = ("best", "plain", "login", "scram", "open")
    sink.wait(len(good), 30)
    for name in ("wrong", "nobody"):
        relay.daemon.wait_log(rf"dest={name}, .*dsn=4\.7\.8, status=deferred \(SASL authentication failed; server .* said: 535 5\.7\.8 ")
    relay.daemon.wait_log(r"dest=without, .*status=(deferred|dead) \(host .* said: 554 5\.7\.1 .*Client host rejected")
    assert sorted(t.addrs[0].split("@")[0] for t in sink.accepted) == sorted(good)
    for t in sink.accepted:
        assert f"(Authenticated sender: {USER}@server.test)" in t.headers("Received")[0], t.headers("Received")
    methods = [ln.split("sasl_method=")[1].split(",")[0] for ln in server.log_lines("sasl_method=")]
    assert sorted(methods) == ["LOGIN", "PLAIN", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256"], methods
    for name in ("wrong", "nobody"):
        assert relay.queued(name), name
    # With the right password the copy is delivered after a reload.
    password_file(r, "wrong")
    assert "not" not in relay.reload()
    sink.wait(len(good) + 1, 20)
    os.unlink(wrong)
    assert re.search(rf"not reloaded, the old one stays: /\S+\.conf:\d+: destination wrong: {wrong}: No such file", relay.reload())


def decode(text):
    return base64.b64decode(text, validate=True)


def encode(data):
    return base64.b64encode(data).decode()


class Server:
    """The hook of a sink that authenticates clients with SCRAM-SHA-256 (RFC 5802, 7677), and cheats as `cheat` says."""

    def __init__(self, cheat=""):
        self.cheat = cheat
        self.good = 0
        self.state = {}

    def hook(self, stage, conn, arg):
        if stage == "mail" and not self.state.get(conn.number) == "done":
            return "530 5.7.0 Authentication required"
        return self.auth(conn, arg) if stage == "auth" else None

    def read(self, conn):
        line = conn.line()
        return decode(line).decode() if line != "*" else None

    def auth(self, conn, line):
        """Do the whole exchange. Returns the last reply."""
        _, mechanism, first = line.split(" ")
        assert mechanism == "SCRAM-SHA-256", line
        gs2, _, bare_first = decode(first).decode().partition(",,")
        name, nonce = bare_first.split(",")
        assert gs2 == "n" and name == f"n={USER}", first
        if self.cheat == "early":
            return "235 2.7.0 Believe me"
        if self.cheat == "endless":
            while True:
                conn.sock.sendall(b"334 " + encode(b"r=x").encode() + b"\r\n")
                if conn.line() == "*":
                    return "501 5.7.0 As you like"
        if self.cheat == "garbage":
            conn.sock.sendall(b"334 this is not base64!\r\n")
            return "501 5.7.0 As you like" if conn.line() == "*" else "235 2.7.0 Fine"
        salt, count = b"salt of the earth", 4096
        server_nonce = nonce + "3rfcNHYJY1ZVvWVs7j"
        server_first = f"{server_nonce if self.cheat != 'other' else 'r=other'},s={encode(salt)},i={count if self.cheat != 'burner' else 2000000000}"
        conn.sock.sendall(f"334 {encode(server_first.encode())}\r\n".encode())
        final = self.read(conn)
        if final is None:
            return "501 5.7.0 As you like"
        bare, proof = final.rsplit(",p=", 1)
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, count)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        message = f"{name},{nonce},{server_first},{bare}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        if decode(proof) != bytes(a ^ b for a, b in zip(client_key, signature)):
            return "535 5.7.8 Wrong"
        self.good += 1
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        if self.cheat == "signature":
            verifier = bytes(32)
        if self.cheat == "unproved":
            self.state[conn.number] = "done"
            return "235 2.7.0 Fine"
        conn.sock.sendall(f"334 {encode(b'v=' + encode(verifier).encode())}\r\n".encode())
        if conn.line() == "*":
            return "501 5.7.0 As you like"
        self.state[conn.number] = "done"
        return "235 2.7.0 Fine"


def test_scram_and_cheats(r):
    """A server gets no mail if it does not prove that it knows the password, or offers none of the configured mechanisms."""
    certificate = rig.Authority(r).issue("server", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    path = password_file(r)
    cheats = {
        "honest": None,
        "early": "the server ended the exchange too early",
        "unproved": "the server ended the exchange too early",
        "endless": "",
        "garbage": "",
        "other": "",
        "signature": "",
        "burner": "the server asks for more than 1000000 iterations",
        "wrong": "said: 535 5.7.8 Wrong",
        "noauth": "none of our mechanisms is offered",
        "plainonly": "none of our mechanisms is offered",
    }
    offers = {"noauth": [], "plainonly": ["AUTH PLAIN LOGIN"]}
    servers, sinks, destinations = {}, {}, {}
    for name in cheats:
        servers[name] = Server(name)
        extensions = ["PIPELINING", *offers.get(name, ["AUTH=PLAIN", "AUTH DIGEST-MD5 SCRAM-SHA-256 PLAIN"])]
        sinks[name] = rig.Sink(r, name, extensions=extensions, hook=servers[name].hook, tls=context)
        secret = password_file(r, "bad", "no") if name == "wrong" else path
        destinations[name] = (sinks[name].bracketed, auth(secret, "SCRAM-SHA-256"))
    relay = Relay(r, destinations)
    relay.send(*destinations)
    sinks["honest"].wait(1)
    assert servers["honest"].good == 1
    for name, why in cheats.items():
        if why is not None:
            relay.daemon.wait_log(rf"dest={name}, .*dsn=4\.7\.\d, status=deferred \(SASL authentication failed; .*{why}")
            assert relay.queued(name) and not sinks[name].transactions, name


def test_password_never_in_plain_text(r):
    """Without TLS no AUTH is sent to any server, and tls = "none" with a password needs auth_plaintext."""
    certificate = rig.Authority(r).issue("server", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    path = password_file(r)
    sink = rig.Sink(r, "plain", extensions=["AUTH PLAIN LOGIN"])
    refuses = rig.Sink(r, "refuses", extensions=["AUTH PLAIN"], tls=context, hook=lambda s, c, a: "454 4.7.0 No" if s == "starttls" else None)
    breaks = rig.Sink(r, "breaks", extensions=["AUTH PLAIN"], tls=context, hook=lambda s, c, a: rig.CLOSE if s == "starttls" else None)
    destinations = {
        f"{name}-{level}": (s.bracketed, f'tls = "{level}" ' + auth(path))
        for name, s in (("plain", sink), ("refuses", refuses), ("breaks", breaks))
        for level in ("auto", "may", "encrypt")
    }
    relay = Relay(r, destinations)
    relay.send(*destinations)
    for name in destinations:
        relay.daemon.wait_log(rf"dest={name}, .*dsn=4\.[47]\.\d, status=deferred ")
        assert relay.queued(name)
    for s in (sink, refuses, breaks):
        assert not s.transactions and {line.split()[0] for _, line in s.commands} <= {"EHLO", "STARTTLS", "QUIT"}, s.commands
    relay.destinations["plain-may"] = (sink.bracketed, 'tls = "none" ' + auth(path))
    assert 'with tls = "none" it needs auth_plaintext = "yes"' in relay.reload()


def test_listener(r):
    """A listener authenticates to its primary. With a wrong password, or without TLS from the client, mail is refused with 421."""
    certificate = rig.Authority(r).issue("server", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    scram = Server()
    sink = rig.Sink(r, "primary", extensions=["PIPELINING", "AUTH SCRAM-SHA-256"], hook=scram.hook, tls=context)
    relay = Relay(r, {})
    ports = {"good": r.free_port(), "bad": r.free_port()}
    text = relay.text()
    for name, port in ports.items():
        path = password_file(r, name, PASSWORD if name == "good" else "another")
        text += (
            f'listener {name} {{ listen = {{ "inet:{port}@127.0.0.1" }} primary = {{ "{sink.bracketed}" }} tls = "encrypt"\n'
            f'tls_cert_file = "{certificate.path}" primary_auth_user = "{USER}" primary_auth_password_file = "{path}" }}\n'
        )
    relay.daemon.stop()
    relay.daemon = rig.start_splitrelay(r, text, relay.address, name="listeners")
    fronts = {
        name: rig.Postfix(
            r, name, {"relayhost": f"[127.0.0.1]:{port}", "smtp_tls_security_level": level, "tls_random_source": "dev:/dev/urandom"}
        )
        for name, port, level in (
            ("good", ports["good"], "encrypt"),
            ("bad", ports["bad"], "encrypt"),
            ("plain", ports["good"], "none"),
        )
    }
    for name, front in fronts.items():
        front.start()
        rig.send(front.address, "s@x.test", [f"{name}@x.test"], b"Subject: x\r\n\r\nx\r\n")
    t = sink.wait(1)[0]
    assert t.addrs == ["good@x.test"] and t.tls == "TLSv1.3" and "with ESMTPS" in t.headers("Received")[0], t
    fronts["bad"].wait_log("status=deferred .*421 4.7.8 SASL authentication failed; server .* said: 535 5.7.8 Wrong")
    fronts["plain"].wait_log("status=deferred .*421 4.7.0 Must issue a STARTTLS command first")
    assert scram.good == 1 and len(sink.transactions) == 1


def test_password_never_in_the_log(r):
    """If a server repeats the password in its reply, whole or in part, it appears neither in the log nor in the queue."""
    path = password_file(r)
    echoes = {
        "whole": lambda line: f"500 5.5.1 What is {line}",
        "cut": lambda line: f"535-5.7.8 What is\r\n535 5.7.8 {line[12:22]}...",
        "leaving": lambda line: f"421 4.7.0 Bye, and take {line} with you",
    }

    def hook(echo):
        return lambda stage, conn, arg: echo(arg) if stage == "auth" else None

    sinks = {name: rig.Sink(r, name, extensions=["AUTH PLAIN"], hook=hook(echo)) for name, echo in echoes.items()}
    relay = Relay(r, {name: (s.bracketed, 'tls = "none" ' + auth(path, "PLAIN", plaintext=True)) for name, s in sinks.items()})
    relay.send(*echoes)
    for name, s in sinks.items():
        relay.daemon.wait_log(rf"dest={name}, .*status=deferred .*\(left out, because it repeats what was sent\)")
        line = next(text for _, text in s.commands if text.startswith("AUTH PLAIN "))
        assert decode(line.split()[2]).decode() == f"\0{USER}\0{PASSWORD}"
        rig.wait_for(lambda name=name: any("left out" in c.recipients[0][3] for c in rig.queue.copies(r.path("spool"), destination=name)), 10, "the reason")
        places = [relay.daemon.log()]
        for n in ("queue.db", "queue.db-wal"):
            with open(r.path("spool", n), encoding="utf-8", errors="replace") as f:
                places.append(f.read())
        assert all(line[12:20] not in text for text in places), name


def test_check(r):
    """splitctl check reports the modes of key and password files, and files that cannot be used."""
    sink = rig.Sink(r, "server")
    path = password_file(r)
    certificate = rig.Authority(r).issue("ours", "DNS:relay.test")
    more = f' tls_cert_file = "{certificate.path}" '
    relay = Relay(r, {"a": (sink.bracketed, more + auth(path))})

    def check():
        return rig.run_splitctl(r, relay.daemon.configuration_path, "check", check=False)[1]

    said = check()
    assert f"ok       destination a: {path}, owner " in said and f"ok       destination a: {certificate.path}, owner " in said, said
    os.chmod(path, 0o644)
    os.chmod(certificate.path, 0o620)
    said = check()
    for file, mode in ((path, "0644"), (certificate.path, "0620")):
        assert f"error    destination a: {file}: others than its owner may read or write it (mode {mode})" in said, said
    with open(path, "w", encoding="ascii") as f:
        f.write("\n")
    assert re.search(rf"error    /\S+:\d+: destination a: {path}: the first line is no password", check())


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Authentication with an access token: OAUTHBEARER and XOAUTH2, with servers of the test as Google's, Microsoft's and hostile ones are,
and with Dovecot."""

import base64
import http.server
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import urllib.parse

import rig
from it_auth import Relay
from rig.daemons import TOP, accepts

USER = "journal@x.test"
OLD, NEW = "old.0123456789-_~+/==", "new.ABCDEFGHIJ-_~+/=="
EXPIRED = {"status": "invalid_token", "scope": "https://mail.test/", "schemes": "bearer"}


def token_file(r, name, text):
    """Write the file as a program that renews tokens does."""
    path = r.path(name)
    with open(f"{path}.new", "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(f"{path}.new", 0o600)
    os.rename(f"{path}.new", path)
    return path


def auth(path, *mechanisms, plaintext=False):
    words = f'auth_user = "{USER}" auth_token_file = "{path}"'
    if mechanisms:
        words += " auth_mechanisms = { " + ", ".join(f'"{m}"' for m in mechanisms) + " }"
    return words + (' auth_plaintext = "yes"' if plaintext else "")


def encode(text):
    return base64.b64encode(text.encode()).decode()


def expected(mechanism, token, port):
    if mechanism == "XOAUTH2":
        return f"user={USER}\1auth=Bearer {token}\1\1"
    return f"n,a={USER},\1host=127.0.0.1\1port={port}\1auth=Bearer {token}\1\1"


class Server:
    """A sink that wants one of the tokens. offers: the mechanisms. refuse(server, conn, said): the last reply to a token that is not
    among them."""

    def __init__(self, r, name, offers, tokens=(NEW,), refuse=None, tls=None):
        self.tokens = list(tokens)
        self.refuse = refuse or challenge_of(EXPIRED)
        self.lines = []  # what the clients sent
        self.faults = []
        self.done = set()
        self.sink = rig.Sink(r, name, extensions=["PIPELINING", f"AUTH {offers}"], hook=self.hook, tls=tls)

    def hook(self, stage, conn, arg):
        if stage == "mail" and conn.number not in self.done:
            return "530 5.7.0 Authentication required"
        return self.auth(conn, arg) if stage == "auth" else None

    def read(self, conn):
        line = conn.line()
        self.lines.append(line)
        return line

    def auth(self, conn, line):
        self.lines.append(line)
        words = line.split(" ")
        if len(line) + 2 > 512:
            self.faults.append("the command is too long")
        if len(words) == 2:
            conn.sock.sendall(b"334 \r\n")
            words.append(self.read(conn))
            if len(line) + len(words[2]) + 3 <= 512:
                self.faults.append("the message would fit into the command")
        said = base64.b64decode(words[2], validate=True).decode()
        for token in self.tokens:
            if said == expected(words[1], token, self.sink.address[1]):
                self.done.add(conn.number)
                return "235 2.7.0 Accepted"
        return self.refuse(self, conn, words[1], said)


def challenge_of(members, reply="535 5.7.8 Not accepted"):
    """Refuse a token as RFC 7628 says: a challenge, and the reply after the client has answered."""

    def refuse(server, conn, mechanism, _said):
        conn.sock.sendall(f"334 {encode(json.dumps(members) if not isinstance(members, str) else members)}\r\n".encode())
        answer = server.read(conn)
        if answer != ("AQ==" if mechanism == "OAUTHBEARER" else ""):
            server.faults.append(f"answer {answer!r} to the challenge of {mechanism}")
        return reply

    return refuse


def microsoft(_server, _conn, _mechanism, _said):
    return "535 5.7.3 Authentication unsuccessful [SN2PR00CA0018.namprd00.prod.outlook.com]"


def tls_context(r):
    certificate = rig.Authority(r).issue("server", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    return context, certificate


def everywhere(relay):
    """All that a token must not get into: the log, the queue, and what splitctl prints."""
    places = [relay.daemon.log()]
    for name in os.listdir(relay.spool):
        if os.path.isfile(os.path.join(relay.spool, name)):
            with open(os.path.join(relay.spool, name), encoding="utf-8", errors="replace") as f:
                places.append(f.read())
    for command in (["queue", "--json"], ["history", "--json"], ["check"], ["stats"]):
        places.append(rig.run_splitctl(relay.rig, relay.daemon.configuration_path, *command, check=False)[1])
    return places


def assert_no_token(relay, *tokens):
    """No eight characters in a row of a token, also in base64, are anywhere. Of a long token some parts are looked for."""
    places = everywhere(relay)
    for token in tokens:
        for secret in (token, *(encode("x" * i + token)[8:-8] for i in range(3))):
            parts = [secret[i : i + 8] for i in range(0, len(secret) - 8, 1 + len(secret) // 100)]
            for text in places:
                assert not any(part in text for part in parts), (token, text)


def test_token_expires_and_is_renewed(r):
    """Each mechanism: with the expired token the copies wait, with the reason in the log; with the new one they are delivered, without
    a reload. Long messages go into a line of their own."""
    context, _ = tls_context(r)
    long_token = "eyJ0eXAi." + "abcdefghijklmnopqrstuvwxyz0123456789" * 90
    servers = {
        "bearer": Server(r, "bearer", "PLAIN OAUTHBEARER", tls=context),
        "google": Server(r, "google", "LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN", tls=context),
        "microsoft": Server(r, "microsoft", "LOGIN XOAUTH2", refuse=microsoft, tls=context),
        "both": Server(r, "both", "XOAUTH2 OAUTHBEARER", tls=context),
        "ours": Server(r, "ours", "OAUTHBEARER XOAUTH2", tls=context),
        "long": Server(r, "long", "OAUTHBEARER", tokens=(long_token,), tls=context),
        "longx": Server(r, "longx", "XOAUTH2", tokens=(long_token,), refuse=microsoft, tls=context),
    }
    used = {name: "XOAUTH2" if name in ("google", "microsoft", "ours", "longx") else "OAUTHBEARER" for name in servers}
    path = token_file(r, "token", OLD + "\n")
    long_path = token_file(r, "long", OLD[:-2] + "x" * 600)
    more = {"ours": auth(path, "XOAUTH2", "OAUTHBEARER"), "long": auth(long_path), "longx": auth(long_path)}
    relay = Relay(r, {name: (s.sink.bracketed, more.get(name, auth(path))) for name, s in servers.items()})
    relay.send(*servers)
    explained = r"SASL authentication failed \(status invalid_token, scope https://mail\.test/\); server \S+ said: 535 5\.7\.8 Not accepted"
    for name, server in servers.items():
        if server.refuse is microsoft:
            relay.daemon.wait_log(rf"dest={name}, .*dsn=4\.7\.3, status=deferred \(SASL authentication failed; server \S+ said: 535 5\.7\.3 ")
        else:
            relay.daemon.wait_log(rf"dest={name}, .*dsn=4\.7\.8, status=deferred \({explained}\)")
        assert relay.queued(name) and not server.sink.transactions, name
    token_file(r, "token", NEW)
    token_file(r, "long", long_token + "\r\n")
    for name, server in servers.items():
        server.sink.wait(1, 30)
        assert not server.faults, (name, server.faults)
        assert {line.split(" ")[1] for line in server.lines if line.startswith("AUTH")} == {used[name]}, (name, server.lines)
    assert_no_token(relay, OLD, NEW, long_token)


def test_unusable_files(r):
    """Without a token nothing is sent, and the log says why. When the file is right, the copy is delivered."""
    texts = {"missing": None, "empty": "", "lines": f"{NEW}\nmore\n", "control": f"{NEW}\x01\n", "json": json.dumps({"access_token": NEW})}
    why = {"missing": "No such file or directory", "empty": "is empty"}
    servers, destinations = {}, {}
    for name, text in texts.items():
        servers[name] = Server(r, name, "OAUTHBEARER")
        path = r.path(f"{name}.token") if text is None else token_file(r, f"{name}.token", text)
        destinations[name] = (servers[name].sink.bracketed, auth(path, plaintext=True))
    relay = Relay(r, destinations)
    relay.send(*texts)
    for name, server in servers.items():
        relay.daemon.wait_log(
            rf"dest={name}, .*dsn=4\.7\.0, status=deferred \(SASL authentication failed; \S+/{name}\.token: {why.get(name, 'is no token: ')}"
        )
        assert not server.lines and relay.queued(name), (name, server.lines)
        assert NEW not in relay.daemon.log()
    said = rig.run_splitctl(r, relay.daemon.configuration_path, "check", check=False)[1]
    for name in texts:
        assert re.search(rf"error    destination {name}: \S+/{name}\.token: {why.get(name, 'is no token: ')}", said), said
        token_file(r, f"{name}.token", NEW)
    for name, server in servers.items():
        server.sink.wait(1, 30)
    os.chmod(r.path("json.token"), 0o644)
    said = rig.run_splitctl(r, relay.daemon.configuration_path, "check", check=False)[1]
    assert f"error    destination json: {r.path('json.token')}: others than its owner may read or write it (mode 0644)" in said, said
    assert f"ok       destination lines: {r.path('lines.token')}, owner " in said, said
    assert_no_token(relay, NEW)


def test_never_in_plain_text(r):
    """Without TLS no token is sent. A token is not sent by a mechanism for passwords, and the other way round."""
    path = token_file(r, "token", NEW)
    context, _ = tls_context(r)
    plain = Server(r, "plain", "OAUTHBEARER XOAUTH2")
    passwords = Server(r, "passwords", "PLAIN LOGIN SCRAM-SHA-256", tls=context)
    tokens = Server(r, "tokens", "OAUTHBEARER XOAUTH2", tls=context)
    relay = Relay(
        r,
        {
            "plain-may": (plain.sink.bracketed, 'tls = "may" ' + auth(path)),
            "plain-encrypt": (plain.sink.bracketed, 'tls = "encrypt" ' + auth(path)),
            "passwords": (passwords.sink.bracketed, auth(path)),
            "tokens": (tokens.sink.bracketed, f'auth_user = "{USER}" auth_password_file = "{path}"'),
        },
    )
    relay.send(*relay.destinations)
    for name in ("plain-may", "plain-encrypt"):
        relay.daemon.wait_log(rf"dest={name}, .*dsn=4\.7\.4, status=deferred \(TLS is required")
    for name in ("passwords", "tokens"):
        relay.daemon.wait_log(rf"dest={name}, .*status=deferred \(SASL authentication failed; none of our mechanisms is offered")
    assert not plain.lines and not passwords.lines and not tokens.lines
    relay.destinations["plain-may"] = (plain.sink.bracketed, 'tls = "none" ' + auth(path))
    assert 'with tls = "none" it needs auth_plaintext = "yes"' in relay.reload()


def test_hostile_servers(r):
    """What a server says about a token is capped and printable, and no part of the token gets into the log or the queue."""
    path = token_file(r, "token", OLD)

    def endless(server, conn, _mechanism, _said):
        for _ in range(20):
            conn.sock.sendall(f"334 {encode(json.dumps(EXPIRED))}\r\n".encode())
            server.read(conn)
        return "535 5.7.8 No"

    long_text = "s" * 500  # the longest line of a reply that is kept has 2048 bytes
    refusals = {
        "controls": (challenge_of({"status": "a\x1b[2J\r\nb", "scope": "é\u202e"}), r"\(status a\?\[2J\?\?b, scope \?+\); server"),
        "long": (challenge_of({"status": long_text, "scope": long_text}), r"\(status s{50}, scope s{50}\); server"),
        "nested": (challenge_of('{"status":' + "[" * 700 + "]" * 700 + "}"), r"failed; server \S+ said: 535 5\.7\.8 Not accepted"),
        "garbage": (challenge_of("{"), r"failed; server \S+ said: 535 5\.7\.8 Not accepted"),
        "endless": (endless, r"failed; too many challenges"),
        "status": (challenge_of({"status": OLD}), r"failed; server \S+ said: 535 5\.7\.8 Not accepted"),
        "echo": (lambda s, c, m, said: f"535 5.7.8 What is {said[-23:-2]}", r"\(left out, because it repeats what was sent\)"),
        "echo64": (lambda s, c, m, said: f"535 5.7.8 What is {encode(said)}", r"\(left out, because it repeats what was sent\)"),
        "leaving": (lambda s, c, m, said: f"421 4.7.0 Bye {OLD}", r"\(left out, because it repeats what was sent\)"),
        "after": (challenge_of(EXPIRED, f"535 5.7.8 Not {OLD}"), r"mail\.test/\); server \S+ said: 535 \(left out, because it repeats"),
    }
    servers = {name: Server(r, name, "OAUTHBEARER", refuse=refuse) for name, (refuse, _) in refusals.items()}
    relay = Relay(r, {name: (s.sink.bracketed, auth(path, plaintext=True)) for name, s in servers.items()})
    relay.send(*servers)
    for name, (_, why) in refusals.items():
        relay.daemon.wait_log(rf"dest={name}, .*status=deferred \(.*{why}")
        assert relay.queued(name) and (name == "endless" or not servers[name].faults), (name, servers[name].faults)
    assert_no_token(relay, OLD)


def test_listener(r):
    """A listener authenticates to its primary. While the token is expired, its clients get 421."""
    path = token_file(r, "token", OLD)
    server = Server(r, "primary", "OAUTHBEARER")
    relay = Relay(r, {})
    port = r.free_port()
    text = relay.text() + (
        f'listener l {{ listen = {{ "inet:{port}@127.0.0.1" }} primary = {{ "{server.sink.bracketed}" }}\n'
        f'primary_auth_user = "{USER}" primary_auth_token_file = "{path}" primary_auth_plaintext = "yes" }}\n'
    )
    relay.daemon.stop()
    relay.daemon = rig.start_splitrelay(r, text, relay.address, name="listener")
    front = rig.Postfix(r, "front", {"relayhost": f"[127.0.0.1]:{port}", "minimal_backoff_time": "1s", "queue_run_delay": "1s"})
    front.start()
    rig.send(front.address, "s@x.test", ["a@x.test"], b"Subject: x\r\n\r\nx\r\n")
    front.wait_log(r"status=deferred .*421 4\.7\.8 SASL authentication failed \(status invalid_token, scope https://mail\.test/\); server")
    token_file(r, "token", NEW)
    subprocess.run(["postqueue", "-c", front.etc, "-f"], check=True)
    assert server.sink.wait(1, 30)[0].addrs == ["a@x.test"]
    assert not server.faults and OLD not in relay.daemon.log() and NEW not in relay.daemon.log()


class Authority(http.server.ThreadingHTTPServer):
    """An authorization server: it gives tokens, and says for Dovecot which are valid."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.valid = set()
        self.forms = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):  # no line on stderr
        pass

    def answer(self, document):
        text = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.answer({"active": token in self.server.valid, "username": USER, "scope": "mail"})

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.forms.append(dict(urllib.parse.parse_qsl(form)))
        token = f"token.{len(self.server.forms)}.{'a' * 40}"
        self.server.valid.add(token)
        self.answer({"token_type": "Bearer", "expires_in": 3599, "access_token": token, "refresh_token": "secret"})


def renewer(r):
    """The program of docs/oauth.md that renews a token."""
    with open(os.path.join(TOP, "docs", "oauth.md"), encoding="utf-8") as f:
        program = re.search(r"^```python\n(.*?)^```$", f.read(), re.MULTILINE | re.DOTALL).group(1)
    return r.write("split-token", program, 0o755)


def dovecot(r, sink, certificate, authority):
    """Dovecot's submission service, which passes mail on to the sink."""
    rig.need_tools("dovecot")
    if not os.path.exists("/usr/lib/dovecot/submission"):
        raise rig.Skip("dovecot-submissiond is not installed")
    directory, port = r.path("dovecot"), r.free_port()
    os.mkdir(directory, 0o755)
    check = (
        f"introspection_mode = auth\nintrospection_url = {authority.url}/introspect\nforce_introspection = yes\n"
        "username_attribute = username\nactive_attribute = active\nactive_value = true\n"
    )
    version = subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True).stdout
    if version.startswith("2.3."):
        oauth = r.write("dovecot-oauth2.conf", check, 0o644)
        head = ""
        own = (
            f"ssl_cert = <{certificate.path}\nssl_key = <{certificate.path}\n"
            f"passdb {{\n driver = oauth2\n mechanisms = oauthbearer xoauth2\n args = {oauth}\n}}\n"
            f"userdb {{\n driver = static\n args = uid=mail gid=mail home={directory}/home\n}}\nmail_location = maildir:~/mail\n"
        )
    else:
        head = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
        own = (
            f"ssl_server_cert_file = {certificate.path}\nssl_server_key_file = {certificate.path}\n"
            f"oauth2 {{\n{check}}}\npassdb oauth2 {{\n mechanisms_filter = oauthbearer xoauth2\n}}\n"
            f"userdb static {{\n fields {{\n  uid = mail\n  gid = mail\n  home = {directory}/home\n }}\n}}\n"
            "mail_driver = maildir\nmail_path = ~/mail\n"
        )
    configuration = r.write(
        "dovecot.conf",
        f"{head}base_dir = {directory}/run\nstate_dir = {directory}/state\nlog_path = {directory}/log\nprotocols = submission\nlisten = 127.0.0.1\n"
        f"ssl = required\nauth_mechanisms = oauthbearer xoauth2\n{own}first_valid_uid = 1\n"
        f"service submission-login {{\n chroot =\n inet_listener submission {{\n  port = {port}\n }}\n}}\n"
        # without the delays for a client whose authentication failed before
        "service anvil {\n unix_listener anvil-auth-penalty {\n  mode = 0\n }\n}\n"
        f"hostname = dovecot.test\nsubmission_relay_host = 127.0.0.1\nsubmission_relay_port = {sink.address[1]}\nauth_failure_delay = 0\n",
        0o644,
    )
    os.mkdir(f"{directory}/home")
    subprocess.run(["chown", "mail:mail", f"{directory}/home"], check=True)
    daemon = rig.Daemon(r, "dovecot", ["dovecot", "-F", "-c", configuration])
    r.show_on_failure("log of dovecot's services", f"{directory}/log")
    daemon.start(lambda: accepts(("127.0.0.1", port)))
    return f"[127.0.0.1]:{port}"


def test_dovecot(r):
    """Both mechanisms with Dovecot. The program of the guide renews the token that it refuses."""
    context_certificate = tls_context(r)[1]
    authority = Authority()
    sink = rig.Sink(r, "mailbox")
    to = dovecot(r, sink, context_certificate, authority)
    path = token_file(r, "token", OLD)
    relay = Relay(r, {"bearer": (to, auth(path, "OAUTHBEARER")), "xoauth2": (to, auth(path, "XOAUTH2"))})
    relay.send("bearer", "xoauth2")
    for name in ("bearer", "xoauth2"):
        relay.daemon.wait_log(rf"dest={name}, .*status=deferred \(SASL authentication failed \(status [^)]*\); server \S+ said: 535 5\.7\.8 ")
    settings = r.write("settings", f"url={authority.url}/token\nclient_id=me\nclient_secret=a=b&c\ngrant_type=client_credentials\n", 0o600)
    subprocess.run([sys.executable, renewer(r), settings, path], check=True, timeout=60)
    assert authority.forms == [{"client_id": "me", "client_secret": "a=b&c", "grant_type": "client_credentials"}]
    sink.wait(2, 30)
    assert sorted(t.addrs[0].split("@")[0] for t in sink.accepted) == ["bearer", "xoauth2"]
    assert os.stat(path).st_mode & 0o027 == 0
    assert_no_token(relay, OLD, f"token.1.{'a' * 40}")


if __name__ == "__main__":
    rig.main()

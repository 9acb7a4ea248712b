#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The page on the metrics socket of splitrelay, without a browser: its documents say what splitctl says, only those may read it who should,
and hostile clients get nothing and delay nothing."""

import base64
import contextlib
import json
import os
import re
import resource
import select
import socket
import subprocess
import time
import urllib.parse

import rig
from rig.daemons import TOP, accepts
from rig.metrics import get

FILES = {
    "/": "text/html; charset=utf-8",
    "/ask.js": "text/javascript; charset=utf-8",
    "/page.css": "text/css; charset=utf-8",
    "/page.js": "text/javascript; charset=utf-8",
    "/parts.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}
HOSTILE = '<script>alert("x")</script>&amp;\\"\' %s'


class Relay:
    """splitrelay with a sink as destination `archive`, and a destination `newmail` at which no server listens."""

    def __init__(self, r, options="", metrics="inet:{port}@127.0.0.1", fill=None, is_started=True):
        self.rig = r
        self.spool = r.path("spool")
        self.archive = rig.Sink(r, "archive")
        self.address = ("127.0.0.1", r.free_port())
        self.port = r.free_port()
        os.makedirs(self.spool, mode=0o700, exist_ok=True)
        self.text = f"""
log {{ target = "stderr" }}
relay {{
    listen = {{ "inet:{self.address[1]}@127.0.0.1" }}
    hostname = "relay.test"
    {rig.queue.options(r, self.spool)}
    metrics = {{ "{metrics.format(port=self.port)}" }}
    {options}
}}
destination archive {{ relay_to = {{ "{self.archive.bracketed}" }} retry_min = "600s" }}
destination newmail {{ relay_to = {{ "[127.0.0.1]:{r.free_port()}" }} retry_min = "600s" }}
"""
        if fill:
            fill(self.spool)
        self.path = r.write("splitrelay.conf", self.text)
        if is_started:
            self.daemon = rig.start_splitrelay(r, self.text, self.address)

    def get(self, path, **headers):
        return get(self.port, path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def document(self, path, status=200, **parameters):
        query = urllib.parse.urlencode({k.replace("_", "-"): v for k, v in parameters.items()})
        got, headers, body = self.get(f"/api/{path}{'?' + query if query else ''}")
        assert got == status and headers["Content-Type"] == "application/json", (path, parameters, got, headers, body[:500])
        return json.loads(body)

    def splitctl(self, *args, check=True):
        return [json.loads(line) for line in rig.run_splitctl(self.rig, self.path, *args, check=check)[1].splitlines()]

    def send(self, destination, *users, sender="s@sender.test"):
        rig.send(self.address, sender, [f"{u}@example.com.{destination}.copy.split.invalid" for u in users], b"Subject: x\r\n\r\nx\r\n")


def put_some(spool):
    """Copies in all places, with texts that are full of HTML. Due in an hour, so that no worker takes one."""
    due = int(time.time()) + 3600
    for i in range(5):
        rig.queue.put(spool, "archive", [(f"u{i}@example.com", "", "pending", f"451 4.3.0 later {i}")], due=due, attempts=i, sender=f"s{i}@a.test", arrival=time.time() - 3600 * i)
    rig.queue.put(spool, "newmail", [("held@example.com", "rfc822;x@y", "pending", "")], state="held", mta_queue_id="4QID", message_id="<m@x>", arrival=time.time() - 86400)
    rig.queue.put(spool, "newmail", [(f"r{i}@example.com", "", "dead", HOSTILE % i) for i in range(30)], state="dead", sender=HOSTILE % "s", message_id=f"<{HOSTILE % 'm'}>")
    rig.queue.put(spool, "gone", [("g@example.com", "", "dead", "550 5.1.1 no\u202euser\u0085")], state="dead", sender="", content=b"x" * 100000)


def plain(copies):
    """Copies as splitctl shows them: without what only the document has, and what depends on the moment."""
    return [{k: v for k, v in c.items() if k not in ("recipient_count", "recipients_left_out", "next_attempt")} for c in copies]


def test_lists_are_those_of_splitctl(r):
    relay = Relay(r, fill=put_some)
    got = relay.document("queue")
    wanted = relay.splitctl("queue", "--json")
    assert len(wanted) == 8 and got["next"] is None and not got["incomplete"]
    for c in wanted:
        c["recipients"] = c["recipients"][:20]
    assert plain(got["copies"]) == plain(wanted)
    assert [c["next_attempt"] for c in got["copies"]] == [c["next_attempt"] for c in wanted]
    assert [c["recipient_count"] for c in got["copies"]] == [1, 1, 1, 1, 1, 1, 30, 1]
    assert [c["recipients_left_out"] for c in got["copies"]] == [0, 0, 0, 0, 0, 0, 10, 0]
    for word, value in (
        ("from", "s1@a.test"), ("from", "@a.test"), ("from", "<>"), ("to", "r*@example.com"), ("reason", "LATER 3"), ("older", "90m"),
        ("newer", "90m"), ("larger", "50k"), ("mta-id", "4QID"), ("message-id", "m@x"), ("in", "dead"), ("in", "queue,hold"), ("limit", "3"),
        ("reason", "%"), ("reason", HOSTILE % 7), ("from", HOSTILE % "s"),
    ):
        more = () if word in ("in", "limit") else ("--all",)
        wanted = relay.splitctl("queue", "--json", f"--{word}", value, *(more if word == "limit" else ()))
        got = relay.document("queue", **{word: value})["copies"]
        assert [c["queue_id"] for c in got] == [c["queue_id"] for c in wanted], (word, value, got)
        assert got or value == "%", (word, value)
    assert [c["sender"] for c in relay.document("queue", destination="newmail", **{"in": "dead", "from": ""})["copies"]] == [HOSTILE % "s"]


def test_pages_of_a_list(r):
    relay = Relay(r, fill=put_some)
    wanted = [c["queue_id"] for c in relay.document("queue")["copies"]]
    seen, after = [], ""
    while after is not None:
        page = relay.document("queue", limit=3, after=after)
        assert len(page["copies"]) <= 3
        seen += [c["queue_id"] for c in page["copies"]]
        after = page["next"]
    assert seen == wanted
    assert relay.document("queue", limit=8)["next"] is None
    assert relay.document("queue", limit=7)["next"] == wanted[6]


def test_the_life_of_a_copy(r):
    relay = Relay(r, fill=put_some)
    for copy in relay.splitctl("queue", "--json"):
        (shown,) = relay.splitctl("show", "--json", copy["queue_id"])
        got = relay.document(f"copy/{copy['queue_id']}")
        assert plain([got["copy"]]) == plain([shown]) and got["events"] == [], (got, shown)
    relay.send("archive", "anna", "ben")
    rig.wait_for(lambda: rig.queue.history(relay.spool), 20, "the delivery in the history")
    (event,) = relay.splitctl("history", "--json")
    assert relay.document("history")["events"] == [event]
    assert relay.document("history", to="ben@example.com")["events"] == [event]
    assert relay.document("history", to="carl@example.com")["events"] == []
    got = relay.document(f"copy/{event['queue_id']}")
    assert got["copy"] is None and got["events"] == [event] and not got["more"]
    assert relay.document(f"copy/{event['queue_id'].lower()}")["events"] == [event]


def test_status(r):
    relay = Relay(r, fill=put_some)
    rig.run_splitctl(r, relay.path, "suspend", "archive", "--reason", "<b>moving</b>")
    relay.send("newmail", "dora")
    wanted = rig.wait_for(
        lambda: next((s for s in relay.splitctl("status", "--json", check=False) if any(d["suspended"] for d in s["splitrelay"]["destinations"])), None), 20, "a suspension")

    def there():
        got = relay.document("status")
        return got if any(d["suspended"] for d in got["destinations"]) else None

    got = rig.wait_for(there, 20, "the suspension in the document")
    assert (got["hostname"], got["ready"], got["refusal"], got["problem"], got["nodes"]) == ("relay.test", True, "", "", [])
    assert [d["name"] for d in got["destinations"]] == ["archive", "newmail", "gone"]
    assert [d["configured"] for d in got["destinations"]] == [True, True, False]
    for name in ("archive", "newmail", "gone"):
        mine = next(d for d in got["destinations"] if d["name"] == name)
        theirs = next(d for d in wanted["splitrelay"]["destinations"] if d["name"] == name)
        for key in ("active", "waiting", "deferred", "held", "dead", "oldest", "last_error", "suspended_by_administrator"):
            assert mine[key] == theirs[key], (name, key, mine, theirs)
        assert len(mine["arrived"]) == len(mine["sent"]) == 60
    assert got["destinations"][0]["suspended_by_administrator"]["reason"] == "<b>moving</b>"
    assert sum(got["destinations"][1]["arrived"]) == 1 and sum(got["destinations"][0]["arrived"]) == 0


def test_rates(r):
    relay = Relay(r)
    relay.document("status")
    for i in range(4):
        relay.send("archive", f"a{i}", f"b{i}")
    relay.archive.wait(4)

    def counted():
        d = relay.document("status")["destinations"][0]
        return (sum(d["arrived"]), sum(d["sent"])) == (4, 8)

    rig.wait_for(counted, 20, "4 copies and 8 recipients")


def test_wrong_requests(r):
    relay = Relay(r, fill=put_some)
    for path, status, text in (
        ("queue?older=soon", 400, "older: not an age"),
        ("queue?from=", 200, ""),
        ("queue?from=example.com", 400, "from: not an address"),
        ("queue?nonsense=1", 400, "nonsense: no such condition"),
        ("queue?limit=0", 400, "limit: not a number"),
        ("queue?limit=1&limit=2", 400, "limit: given twice"),
        ("queue?after=zz", 400, "after: not the id"),
        ("queue?in=elsewhere", 400, "in: not queue, hold or dead"),
        ("history?to=" + "*e" * 30, 400, "to: too many *"),
        ("queue?reason=" + "x" * 2000, 400, "reason: too long"),
        ("history?in=dead", 400, "in: no such condition"),
        ("history?after=1", 400, "after: no such condition"),
        ("queue?before=1", 400, "before: no such condition"),
        ("history?before=-1", 400, "before: not the value of next"),
        ("history?before=1x", 400, "before: not the value of next"),
        ("history?before=9999999999999999999", 400, "before: not the value of next"),
        ("queue?reason=a%00b", 400, "a NUL"),
        ("queue?from=%ff", 400, "not in UTF-8"),
        ("queue?%c3%28=1", 400, "not in UTF-8"),
        ("queue?from=%c3%bc", 200, ""),
        ("queue?" + "&".join(f"x{i}=1" for i in range(17)), 400, "too many parameters"),
        ("copy/", 404, "not the id"),
        ("copy/xyz", 404, "not the id"),
        ("copy/1", 404, "neither"),
        ("copy/1?x=1", 404, "are here"),
        ("nothing", 404, "are here"),
        ("", 404, "are here"),
    ):
        got, _, body = relay.get(f"/api/{path}")
        assert got == status and (status == 200 or text in json.loads(body)["error"]), (path, got, body)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("/", "/api/status", "/api/queue"):
            assert get(relay.port, path, method)[0] == 405, (method, path)
    assert get(relay.port, "/api/queue", "HEAD")[0] == 200
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as s:
        s.sendall(b"GET /api/queue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
        assert s.recv(100).startswith(b"HTTP/1.1 400 ")


def test_patterns_need_little_memory(r):
    """SQLite compares a pattern with a recursion for each wildcard; the pattern comes from a client, and the text from a sender."""
    relay = Relay(r)
    users = [f"see.eee{i}.employee" for i in range(1000)]
    relay.send("archive", *users)
    rig.wait_for(lambda: rig.queue.history(relay.spool), 30, "the history")
    for pattern, status in (("*e" * 19 + "*", 200), ("*e" * 2000 + "*", 400), ("*" * 900, 200), ("*see.eee9*", 200)):
        got, _, body = relay.get(f"/api/history?to={pattern}")
        assert got == status and (status != 200 or len(json.loads(body)["events"]) == 1), (pattern[:30], got, body[:300])
    relay.splitctl("history", "--json", "--to", "*e" * 19 + "*")
    code, _, err = rig.run_splitctl(r, relay.path, "history", "--to", "*e" * 30, check=False)
    assert code == 64 and "too many *" in err, (code, err)
    assert relay.daemon.running


def test_files(r):
    relay = Relay(r)
    for path, kind in FILES.items():
        status, headers, body = relay.get(path)
        name = "index.html" if path == "/" else path[1:]
        with open(os.path.join(TOP, "src", "relay", "page", name), encoding="utf-8") as f:
            assert (status, headers["Content-Type"], body) == (200, kind, f.read()), path
    for path in ("/", "/page.js", "/api/status", "/nothing"):
        headers = relay.get(path)[1]
        policy = dict(x.strip().split(" ", 1) for x in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["X-Frame-Options"] == "DENY"
        assert "Access-Control-Allow-Origin" not in headers
    with open(os.path.join(TOP, "src", "relay", "page", "index.html"), encoding="utf-8") as f:
        html = f.read()
    assert not re.search(r"https?://|<style| style=| on[a-z]+=|<script>", html)


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_other_web_sites_get_nothing(r):
    """A web site that the administrator visits: by a name that resolves to 127.0.0.1, and by a request to the address itself."""
    relay = Relay(r)
    for host in ("evil.test", f"evil.test:{relay.port}", "localhost.evil.test", "127.0.0.1.evil.test", "", "[::2]:80", "10.0.0.1", "[", "x" * 300, "127.0.0.1 evil", "[::1", "[::1]evil", "127.0.0.1:80x", "127.0.0.1:80 x"):
        for path in ("/", "/api/status", "/page.js"):
            assert relay.get(path, Host=host)[0] == 403, (host, path)
    for host in ("localhost", "LOCALHOST:9", "127.0.0.1", f"127.0.0.1:{relay.port}", "[::1]", "[::1]:80"):
        assert relay.get("/api/status", Host=host)[0] == 200, host
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200), ("evil", 403)):
        assert relay.get("/api/status", Sec_Fetch_Site=site)[0] == status, site
    assert relay.get("/metrics", Host="prometheus.example.com")[0] == 200
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as s:
        s.sendall(b"GET /api/status HTTP/1.0\r\n\r\n")
        assert b" 403 " in s.recv(100)


def test_passwords(r):
    secret = "zu Geheim:\u00fc"
    path = r.write("passwords", f"# for the page\n\nanna:{secret}\r\nben:other\n", mode=0o600)
    relay = Relay(r, f'page_password_file = "{path}"')
    wrong = (None, basic("anna:wrong"), basic("anna"), basic(f"ben:{secret}"), basic(""), basic(f"anna:{secret}x"), "Basic", "Basic !!!",
             "Bearer " + basic(f"anna:{secret}")[6:], basic(f"anna:{secret}") + "A", "Basic " + "A" * 4000, basic("# for the page"))
    for i, authorization in enumerate(wrong):
        for where in ("/", "/page.js", "/api/status", "/api/copy/1"):
            status, headers, body = get(relay.port, where, headers={"Authorization": authorization} if authorization else {}, source=f"127.0.2.{i + 1}")
            assert status == 401 and headers["WWW-Authenticate"].startswith("Basic realm="), (authorization, where, status)
            assert "relay.test" not in body
    for authorization in (basic(f"anna:{secret}"), basic("ben:other"), basic("ben:other").replace("Basic", "bASIC")):
        assert relay.get("/api/status", Authorization=authorization, Host="mail.example.com")[0] == 200, authorization
        assert relay.get("/", Authorization=authorization)[0] == 200
    assert relay.get("/metrics")[0] == relay.get("/healthz")[0] == 200
    relay.daemon.stop()
    for i in range(1, len(wrong)):
        assert len(relay.daemon.log_lines(rf"page: wrong name or password from \[127\.0\.2\.{i + 1}\]")) == 4, i
    assert "Geheim" not in relay.daemon.log() and basic(f"anna:{secret}")[6:] not in relay.daemon.log()


def test_guesses(r):
    """After 10 wrong passwords an address has to wait; after 100 of all, addresses without a right one."""
    path = r.write("passwords", "anna:secret\n", mode=0o600)
    relay = Relay(r, f'page_password_file = "{path}"')

    def attempt(source, password):
        return get(relay.port, "/api/status", headers={"Authorization": basic(f"anna:{password}")}, source=source)

    def denied(kind):
        return f'splitrelay_page_denied_total{{kind="{kind}"}}'

    page = relay.get("/metrics")[2]
    assert f"{denied('password')} 0\n" in page and f"{denied('limit')} 0\n" in page
    assert attempt("127.0.0.3", "secret")[0] == 200
    assert [attempt("127.0.0.2", f"guess{i}")[0] for i in range(11)] == [401] * 10 + [429]
    status, headers, body = attempt("127.0.0.2", "secret")
    assert status == 429 and 1 <= int(headers["Retry-After"]) <= 60 and json.loads(body)["retry_after"] <= 60, (status, headers, body)
    assert get(relay.port, "/", source="127.0.0.2")[0] == 401  # a browser asks for the password
    assert attempt("127.0.0.4", "secret")[0] == 200
    page = relay.get("/metrics")[2]
    assert f"{denied('password')} 10\n" in page and f"{denied('limit')} 2\n" in page
    for i in range(90):
        assert attempt(f"127.0.1.{i // 5 + 1}", "guess")[0] == 401
    assert attempt("127.0.0.5", "secret")[0] == 429
    assert attempt("127.0.0.4", "secret")[0] == 200
    relay.daemon.stop()
    assert len(relay.daemon.log_lines(r"page: wrong name or password from \[127\.0\.0\.2\]")) == 10
    assert len(relay.daemon.log_lines(r"page: too many wrong passwords, the last from \[127\.0\.(0\.2|1\.18)\]")) == 2
    assert relay.daemon.log_lines("page: 3 requests were refused after too many wrong passwords")


def test_passwords_change(r):
    """A reload reads the file again. A wrong file leaves the old passwords."""
    path = r.write("passwords", "anna:old\n", mode=0o600)
    relay = Relay(r, f'page_password_file = "{path}"')
    for content, is_done, known in (("anna:new\n", True, "new"), ("nonsense\n", False, "new"), ("ben:x\nanna:newer\n", True, "newer")):
        r.write("passwords", content, mode=0o600)
        code, _, err = rig.run_splitctl(r, relay.path, "reload", check=False)
        assert (code == 0) == is_done, (content, code, err)
        for password in ("old", "new", "newer"):
            assert relay.get("/api/status", Authorization=basic(f"anna:{password}"))[0] == (200 if password == known else 401), (content, password)


def start_fails(r, options, metrics="inet:{port}@127.0.0.1"):
    relay = Relay(r, options, metrics, is_started=False)
    done = subprocess.run([rig.program("splitrelay"), "-c", relay.path], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_where_the_page_is(r):
    """Beyond loopback it is served only with a password, or not at all."""
    relay = Relay(r, metrics="inet:{port}@0.0.0.0")
    for path in ("/", "/api/status", "/parts.js"):
        status, _, body = relay.get(path)
        assert status == 403 and "page_password_file" in body, (path, status, body)
    assert relay.get("/metrics")[0] == 200 and relay.daemon.log_lines("no page at http://.*page_password_file is not set")
    relay.daemon.stop()
    code, text = start_fails(r, 'page = "yes"', "inet:{port}@0.0.0.0")
    assert code == 78 and re.search(r"splitrelay\.conf:\d+: page: metrics at \[0\.0\.0\.0\]:\d+ can be reached from other machines: set page_password_file", text), text
    code, text = start_fails(r, 'page_password_file = "/nowhere"')
    assert code == 78 and "page_password_file: /nowhere: No such file" in text, (code, text)
    for content in ("", "# nothing\n", "no colon\n", ":no name\n", "noword:\n", "a:b\nbad\x01:x\n", "x" * 70000):
        code, text = start_fails(r, f'page_password_file = "{r.write("bad", content)}"')
        assert code == 78 and "page_password_file: " in text, (content[:20], code, text)


def test_web_servers_before_it(r):
    """One that passes on everything must not publish the page."""
    relay = Relay(r)
    for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        for path in ("/", "/api/history"):
            status, _, body = relay.get(path, **{name: "203.0.113.5"})
            assert status == 403 and "a web server passes this request on" in body, (name, path, status)
        assert relay.get("/metrics", **{name: "203.0.113.5"})[0] == 200
    assert b" 403 " in raw(relay.port, b"GET /api/history HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")[:20]  # nginx, without settings
    assert relay.get("/api/history")[0] == 200


def test_no_page(r):
    relay = Relay(r, 'page = "no"')
    for path in (*FILES, "/api/status", "/api/queue"):
        status, _, body = relay.get(path)
        assert status == 404 and 'The page is off: splitmilter.conf has page = "no"' in body, (path, status, body)
    assert relay.get("/metrics")[0] == relay.get("/healthz")[0] == relay.get("/readyz")[0] == 200


def test_unix_socket(r):
    """For a web server, which may pass any Host, and which decides who may read the page."""
    path = r.path("page.sock")
    relay = Relay(r, metrics=f"unix:{path}")
    rig.wait_for(lambda: accepts(path), 10, "the socket")
    assert get(path, "/api/status", headers={"Host": "mail.example.com"})[0] == 200
    assert get(path, "/")[2].startswith("<!DOCTYPE html>")
    assert get(path, "/api/status", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    relay.daemon.stop()
    assert not os.path.exists(path)


NGINX = """\
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body; proxy_temp_path {directory}/nginx-proxy; fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi; scgi_temp_path {directory}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


def test_guide_for_nginx(r):
    """The lines of operations.md, without TLS."""
    rig.need_tools("nginx")
    path = r.path("page.sock")
    relay = Relay(r, metrics=f"unix:{path}", fill=put_some)
    with open(os.path.join(TOP, "docs", "operations.md"), encoding="utf-8") as f:
        (locations,) = re.findall(r"```nginx\n(.*?)```", f.read(), re.S)
    locations = locations.replace("/run/splitmilter-page/socket", path).replace("/etc/nginx/splitrelay.htpasswd", r.write("htpasswd", "anna:{PLAIN}secret\n"))
    port = r.free_port()
    web = rig.Daemon(r, "nginx", ["nginx", "-e", r.path("nginx-start.log"), "-c", r.write("nginx.conf", NGINX.format(directory=r.directory, port=port, locations=locations))])
    os.chmod(path, 0o666)
    web.start(lambda: accepts(("127.0.0.1", port)), 20)
    for where in ("/splitrelay/", "/splitrelay/api/queue"):
        assert get(port, where)[0] == 401
        status, _, body = get(port, where, headers={"Authorization": basic("anna:secret")})
        assert status == 200 and ("page.js" in body or len(json.loads(body)["copies"]) == 8), body
    assert get(port, "/splitrelay", headers={"Authorization": basic("anna:secret")})[0] == 301
    assert get(port, "/splitrelay/", "POST", headers={"Authorization": basic("anna:secret")})[0] == 403
    assert relay.daemon.running


# --- attacks ---

TRAVERSALS = (
    "/../splitrelay.conf", "/..%2fsplitrelay.conf", "/%2e%2e/splitrelay.conf", "//etc/passwd", "/page.css/../../../../etc/passwd", "/./page.js", "/page.js/",
    "/..\\..\\etc\\passwd", "/api/../etc/passwd", "/api/copy/../../etc/passwd", "/api/copy/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/%00", "/page.js%00.html",
    "/index.html", "/relay_files.c", "/.git/config", "/api", "/API/status", "file:///etc/passwd", "/api/status/", "/api/status%2f..%2fqueue",
)


def raw(port, request, size=1 << 16):
    with socket.create_connection(("127.0.0.1", port), timeout=20 * rig.TIME_FACTOR) as s:
        got = b""
        try:
            s.sendall(request)
            while len(got) < size and (part := s.recv(65536)):
                got += part
        except OSError:
            pass  # the server may close the connection early
        return got


def test_paths_and_headers(r):
    relay = Relay(r, fill=put_some)
    for path in TRAVERSALS:
        got = raw(relay.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = got.partition(b"\r\n\r\n")
        # libmicrohttpd ends a path at a NUL, so these are paths of the page.
        statuses = (b"200", b"400", b"404") if "%00" in path else (b"400", b"404")
        assert head[9:12] in statuses, (path, got[:200])
        assert b"root:" not in body and b"spool_directory" not in body, path
    for evil in ("%0d%0aEvil:%20yes", "%0aEvil: yes", "%0d%0a%0d%0a<script>", "%c4%8d%c4%8aEvil:yes", "\u010d\u010aEvil:yes"):
        for path in (f"/{evil}", f"/api/{evil}", f"/api/copy/{evil}", f"/api/queue?from={evil}", f"/api/queue?{evil}=1", f"/api/queue?in={evil}"):
            got = raw(relay.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = got.partition(b"\r\n\r\n")
            # libmicrohttpd 1.0 answers a blank in the path with a redirection to the path with %20.
            head = head.replace(b"\r\nLocation: " + path.replace(" ", "%20").encode(), b"") if " " in path else head
            assert b"Evil" not in head and b"<script" not in body.split(b"{")[0], (path, got[:300])
            assert re.match(rb"HTTP/1\.1 (200|301|400|404) " if " " in path else rb"HTTP/1\.1 (200|400|404) ", head), (path, got[:100])
    hostile = json.dumps(relay.document("queue"))
    assert HOSTILE % "s" in json.loads(hostile)["copies"][6]["sender"]
    assert relay.get("/api/queue")[2].isascii()
    relay.daemon.stop()
    assert "Evil" not in relay.daemon.log()


def test_slow_clients_and_a_thousand_connections(r):
    """They wait for each other. Monitoring, the page and the queue go on."""
    relay = Relay(r)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    slow = []
    for i in range(1000):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", relay.port))
        slow.append(s)
        if i % 50 == 0:
            for x in slow[-200:]:
                try:
                    x.send(b"GET /api/queue HTTP/1.1\r\nHost: loc")
                except OSError:
                    pass
            began = time.monotonic()
            relay.send("archive", f"u{i}")
            assert time.monotonic() - began < 5 * rig.TIME_FACTOR
    relay.archive.wait(20)
    assert rig.wait_for(lambda: answers(relay, "/healthz"), 30, "an answer for monitoring")
    assert rig.wait_for(lambda: answers(relay, "/api/status"), 30, "an answer for the page")
    for s in slow:
        s.close()
    assert rig.wait_for(lambda: answers(relay, "/"), 30, "an answer after them")


def answers(relay, path):
    try:
        return relay.get(path)[0] == 200
    except OSError:
        return False


def test_many_documents_at_once(r):
    """More than can wait: the others are refused. The daemon stops while some are being made."""
    relay = Relay(r, fill=lambda spool: rig.queue.fill(spool, 20000, 100, ("newmail",)))
    request = b"GET /api/queue?reason=nothing-like-this HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for is_last in (False, True):
        clients = [socket.create_connection(("127.0.0.1", relay.port), timeout=30 * rig.TIME_FACTOR) for _ in range(24)]
        for s in clients:
            s.sendall(request)
        if is_last:
            relay.daemon.stop()
        heads = []
        for s in clients:
            try:
                heads.append(s.recv(65536)[9:12])
            except OSError:
                heads.append(b"")
            s.close()
        assert is_last or (b"200" in heads and set(heads) <= {b"200", b"503"}), heads


def put_long_history(spool):
    """Rows that take long to compare with LONG_PATTERN."""
    rig.queue.create(spool)
    row = ", ".join(["a" * 890 + "@example.com"] * 27)
    for first in range(0, 1000, 100):
        values = ", ".join(f"({(first + i) * 65536 + 1}, 'archive', {int(time.time()) - 60}, 's@sender.test', '{row}', '', '', 1, 'sent', '', '', 1)" for i in range(100))
        rig.queue.change(
            spool, f"INSERT INTO history (copy, destination, time, sender, recipients, message_id, mta_queue_id, size, result, relay, reply, attempts) VALUES {values}")


LONG_PATTERN = "*" + "a" * 900 + "*"


def test_long_reading_ends(r):
    """A statement is ended after five seconds, and when splitrelay stops. Silent clients do not keep monitoring out meanwhile."""
    relay = Relay(r, fill=put_long_history)
    request = f"GET /api/history?to={LONG_PATTERN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    document = relay.document("history", to=LONG_PATTERN)
    assert document["incomplete"] and document["took"] < 7 * rig.TIME_FACTOR, document
    assert 0 < int(document["next"]) <= 990, document  # and the search can go on
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port), timeout=60 * rig.TIME_FACTOR))
        busy.sendall(request)
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", relay.port)))
        began = time.monotonic()
        rig.wait_for(lambda: answers(relay, "/healthz"), 30, "an answer for monitoring")
        is_made = select.select([busy], [], [], 0)[0]
        assert not is_made, f"monitoring had to wait {time.monotonic() - began:.1f} s for the document"
        assert busy.recv(100).startswith(b"HTTP/1.1 200 ")  # and the client of the document gets it
        again = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port)))
        again.sendall(request)
        began = time.monotonic()
        relay.daemon.stop()
        assert time.monotonic() - began < 4 * rig.TIME_FACTOR


def test_reading_has_a_budget(r):
    """Searches without end are refused after 10 seconds of reading; the status is not."""
    relay = Relay(r, fill=lambda spool: rig.queue.fill(spool, 100000, 100, ("newmail",)))

    def refused():
        status, _, body = relay.get("/api/queue?reason=nothing-like-this")
        assert status in (200, 503), body
        return status == 503 and "goes on in" in body and json.loads(body)["retry_after"] > 0

    rig.wait_for(refused, 90, "a refusal")
    began = int(time.time())
    assert rig.wait_for(lambda: relay.document("status")["time"] >= began, 20, "a new status")


def test_a_copy_of_many(r):
    """A document shows as many recipients of a copy as there is room for."""
    ids = []

    def fill(spool):
        for texts in (("", ""), ("rfc822;" + "x" * 100, "450 4.2.0 " + "\u00fc" * 100)):
            ids.append(rig.queue.put(spool, "newmail", [(f"recipient{i}@example.com", texts[0], "dead", texts[1]) for i in range(50000)], state="dead"))

    relay = Relay(r, fill=fill)
    for copy_id in ids:
        body = relay.get(f"/api/copy/{copy_id}")[2]
        copy = json.loads(body)["copy"]
        assert 300000 < len(body) < 1100000, len(body)
        assert copy["recipient_count"] == 50000 == len(copy["recipients"]) + copy["recipients_left_out"], (copy["recipient_count"], copy["recipients_left_out"])


def test_the_history_in_parts(r):
    relay = Relay(r, fill=lambda spool: put_events(spool, 25))
    wanted = relay.splitctl("history", "--json")
    seen, before = [], ""
    while before is not None:
        part = relay.document("history", limit=4, before=before)
        assert len(part["events"]) <= 4
        seen += part["events"]
        before = part["next"]
    assert len(wanted) == 25 and seen == wanted
    assert relay.document("history", limit=25)["next"] is None


def put_events(spool, count):
    rig.queue.create(spool)
    for i in range(count):
        rig.queue.change(
            spool, "INSERT INTO history (copy, destination, time, sender, recipients, message_id, mta_queue_id, size, result, relay, reply, attempts)"
            f" VALUES ({i * 65536 + 1}, 'archive', {int(time.time()) - 60}, 's{i}@sender.test', 'r@example.com', '', '', 1, 'sent', '', '', 1)")


if __name__ == "__main__":
    rig.main()

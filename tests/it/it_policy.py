#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl explain shows exactly what splitmilter does, on random policies; also shares, senders and clients over the socket.
SPLIT_POLICIES: the number of random policies (default 12), with SPLIT_POLICY_MESSAGES messages each (20); SPLIT_SEED: others."""

import json
import os
import random
import re

import rig
from rig.milter import SMFIP_NOCONNECT, SMFIP_NOHDRS, Milter

POLICIES = int(os.environ.get("SPLIT_POLICIES", "12"))
MESSAGES = int(os.environ.get("SPLIT_POLICY_MESSAGES", "20"))
SEED = int(os.environ.get("SPLIT_SEED", "20261120"))
DOMAINS = ["a.test", "b.a.test", "c.test", "d.example"]
LOCALS = ["x", "y", "x+ext", "long.name", '"q q"', "postmaster"]
FILTERS = ["one", "two", "none", "one 30%, two", "two 10%", "smtp:[127.0.0.1]:10024"]
CLIENTS = ["192.0.2.1", "198.51.100.1", "2001:db8::1", ""]  # "": the MTA does not know the address
DIRECTIONS = ["inbound", "outbound", "internal"]
COPIES = ["archive", "newmail", "archive newmail 50%", "archive 25%", "none"]


def configuration(r, number, rnd):
    """A random policy: (the address of its socket, its text)."""
    socket = r.path(f"{number}.sock")

    def table(name, values, key):
        lines = {key(): rnd.choice(values) for _ in range(rnd.randrange(6))}
        if rnd.random() < 0.3:
            return f'"static:{rnd.choice(values)}"'
        return f'"texthash:{r.write(f"{name}{number}", "".join(f"{k} {v}" + chr(10) for k, v in lines.items()))}"'

    def key():
        return rnd.choice([address(rnd), rnd.choice(DOMAINS), f".{rnd.choice(DOMAINS)}", "*"])

    def canonical_key():
        return rnd.choice([address(rnd), f"@{rnd.choice(DOMAINS)}"])

    def maps(option, values, key_):
        if rnd.random() < 0.35:
            return ""
        return f"    {option} = {{ {', '.join(table(f'{option}{i}-', values, key_) for i in range(rnd.randrange(1, 3)))} }}\n"

    def some(option, values):
        """An option with some of the values, in random order; or none."""
        words = ", ".join(f'"{v}"' for v in rnd.sample(values, rnd.randrange(1, len(values) + 1)))
        return f"{option} = {{ {words} }}" if rnd.random() < 0.7 else ""

    canonical = "".join(["    canonical_maps = { 'inline:{ ", ", ".join(f"{canonical_key()}=new@z{i}.test" for i in range(3)).replace('"q q"', "qq"), " }' }\n"])
    return socket, f"""
log {{ target = "stderr" }}
recipient_delimiter = "{rnd.choice(['', '+'])}"
milter {{
    socket = "unix:{socket}"
    {"filter_method = header" if rnd.random() < 0.3 else ""}
    {'bypass_clients = { "192.0.2.0/24" }' if rnd.random() < 0.5 else ""}
    {some("local_networks", ["192.0.2.0/25", "198.51.100.0/24", "2001:db8::/64", "::/0"])}
    {some("local_domains", DOMAINS + [f".{d}" for d in DOMAINS])}
{canonical if rnd.random() < 0.6 else ""}\
{maps("filter_maps", FILTERS, key)}{maps("copy_maps", COPIES, key)}\
{maps("sender_filter_maps", FILTERS, key)}{maps("sender_copy_maps", COPIES, key)}}}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
filter two {{ nexthop = "smtp:[127.0.0.1]:10025" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:2601" }} {some("direction", DIRECTIONS)} }}
destination newmail {{ relay_to = {{ "[127.0.0.1]:2602" }} recipient = "canonical" {some("direction", DIRECTIONS)} }}
"""


def address(rnd):
    return f"{rnd.choice(LOCALS)}@{rnd.choice(DOMAINS)}"


def by_milter(socket, sender, client, rcpts, macros=None):
    """Send a message: (the refusals, the envelope's recipients with their words, the added headers, the answer at the end)."""
    m = Milter(socket)
    if not m.steps & SMFIP_NOCONNECT and client:
        m.connect(client)
    m.macros(b"M", **(macros or {}))
    m.mail(f"<{sender}>")
    refused, kept = {}, []
    for rcpt in rcpts:
        answer = m.rcpt(f"<{rcpt}>")
        if answer == "c":
            kept.append(rcpt)
        else:
            refused[rcpt] = answer
    m.data()
    changes, end = m.eom()
    m.close()
    envelope = [(rcpt, "") for rcpt in kept if ("-", f"<{rcpt}>") not in changes]
    envelope += [(c[1][1:-1], c[2]) for c in changes if c[0] == "+"]
    headers = [c[1:] for c in changes if c[0] == "h"]
    return refused, sorted(envelope), headers, end


def by_explain(r, path, sender, client, rcpts, is_authenticated):
    """The result of by_milter(), as explain says it; and the lines of the log that it leads to: {(recipient, text after skip=)}"""
    words = [*(["--client", client] if client else []), *(["--authenticated"] if is_authenticated else [])]
    _, out, _ = rig.run_splitctl(r, path, "explain", "--json", "-f", sender, *words, *rcpts, check=False)
    objects = [json.loads(line) for line in out.splitlines()]
    refused = {o["recipient"]: o["reply"] for o in objects[:-1] if o["reply"]}
    envelope = objects[-1]["envelope"]
    header = envelope["header"]
    lines = {
        (o["recipient"], ",".join(f"{name}(direction={o['direction']})" for name in o["skipped"]))
        for o in objects[:-1]
        if not o["reply"] and not envelope["reply"] and (o["filter"] or o["copies"] or o["skipped"] or o["final"] != o["recipient"])
    }
    return (
        refused,
        sorted((x["address"], x["words"]) for x in envelope["recipients"]),
        [(header["name"], header["value"])] if header else [],
        envelope["reply"] or "c",
    ), lines


def decided(daemon):
    """{queue id: {(recipient, text after skip=)}} of the lines of the daemon's log."""
    found = {}
    for line in daemon.log_lines(r"\]: id\d+: to=<.*>, (canonical|filter|copy|skip)="):
        queue_id, recipient, rest = re.search(r"\]: (id\d+): to=<(.*?)>, (.*)$", line).groups()
        found.setdefault(queue_id, set()).add((recipient, rest.partition("skip=")[2]))
    return found


def test_explain_agrees_with_the_daemon(r):
    """On random policies, clients and recipients explain has the envelope and the skipped copies of the daemon."""
    rnd = random.Random(SEED)
    changed = skipped = 0
    for number in range(POLICIES):
        socket, text = configuration(r, number, rnd)
        daemon = rig.start_splitmilter(r, text, socket, name=f"m{number}")
        logged = {}
        for message in range(MESSAGES):
            sender = rnd.choice(["", address(rnd).replace('"q q"', "qq")])
            client, is_authenticated = rnd.choice(CLIENTS), rnd.random() < 0.2
            rcpts = list(dict.fromkeys(address(rnd) for _ in range(rnd.randrange(1, 5))))
            macros = {"i": f"id{message}", "{client_resolve}": "OK", "{client_addr}": f"IPv6:{client}" if ":" in client and message % 2 else client}
            if is_authenticated:
                macros[rnd.choice(["{auth_authen}", "{auth_type}"])] = "anna"
            done = by_milter(socket, sender, client, rcpts, macros)
            said, lines = by_explain(r, daemon.configuration_path, sender, client, rcpts, is_authenticated)
            assert done == said, f"{text}\n{sender} {client} {macros} {rcpts}\nmilter:  {done}\nexplain: {said}"
            changed += done[1] != sorted((rcpt, "") for rcpt in rcpts)
            skipped += sum(1 for _, skip in lines if skip)
            if lines:
                logged[f"id{message}"] = lines
        rig.wait_for(lambda d=daemon, x=logged: decided(d) == x, 10, f"the lines {logged} of policy {text}", daemon.log)
        daemon.kill()
    print(f"{POLICIES} policies, {POLICIES * MESSAGES} messages, {changed} changed, {skipped} recipients with skipped copies")
    assert changed > POLICIES * MESSAGES / 4
    assert skipped > POLICIES * MESSAGES / 8


SHARES = """
log {{ target = "stderr" }}
milter {{
    socket = "unix:{socket}"
    filter_maps = {{ "texthash:{table}" }}
    copy_maps = {{ "static:archive 25%" }}
}}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
filter two {{ nexthop = "smtp:[127.0.0.1]:10025" }}
destination archive {{ relay_to = {{ "[127.0.0.1]:2601" }} }}
"""


def fnv_share(text):
    """The share of an address, as splitmilter.conf(5) defines it."""
    h = 14695981039346656037
    for byte in text.encode():
        h = ((h ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return ((h ^ (h >> 32)) & 0xFFFFFFFF) % 10000


def test_shares(r):
    """The recipients in a share of 10 % and of 20 % are those that the manual defines, and the larger share contains the smaller
    one."""
    socket = r.path("m.sock")
    rcpts = [f"User{i}@Roll.test" for i in range(600)]

    def routes(percent):
        table = r.write("table", f"roll.test two {percent}%, one\n")
        daemon = rig.start_splitmilter(r, SHARES.format(socket=socket, table=table), socket, name=f"m{percent}")
        _, envelope, _, _ = by_milter(socket, "s@x.test", "", rcpts)
        daemon.kill()
        addresses = [a for a, _ in envelope]
        return ({x.split(".two.filter.")[0] for x in addresses if ".two.filter." in x}, {x.split(".archive.")[0] for x in addresses if ".archive.copy." in x})

    ten, copies = routes(10)
    twenty, _ = routes(20)
    shares = {rcpt: fnv_share(rcpt.lower()) for rcpt in rcpts}
    assert ten == {x for x in rcpts if shares[x] < 1000}, "10 %"
    assert twenty == {x for x in rcpts if shares[x] < 2000}, "20 %"
    assert copies == {x for x in rcpts if shares[x] < 2500}, "25 % of the copies"
    assert ten < twenty and 40 < len(ten) < 85 and 85 < len(twenty) < 160, (len(ten), len(twenty))


HEADERS = """
log {{ target = "stderr" }}
milter {{
    socket = "{socket}"
    canonical_maps = {{ 'inline:{{ old@a.test=new@b.test }}'{more} }}
    canonical_classes = {{ {classes} }}
    bypass_clients = {{ "192.0.2.0/24" }}
}}
"""


def send_headers(socket, client="198.51.100.1"):
    m = Milter(socket)
    m.connect(client)
    m.mail("<s@x.test>")
    assert m.rcpt("<old@a.test>") == "c"
    m.data()
    if not m.steps & SMFIP_NOHDRS:
        for name, body in (("From", "old@a.test"), ("to", '"Old, O." <old@a.test>,\n\tother@a.test'), ("TO", "x@a.test"), ("To", "old@a.test (c)"), ("Cc", "g: Old@A.test;"), ("Reply-To", "old@a.test")):
            m.header(name, body)
    changes, end = m.eom()
    m.close()
    return [c for c in changes if c[0] == "m"], [c for c in changes if c[0] in "+-"], end


def test_headers(r):
    """canonical_classes selects whether the envelope, or To and Cc, are rewritten. Without header_recipient the MTA sends no
    headers."""
    path = r.path("m.sock")
    port = r.free_port()
    changed = [("m", "To", 1, '"Old, O." <new@b.test>,\n\tother@a.test'), ("m", "To", 3, "new@b.test (c)"), ("m", "Cc", 1, "g: new@b.test;")]
    envelope = [("+", "<new@b.test>", "ORCPT=rfc822;old@a.test"), ("-", "<old@a.test>")]
    for number, (name, address, classes, headers, rcpts) in enumerate(
        (
            (f"unix:{path}", path, '"envelope_recipient", "header_recipient"', changed, envelope),
            (f"inet:{port}@127.0.0.1", ("127.0.0.1", port), '"header_recipient"', changed, []),
            (f"unix:{path}", path, '"envelope_recipient"', [], envelope),
        )
    ):
        daemon = rig.start_splitmilter(r, HEADERS.format(socket=name, classes=classes, more=""), address, name=f"m{number}")
        assert send_headers(address) == (headers, rcpts, "c"), (number, send_headers(address))
        assert send_headers(address, "192.0.2.1") == ([], [], "c"), "bypassed"
        daemon.kill()


def test_headers_when_a_table_fails(r):
    path = r.path("m.sock")
    more = f', "socketmap:unix:{r.path("nobody")}:x"'
    daemon = rig.start_splitmilter(r, HEADERS.format(socket=f"unix:{path}", classes='"header_recipient"', more=more), path)
    headers, rcpts, end = send_headers(path)
    assert headers == [] and rcpts == [] and end.startswith("451 4.3.0 "), (headers, rcpts, end)
    daemon.wait_log(r"headers, status=tempfail \(socketmap:unix:.*nobody:x: cannot connect")


if __name__ == "__main__":
    rig.main(timeout=300 + POLICIES)

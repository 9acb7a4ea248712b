#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Paths in all forms that clients write. A listener replies as the server behind it does, except where splitrelay(8) documents
another reply. The server has the same address with the listener and without, and so has the copy."""

import re
import threading

import rig
import rig.daemons

A = "anna@x.test"
# Texts of splitrelay(8) about forms that a listener itself accepts or refuses. They must be in the manual.
MANUAL = {
    "blank": "blanks and tabs around the command",
    "bracket+": "a missing pair of brackets, or one too many",
    "name": "a display name before the brackets, or within them",
    "comment": "comments within the brackets",
    "route": "a source route, and a dot after the domain",
    "dot": "a source route, and a dot after the domain",
    "control": "control characters;",
    "at": "or one without a domain after it",
    "list": "a comma, colon or semicolon outside of quotes",
    "gap": "a blank in a local part or in a path without brackets",
    "end": "a bracket, comment or quoted string that does not end, and a closing bracket without an opening one",
    "behind": "a comment after the brackets",
    "local": "no local part, or an empty one without domain",
    "domain": "a recipient's domain that is neither a host name",
}
# (form, the key in MANUAL if a server may reply otherwise).
FORMS = [
    (f"<{A}>", None),
    (f" <{A}>", None),
    (f"  <{A}>", None),
    (f"\t<{A}>", None),
    (f" \t <{A}>", None),
    (f"<{A}> ", None),
    (f"<{A}>\t", None),
    (f"<{A}>  \t", None),
    (A, None),
    (f" {A}", None),
    (f"\t{A}", None),
    (f"{A} ", None),
    (f"{A}\t", None),
    (f"< {A}>", "blank"),
    (f"<{A} >", "blank"),
    (f"< {A} >", "blank"),
    ("<anna @x.test>", "blank"),
    ("<anna@ x.test>", "blank"),
    ("<an na@x.test>", "gap"),
    ("<an\tna@x.test>", "gap"),
    ("anna @x.test", "gap"),
    (f"<Anna <{A}>>", "name"),
    (f'<"Anna B" <{A}>>', "name"),
    (f"Anna <{A}>", "name"),
    (f'"Anna B" <{A}>', "name"),
    (f"<<{A}>>", "bracket+"),
    (f"<{A}", None),
    (f"{A}>", "end"),
    (f"<{A}>>", "end"),
    (f"<{A}>x", None),
    (f"<{A} (c)>", "comment"),
    ("<anna(c)@x.test>", None),
    ("<(c)anna@x.test>", None),
    ("<anna@(c)x.test>", None),
    (f"<{A}(c)>", None),
    (f"<{A} (a(b)c)>", "comment"),
    (f"<{A}> (c)", "behind"),
    (f"{A} (c)", "behind"),
    (f"<{A} (c>", "end"),
    (f"<{A} )>", None),
    ('<"anna"@x.test>', None),
    ('<"an na"@x.test>', None),
    (r'<"a\"b"@x.test>', None),
    ('<"anna@x.test>', None),
    ('<an"na"@x.test>', None),
    (r"<an\ na@x.test>", None),
    (r"<a\nna@x.test>", None),
    ('<anna."b c".d@x.test>', None),
    (f"<@r.test:{A}>", None),
    (f"<@r.test,@q.test:{A}>", None),
    (f"@r.test:{A}", None),
    (f"<@r.test {A}>", None),
    (f"<{A},ben@x.test>", None),
    (f"<{A};>", "list"),
    (f"<g:{A};>", "list"),
    (f"mailto:{A}", "list"),
    ("<anna@x..test>", None),
    ("<anna@x.test.>", "dot"),
    ("<anna..b@x.test>", None),
    ("<anna.@x.test>", None),
    ("<anna@x!.test>", None),
    ("<anna@127.0.0.1>", None),
    ("<anna@[x>", None),
    ("<anna@x@y.test>", "at"),
    (r"<anna\@x.test>", "at"),
    ("<anna%y.test@x.test>", None),
    ("<anna@>", None),
    ("<@x.test>", "local"),
    ("<anna>", None),
    ("anna", None),
    ("<postmaster>", None),
    ("", None),
    (b"<j\xfcrgen@x.test>", None),
    (b"j\xfcrgen@x.test", None),
    (b"<j\xc3\xbcrgen@x.test>", None),
    (b"<anna@\xfc.test>", None),
    (b"<\x01anna@x.test>", "control"),
    (f"<{'a' * 65}@x.test>", None),
    (f"<anna@{'a' * 64}.test>", "domain"),
    ("<-anna@x.test>", None),
    (f"<{A}> FOO=1", None),
    (f"{A} FOO=1", None),
]
assert len(FORMS) >= 68


def octets(form):
    return form if isinstance(form, bytes) else form.encode()


def plain(address):
    """The address without quotes and backslashes in the local part, because servers write the same local part in several ways."""
    local, at, domain = address.rpartition("@")
    return re.sub(r'\\(.)|"', lambda m: m[1] or "", local) + at + domain


def offer(address, verb, number, form):
    """Send one message with this form in MAIL or RCPT: (the reply to that command, the message was accepted)."""
    with rig.SmtpClient(address) as c:
        replies = []
        for name, keyword in (("MAIL", "FROM"), ("RCPT", "TO")):
            c.write(b"%s %s:%s\r\n" % (name.encode(), keyword.encode(), octets(form) if name == verb else b"<u@y.test>"))
            replies.append(c.read())
            if replies[-1].code != 250:
                return replies[-1], False
        taken = c.data(f"Subject: {verb} {number}\r\n\r\nx\r\n".encode()).code == 250
        return replies[verb == "RCPT"], taken


def offer_all(address, results, verb):
    for number, (form, _) in enumerate(FORMS):
        results[verb, number] = offer(address, verb, number, form)


def run(targets):
    """Offer all forms to each of the targets: {name: {(verb, number): (reply, the message was accepted)}}."""
    results = {name: {} for name in targets}
    threads = [
        threading.Thread(target=offer_all, args=(address, results[name], verb))
        for name, address in targets.items()
        for verb in ("MAIL", "RCPT")
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(len(x) == 2 * len(FORMS) for x in results.values()), "a conversation broke"
    return results


def seen(sink, taken):
    """Wait for all accepted messages: {(verb, number): the address as it arrived}."""
    wanted = {key for key, (_, is_taken) in taken.items() if is_taken}

    def arrived():
        found = {}
        for t in sink.accepted:
            verb, number = t.headers("Subject")[0].split()
            found[verb, int(number)] = t.sender if verb == "MAIL" else t.addrs[0]
        return found if wanted <= set(found) else None

    return rig.wait_for(arrived, 60, f"{len(wanted)} messages at {sink.name}", lambda: str(wanted - set(arrived() or {})))


def compare(r, name, direct, behind, own, through):
    """Compare a server with the same server behind a listener. direct: the address of the server; behind: the server behind the
    listener; own, through: the sinks of the two."""
    d = rig.Duplicator(r, primary=behind)
    with rig.SmtpClient(d.address, helo=None) as c:
        assert c.cmd(f"MAIL FROM:{A}").code == 250 and c.cmd("RCPT TO:u@y.test").code == 250
        assert c.data(b"Subject: MAIL 999\r\n\r\nno EHLO\r\n").code == 250
    results = run({"direct": direct, "listener": d.address})
    theirs, ours = seen(own, results["direct"]), seen(through, results["listener"])
    copies = seen(d.backups["newmail"], results["listener"])
    faults = []
    for (verb, number), (reply, taken) in results["listener"].items():
        form, note = FORMS[number]
        straight, straight_taken = results["direct"][verb, number]
        key = (verb, number)
        if reply.code // 100 != straight.code // 100 and note is None:
            faults.append(f"{verb} {form!r}: {name} says {straight}, the listener {reply}")
        has_octets = verb == "MAIL" and b"\xfc" in octets(form)  # "?" in the sender of a copy
        if taken and not has_octets and plain(copies[key]) != plain(ours[key]).removesuffix(f"@{behind.name}.test"):
            faults.append(f"{verb} {form!r}: the primary has {ours[key]!r}, the copy {copies[key]!r}")
        # Exim 4.96 changes a blank in RCPT to "=".
        if taken and straight_taken and plain(ours[key]).split("@")[0] != plain(theirs[key]).split("@")[0] and "=" not in theirs[key]:
            faults.append(f"{verb} {form!r}: {name} alone reads {theirs[key]!r}, behind the listener {ours[key]!r}")
    assert not faults, "\n".join(faults)
    d.daemon.stop()


SLOW = {"smtpd_error_sleep_time": "0s", "smtpd_soft_error_limit": "10000", "smtpd_hard_error_limit": "10000"}


def test_postfix(r):
    """A listener before a Postfix replies to each form as the Postfix does, or as the manual says."""
    sinks = [rig.Sink(r, n) for n in ("own", "through")]
    servers = [rig.Postfix(r, f"server{i}", {"relayhost": s.bracketed, **SLOW}) for i, s in enumerate(sinks)]
    for pf in servers:
        pf.start()
    compare(r, "Postfix", servers[0].address, servers[1], *sinks)


class Server:
    def __init__(self, port):
        self.name, self.bracketed = "exim", f"[127.0.0.1]:{port}"


def test_exim(r):
    """A listener before an Exim replies to each form as the Exim does, or as the manual says."""
    rig.exim_program()
    sinks = [rig.Sink(r, n) for n in ("own", "through")]
    ports = [r.free_port() for _ in sinks]
    for port, sink in zip(ports, sinks):
        rig.Exim(r, f"server{port}", sink, [port], {})
    compare(r, "Exim", ("127.0.0.1", ports[0]), Server(ports[1]), *sinks)


def test_manual(r):
    """Each reason for a reply that differs from the server's is in the manual."""
    with open(f"{rig.daemons.TOP}/docs/splitrelay.8", encoding="utf-8") as f:
        text = f.read()
    section = text[text.index(".Sh WHAT A LISTENER DECIDES") :]
    section = " ".join(re.sub(r"(?m)^\.(It|Sq|Pq|Li)\b", "", section[: section.index("\n.Sh SOCKETS")]).split())
    for reason in MANUAL.values():
        assert reason in section, reason
    assert {note for _, note in FORMS if note} <= set(MANUAL)


if __name__ == "__main__":
    rig.main()

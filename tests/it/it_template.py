#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Parts of the recipient in recipient, sender and Maildir of a destination: what arrives through a real Postfix is what explain says,
hostile addresses make neither a wrong address nor a path, and no copy is lost after kill -9."""

import glob
import json
import mailbox
import os
import random
import re
import time

import rig
from rig.daemons import accepts

CONTENT = b"Subject: x\r\n\r\ntext\r\n"
MONTH = re.compile(r"\d{4}-\d{2}")


def explain(r, path, sender, rcpts):
    """{(recipient, destination): what explain says about the copy}."""
    _, out, _ = rig.run_splitctl(r, path, "explain", "--json", "-f", sender, *rcpts, check=False)
    objects = [json.loads(line) for line in out.splitlines()][:-1]
    return {(o["given"].strip("<>"), c["destination"]): c for o in objects for c in o["copy_envelopes"]}


def files_below(directory):
    """{path of a Maildir below the directory: [the text of each file]}."""
    found = {}
    for path in glob.glob(f"{directory}/**/new/*", recursive=True):
        with open(path, "rb") as f:
            found.setdefault(os.path.dirname(os.path.dirname(path)), []).append(f.read())
    return found


def test_through_postfix(r):
    """The original recipient makes the address, not the rewritten one; recipients keep their case, domains do not; each sender has a
    transaction of its own, each address is sent once, and a Maildir has its own recipients only. explain says the same."""
    os.mkdir(r.path("files"))
    t = rig.Tower(
        r,
        canonical="anna@example.com inside@domain.com\n",
        copies="example.com archive, newmail, files\nexample.net archive, newmail, files\n",
        destinations={
            "archive": 'recipient = "%u-%d@archive.test"\n',
            "newmail": 'recipient = "all@new.test"\nsender = "%d@bounce.test"\n',
        },
        short=True,
        start=False,
    )
    t.configuration += f'destination files {{ relay_to = {{ "maildir:{r.path("files")}/%d/{{%Y-%m}}" }} format = "envelope-headers" }}\n'
    t.start()
    rcpts = ["anna@example.com", '"ben smith"@example.net', "Carl+x@EXAMPLE.COM", "carl@example.net"]
    rig.send(t.front.address, "s@sender.test", rcpts, CONTENT)
    archived = [a for txn in t.backups["archive"].wait(1) for a in txn.addrs]
    assert sorted(archived) == sorted(
        ["anna-example.com@archive.test", '"ben smith-example.net"@archive.test', "Carl+x-example.com@archive.test", "carl-example.net@archive.test"]
    ), archived
    new = [(txn.sender, txn.addrs) for txn in t.backups["newmail"].wait(2)]
    assert sorted(new) == [("example.com@bounce.test", ["all@new.test"]), ("example.net@bounce.test", ["all@new.test"])], new
    rig.wait_for(lambda: len(files_below(r.path("files"))) == 2, 20, "two Maildirs", t.relay.log)
    files = files_below(r.path("files"))
    (com,), (net,) = (files[d] for d in sorted(files))
    named = [sorted(re.findall(rb"<([^>]+)>", re.search(rb"X-Envelope-To: ([^:]*)\nReceived:", text).group(1))) for text in (com, net)]
    assert named == [[b"Carl+x@EXAMPLE.COM", b"anna@example.com"], [b'"ben smith"@example.net', b"carl@example.net"]], named
    said = explain(r, t.relay.configuration_path, "s@sender.test", rcpts)
    assert sorted(c["recipient"] for (_, d), c in said.items() if d == "archive") == sorted(archived)
    assert {(c["sender"], c["recipient"]) for (_, d), c in said.items() if d == "newmail"} == {(s, a) for s, (a,) in new}
    assert {MONTH.sub("", c["maildir"]) for (_, d), c in said.items() if d == "files"} == {MONTH.sub("", d) for d in files}, said
    t.relay.wait_log(r'to=<anna-example\.com@archive\.test>, orig_to=<anna@example\.com>, dest=archive, .*status=sent')
    t.relay.wait_log(rf"to=<carl@example\.net>, dest=files, relay=maildir:{r.path('files')}/%d/\S+, .*\(delivered to maildir \S+/example\.net/{MONTH.pattern}\)")


class Relay:
    """splitrelay with the destinations: NAME -> (relay_to, further lines)."""

    def __init__(self, r, destinations):
        self.rig, self.address = r, ("127.0.0.1", r.free_port())
        os.mkdir(r.path("spool"), 0o700)
        self.daemon = rig.start_splitrelay(
            r,
            f'log {{ target = "stderr" }}\nmilter {{ copy_maps = {{ "static:{",".join(destinations)}" }} }}\n'
            f'relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" {rig.queue.options(r, r.path("spool"))} }}\n'
            + "".join(
                f'destination {name} {{ relay_to = {{ "{to}" }} retry_min = "1s" retry_max = "1s" concurrency = 4 {lines} }}\n'
                for name, (to, lines) in destinations.items()
            ),
            self.address,
        )

    def wait_empty(self):
        rig.wait_for(lambda: not rig.queue.ids(self.rig.path("spool"), "queued"), 60, "an empty queue", self.daemon.log)


# recipient: (the address for "%u.%d@archive.test", the Maildir for "/%d"); None: a dead letter
HOSTILE = {
    "plain@x.test": ("plain.x.test@archive.test", "x.test"),
    "CASE@X.TEST": ("CASE.x.test@archive.test", "x.test"),
    '"../../etc/passwd"@x.test': ('"../../etc/passwd.x.test"@archive.test', "x.test"),
    '"a> SIZE=1 <b"@x.test': ('"a> SIZE=1 <b.x.test"@archive.test', "x.test"),
    '"a\\"b\\\\"@x.test': ('"a\\"b\\\\.x.test"@archive.test', "x.test"),
    '"victim@other.test"@x.test': ('"victim@other.test.x.test"@archive.test', "x.test"),
    "a%d%u@x.test": ("a%d%u.x.test@archive.test", "x.test"),
    "{%Y}@x.test": ("{%Y}.x.test@archive.test", "x.test"),
    "a@new": ("a.new@archive.test", None),
    "a@x_y.test": ("a.x_y.test@archive.test", None),
    "u" * 60 + "@x.test": (None, "x.test"),
    "a@" + ".".join(["l" * 50] * 4): (None, ".".join(["l" * 50] * 4)),
}


def test_hostile_addresses(r):
    """Each recipient has its outcome: what can be made arrives, the rest is a dead letter with its reason. Nothing is made outside of
    the base, and explain says the same."""
    sink = rig.Sink(r, "archive")
    os.mkdir(r.path("base"))
    t = Relay(r, {"archive": (sink.bracketed, 'recipient = "%u.%d@archive.test"'), "files": (f"maildir:{r.path('base')}/%d", "")})
    for name in ("archive", "files"):
        rig.send(t.address, "s@x.test", [f"{a}.{name}.copy.split.invalid" for a in HOSTILE], CONTENT)
    t.wait_empty()
    addresses = [a for txn in sink.accepted for a in txn.addrs]
    assert sorted(addresses) == sorted(a for a, _ in HOSTILE.values() if a), addresses
    wanted = {f"{r.path('base')}/{d}" for _, d in HOSTILE.values() if d}
    assert set(files_below(r.path("base"))) == wanted and len(os.listdir(r.path("base"))) == len(wanted), os.listdir(r.path("base"))
    _, out, _ = rig.run_splitctl(r, t.daemon.configuration_path, "queue", "--json")
    letters = [json.loads(line) for line in out.splitlines()]
    dead = {(i["address"], c["destination"]): i["delay_reason"] for c in letters for i in c["recipients"] if i["status"] == "dead"}
    wrong = {(a, d) for a, v in HOSTILE.items() for d, x in zip(("archive", "files"), v) if x is None}
    assert set(dead) == wrong, dead
    assert all(re.match(r'the template of "(recipient|relay_to)" makes no (address|path): \S', reason) for reason in dead.values()), dead
    t.daemon.wait_log(r"to=<a@new>, dest=files, .*dsn=5\.1\.3, status=dead \(the template of .relay_to. makes no path: 'new' is no name for a directory of Maildirs\)")
    said = explain(r, t.daemon.configuration_path, "s@x.test", list(HOSTILE))
    for a, (address, directory) in HOSTILE.items():
        archive, files = said[(a, "archive")], said[(a, "files")]
        assert archive["recipient"] == (address or "") and bool(archive["failure"]) == (address is None), (a, archive)
        assert files["maildir"] == (f"{r.path('base')}/{directory}" if directory else "") and bool(files["failure"]) == (directory is None), (a, files)


def test_dead_letters_say_nothing_about_the_destination(r):
    """A copy of which no address can be made neither ends nor begins a suspension of a destination."""
    t = Relay(r, {"archive": (f"[127.0.0.1]:{r.free_port()}", 'recipient = "%u.%d@archive.test"')})
    rig.send(t.address, "s@x.test", ["a@x.test.archive.copy.split.invalid"], CONTENT)
    t.daemon.wait_log("dest=archive: suspended for", count=2)
    rig.send(t.address, "s@x.test", ["u" * 64 + "@x.test.archive.copy.split.invalid"], CONTENT)
    t.daemon.wait_log(r"status=dead \(the template of")
    t.daemon.wait_log("dest=archive: suspended for", count=4)
    assert not t.daemon.log_lines("works again"), t.daemon.log()


def test_configuration(r):
    """Mistakes are reported with their line; a base that is missing or not writable is a finding of check."""
    cases = {
        'recipient = "%u-%x@a.test"': r"recipient: '%u-%x@a\.test': '%x' is not allowed here; allowed: %u",
        'sender = "%u@%u"': r"sender: '%u@%u': '%u' is not allowed here; allowed: %d",
        'relay_to = { "maildir:/srv/%u" }': r"relay_to: '/srv/%u': '%u' is not allowed here; allowed: %d",
        'relay_to = { "maildir:/srv/%d/{%B}" }': r"relay_to: '/srv/%d/{%B}': '%B' is not allowed here; allowed: %Y",
        f'relay_to = {{ "maildir:{r.path()}/%d" }}': rf"relay_to: {r.path()}/%d can lead into spool_directory",
    }
    for line, why in cases.items():
        path = r.write("conf", f'relay {{ spool_directory = "{r.path("spool")}" }}\ndestination a {{\n    relay_to = {{ "[a]" }}\n{line}\n}}\n')
        status, out, err = rig.run_splitctl(r, path, "check", check=False)
        assert status == 1 and re.search(rf"^error +configuration: {path}:4: (destination a: )?{why}", out), (status, out, err)
    t = Relay(r, {"files": (f"maildir:{r.path('base')}/%d/{{%Y-%m}}", "")})
    finding = "destination files: maildir:\\S+/base/%d/{%Y-%m}"
    _, out, _ = rig.run_splitctl(r, t.daemon.configuration_path, "check", check=False)
    assert re.search(rf"{finding}: cannot be written to.*No such file", out), out
    os.mkdir(r.path("base"))
    _, out, _ = rig.run_splitctl(r, t.daemon.configuration_path, "check", check=False)
    assert re.search(rf"{finding} answers", out), out


def test_kill(r):
    """With kill -9 at random moments, while Maildirs are created, each message arrives complete and once for each domain."""
    os.mkdir(r.path("base"))
    t = Relay(r, {"files": (f"maildir:{r.path('base')}/%d/{{%Y}}/{{%m}}", 'sender = "%d@s.test"')})
    rng = random.Random(1)
    sent = {}
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for _ in range(rng.randrange(5, 25)):
            domains = [f"d{rng.randrange(len(sent) // 4 + 1)}.test" for _ in range(3)]
            rcpts = [f"u{i}@{d}.files.copy.split.invalid" for i, d in enumerate(domains)]
            rig.send(t.address, "s@x.test", rcpts, b"Subject: %d\r\n\r\n" % len(sent) + b"y" * rng.randrange(0, 30000) + b"\r\nend\r\n")
            sent[len(sent)] = set(domains)
        t.daemon.kill()
        t.daemon.start(lambda: accepts(t.address))
    t.wait_empty()
    seen = []
    for path, files in files_below(r.path("base")).items():
        domain = os.path.relpath(path, r.path("base")).split("/")[0]
        for data in files:
            assert data.startswith(f"Return-Path: <{domain}@s.test>\n".encode()) and data.endswith(b"\nend\n"), data[:200]
            seen.append((int(re.search(rb"\nSubject: (\d+)\n", data).group(1)), domain))
        assert len(mailbox.Maildir(path, create=False)) == len(files)
    wanted = sorted((n, d) for n, domains in sent.items() for d in domains)
    assert sorted(seen) == wanted, f"{len(seen)} files, {len(wanted)} wanted"
    print(f"{len(sent)} messages, {len(wanted)} files in {len(files_below(r.path('base')))} Maildirs, each once")


if __name__ == "__main__":
    rig.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The phases of docs/migration.md work: each transport map and each configuration of the page, with a real Postfix in front."""

import os
import re

import rig
from rig.duplicator import subjects

SOURCE = os.environ.get("SPLIT_SOURCE_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
HOSTS = ("oldmail", "newmail", "archive", "filter", "newfilter", "mail")


def read_document():
    """Read the page: title of a section -> {kind of a block: its text}."""
    with open(os.path.join(SOURCE, "docs", "migration.md"), encoding="utf-8") as f:
        sections = re.split(r"(?m)^## ", f.read())[1:]
    return {s.split("\n", 1)[0]: dict(re.findall(r"(?ms)^```([\w.]+)\n(.*?)^```", s)) for s in sections}


class Site:
    """A front Postfix, sinks for the hosts of the page, and splitrelay as soon as there is a configuration."""

    def __init__(self, r):
        self.rig = r
        self.document = read_document()
        self.sinks = {name: rig.Sink(r, name, extensions=(*rig.sink.EXTENSIONS, "XFORWARD NAME ADDR PROTO HELO IDENT")) for name in HOSTS}
        self.address, self.filtered, self.copies = (("127.0.0.1", r.free_port()) for _ in range(3))
        self.front = rig.Postfix(r, "front", {"relay_domains": "example.com test.example.com"})
        self.front.write("transport", "")
        self.front.set(transport_maps=f"texthash:{self.front.etc}/transport")
        self.front.start()
        self.relay = None
        os.mkdir(r.path("spool"), 0o700)

    def put_in_place(self, text):
        text = text.replace("2525", str(self.address[1])).replace("2526", str(self.filtered[1])).replace("/srv/shadow", self.rig.path("shadow"))
        for name, sink in self.sinks.items():
            text = text.replace(f"[{name}.example.com]:25", sink.bracketed)
        return text

    def phase(self, title):
        blocks = self.document[title]
        self.front.write("transport", self.put_in_place(blocks["transport"]))
        self.front.reload()
        text = self.put_in_place(blocks["splitmilter.conf"]) + (
            f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{self.copies[1]}@127.0.0.1" }} hostname = "relay.test" '
            f'spool_directory = "{self.rig.path("spool")}" min_free_space = "1M" }}\n'
        )
        if self.relay is None:
            self.relay = rig.start_splitrelay(self.rig, text, self.address)
            return
        with open(self.relay.configuration_path, "w", encoding="utf-8") as f:
            f.write(text)
        before = len(self.relay.log_lines("configuration reloaded"))
        rig.run_splitctl(self.rig, self.relay.configuration_path, "reload")
        self.relay.wait_log("configuration reloaded", count=before + 1)

    def send(self, subject, *recipients):
        rig.send(self.front.address, "s@sender.test", recipients, f"Subject: {subject}\r\n\r\nx\r\n".encode())

    def wait(self, **wanted):
        """Wait until these subjects have arrived at these hosts; no others may arrive."""
        for name, there in wanted.items():
            self.sinks[name].wait(len(there))
        self.front.wait_empty()
        for name, sink in self.sinks.items():
            assert subjects(sink) == sorted(wanted.get(name, [])), (name, subjects(sink))


def test_phases(r):
    """The three phases of the migration send each message to the hosts that the page says."""
    s = Site(r)
    s.phase("Phase 1: a test domain")
    s.sinks["newmail"].stop()
    s.send("one", "a@test.example.com")
    s.sinks["oldmail"].wait(1)
    s.front.wait_empty()
    status, out, _ = rig.run_splitctl(r, s.relay.configuration_path, "queue", "newmail", "--json")
    assert status == 0 and "a@test.example.com" in out, out
    s.sinks["newmail"].start()
    rig.run_splitctl(r, s.relay.configuration_path, "retry", "--all", "newmail")
    s.wait(oldmail=["one"], newmail=["one"])

    s.phase("Phase 2: the domains that matter, and an archive")
    s.send("two", "a@test.example.com", "boss@example.com", "b@example.com")
    s.wait(oldmail=["one", "two"], newmail=["one", "two"], archive=["two"])
    assert sorted(s.sinks["oldmail"].accepted[1].addrs) == ["a@test.example.com", "b@example.com", "boss@example.com"]
    assert sorted(s.sinks["newmail"].accepted[1].addrs) == ["a@test.example.com", "b@example.com"]
    assert s.sinks["archive"].accepted[0].addrs == ["journal@archive.example.com"]

    s.phase("Phase 3: the new server becomes the primary")
    s.sinks["oldmail"].hook = lambda stage, _conn, _arg: "550 5.1.1 gone" if stage == "rcpt" else None
    s.send("three", "b@example.com")
    s.wait(oldmail=["one", "two"], newmail=["one", "two", "three"], archive=["two"])
    s.front.wait_log(rf"to=<b@example\.com>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:{s.address[1]}.*status=sent \(250 2\.0\.0 Ok\)")
    s.relay.wait_log("to=<b@example.com>, dest=oldmail, .*status=dead")


def judge(spam, to):
    """A hook of a sink that is a filter: messages with these subjects get X-Spam-Flag: YES, others NO, and all go to an address."""

    def hook(stage, _conn, txn):
        if stage == "dot":
            flag = b"YES" if subject_of(txn) in spam else b"NO"
            rig.send(to, txn.sender, txn.addrs, b"X-Spam-Flag: " + flag + b"\r\n" + txn.data)

    return hook


def subject_of(txn):
    return re.search(rb"(?m)^Subject: (\w+)", txn.data).group(1).decode()


def test_shadow(r):
    """A shadow test sends a share of the users to the new filter, always the same ones, and ends with the command of the page, which
    names the messages on which the filters disagree."""
    s = Site(r)
    os.mkdir(r.path("shadow"))
    s.phase("Shadow-testing a new filter")
    s.sinks["filter"].hook = judge({"m0", "m1"}, s.filtered)
    s.sinks["newfilter"].hook = judge({"m1", "m2"}, s.copies)
    users = [f"u{i}@example.com" for i in range(40)]
    subjects_sent = ["m0", "m1", "m2", "m3"]
    for subject in subjects_sent:
        s.send(f"{subject}\r\nMessage-ID: <{subject}@sender.test>", *users)
    s.wait(filter=subjects_sent, newfilter=subjects_sent, mail=subjects_sent)
    assert all(sorted(txn.addrs) == sorted(users) for txn in s.sinks["mail"].accepted)
    first, second, *_ = s.sinks["newfilter"].accepted
    assert sorted(first.addrs) == sorted(second.addrs) and 5 < len(first.addrs) < 35, first.addrs
    assert all(a.endswith("@example.com.newverdict.copy.split.invalid") for a in first.addrs), first.addrs
    said = [line for _, line in s.sinks["filter"].commands if line.startswith("XFORWARD")]
    assert said, "no XFORWARD"

    chosen = {a.replace(".newverdict.copy.split.invalid", "") for a in first.addrs}
    single = {f"n{i}": user for i, user in enumerate(users[:12])}
    assert 0 < len(chosen & set(single.values())) < 12, chosen
    for subject, user in single.items():
        s.send(f"{subject}\r\nMessage-ID: <{subject}@sender.test>", user)
    copied = [subject for subject, user in single.items() if user in chosen]
    s.wait(filter=subjects_sent + list(single), newfilter=subjects_sent + copied, mail=subjects_sent + list(single))
    rig.wait_for(lambda: not rig.queue.ids(r.path("spool"), "queued"), 20, "an empty queue", s.relay.log)
    for name in ("old", "new"):
        assert len(os.listdir(r.path("shadow", name, "new"))) == 4 + len(copied)
    program, *words = s.document["Shadow-testing a new filter"]["compare"].split()
    assert program == "splitctl"
    _, out, _ = rig.run_splitctl(r, s.relay.configuration_path, *words)
    assert re.search(rf"(?m)^agree +{2 + len(copied)} +\d\d\.\d %\n  both flagged +1\n  neither flagged +{1 + len(copied)}\ndisagree +2$", out), out
    only_a, only_b = re.search(r"(?s)only A flagged: 1\n(.*)\nonly B flagged: 1\n(.*)", out).groups()
    assert only_a.strip() == "<m0@sender.test>  A: YES  B: NO  Subject: m0", out
    assert only_b.strip() == "<m2@sender.test>  A: NO  B: YES  Subject: m2", out
    # the share of both listeners is the same
    assert re.search(r"(?m)^  missing in A +0\n  missing in B +0$", out), out


def test_container(r):
    """The configuration for a container works, with its variables from the environment."""
    blocks = read_document()["In a container"]
    path = r.write("container.conf", blocks["container.conf"])
    primary, backup = rig.Sink(r, "primary"), rig.Sink(r, "backup")
    port = r.free_port()
    os.mkdir(r.path("spool"), 0o700)
    env = {"PRIMARY": primary.bracketed, "BACKUP": backup.bracketed, "PORT": str(port), "SPOOL": r.path("spool"), "CLIENTS": "127.0.0.0/8"}
    with open(path, encoding="utf-8") as f:
        rig.start_splitrelay(r, f.read(), ("127.0.0.1", port), env=env)
    rig.send(("127.0.0.1", port), "s@x.test", ["a@x.test"], b"Subject: x\r\n\r\n")
    assert subjects(primary) == ["x"] and backup.wait(1)


def test_the_configuration_for_users_of_gosmtp_dup(r):
    """The example of docs/from-gosmtp-dup.md works, with other hosts, port and spool, and a value from the old variable."""
    with open(os.path.join(SOURCE, "docs", "from-gosmtp-dup.md"), encoding="utf-8") as f:
        text = re.search(r"(?ms)^```splitmilter.conf\n(.*?)^```", f.read()).group(1)
    sinks = {name: rig.Sink(r, name) for name in ("oldmail", "newmail", "archive")}
    port = r.free_port()
    os.mkdir(r.path("spool"), 0o700)
    text = text.replace("2525", str(port)).replace("[oldmail.example.com]:25", "${SMTP_DUP_RELAY_DESTINATION_PRIMARY}")
    for name, sink in sinks.items():
        text = text.replace(f"[{name}.example.com]:25", sink.bracketed)
    text += f'log {{ target = "stderr" }} relay {{ listen = {{ "unix:{r.path("s")}" }} spool_directory = "{r.path("spool")}" min_free_space = "1M" }}\n'
    rig.start_splitrelay(r, text, ("127.0.0.1", port), env={"SMTP_DUP_RELAY_DESTINATION_PRIMARY": sinks["oldmail"].bracketed})
    rig.send(("127.0.0.1", port), "s@x.test", ["a@x.test"], b"Subject: x\r\n\r\n")
    assert all(sink.wait(1)[0].helo == "mail.example.com" for sink in sinks.values())


def test_the_line_without_a_transport(r):
    """With a line "example.com [127.0.0.1]:2525", as in some guides, Postfix defers mail, because it reads the name of a
    transport."""
    front = rig.Postfix(r, "front", {"relay_domains": "example.com", "transport_maps": "inline:{example.com=[127.0.0.1]:2525}"})
    front.start()
    rig.send(front.address, "s@sender.test", ["a@example.com"], b"Subject: x\r\n\r\n")
    front.wait_log("to=<a@example.com>.*status=deferred .*mail transport unavailable")


if __name__ == "__main__":
    rig.main()

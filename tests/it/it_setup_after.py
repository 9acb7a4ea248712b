#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl setup-postfix --copies=after-filter on whole systems: the splitmilter behind the filters makes the copies of what the
filters let through, each of them once."""

import os
import re
import subprocess

import rig
from rig.daemons import accepts, program
from rig.setup_system import HERE, REINJECT, System

AFTER = ("--copies=after-filter",)
DIRECT = f'filter direct {{ nexthop = "smtp:[127.0.0.1]:{REINJECT}" }}\n'


class After(System):
    """A System whose copies are made by splitmilter -n after."""

    def fresh_after(self, queue_directory="/var/spool/postfix", after_directory=None, after="", front="", more=""):
        """As fresh(); after_directory: the queue directory of the instance where filters give mail back."""
        self.fresh(queue_directory)
        self.after_socket = f"{after_directory or queue_directory}/splitmilter/after.sock"
        copies = 'copy_maps = { "inline:{ example.com=archive }" }'
        assert copies in self.configuration
        section = f'milter after {{ socket = "unix:{self.after_socket}" {after or copies} }}\n'
        self.configuration = self.configuration.replace(copies, front) + section + more
        self.conf = self.r.write("setup.conf", self.configuration)

    def start(self):
        super().start()
        path = self.r.write("after.conf", self.configuration)
        daemon = rig.Daemon(self.r, f"after{self.number}", [program("splitmilter"), "-c", path, "-n", "after"])
        self.daemons.append(daemon.start(lambda: accepts(self.after_socket)))

    def check(self, status=0):
        code, out, err = rig.run_splitctl(self.r, self.conf, "check", check=False)
        assert code == status, f"check: exit {code}\n{out}{err}"
        return out

    def copies(self, subject):
        """The copies of a message: recipient and filter, sorted."""
        return sorted((a, *t.headers("X-Filtered-By")) for t in self.archive.accepted if subject in t.headers("Subject") for a in t.addrs)

    def delivered(self, subject):
        return sorted(a for sink in (self.mailbox, self.special) for t in sink.accepted if subject in t.headers("Subject") for a in t.addrs)


def setup(r):
    return After(r)


def send(subject, *rcpts):
    rig.send((HERE, 25), "s@sender.test", rcpts, f"From: s@sender.test\r\nSubject: {subject}\r\n\r\ntext\r\n".encode())


def idle(s, queues):
    """Wait until all queues are empty, so that no further copy can come."""
    rig.wait_for(lambda: s.run("postmulti", "-x", "mailq").count("Mail queue is empty") == queues, 30, "empty queues", s.log)
    rig.wait_for(lambda: s.status()[1]["splitrelay"]["destinations"][0]["active"] == 0, 20, "a relay without copies")


def verdicts(s):
    """The filter `primary` refuses and discards some messages: these are not copied."""
    pass_on = s.filters["primary"]._pass_on

    def hook(stage, connection, txn):
        subject = txn.headers("Subject") if stage == "dot" else []
        if "refuse" in subject:
            return "550 5.7.1 spam"
        return "250 2.0.0 discarded" if "discard" in subject else pass_on(stage, connection, txn)

    s.filters["primary"].hook = hook
    for subject in ("refuse", "discard"):
        send(subject, "anna@example.com", "ben@example.com")
        rig.wait_for(lambda: s.copies(subject), 30, "a copy", s.log)
    s.filters["primary"].hook = pass_on
    return ("refuse", "discard")


def test_single(s):
    """With one instance the copies have what the filters added; mail without filter passes the port by a filter that is the port."""
    s.fresh_after(more=DIRECT)
    s.write("/etc/splitmilter-filter", s.read("/etc/splitmilter-filter") + "carl@example.com direct\n")
    single = ("--single", f"--reinject=0.0.0.0:{REINJECT}", *AFTER)
    out = s.ctl(*single)
    assert "is not copied there" not in out and "This is what --apply does" in out, out
    out = s.ctl(*single, "--apply")
    assert "splitmilter@after must run, too" in out, out
    after = s.texts()
    assert "Nothing to do" in s.ctl("--apply") and s.texts() == after  # the option is remembered
    s.start()
    s.send_and_see()
    subjects = ["split", *verdicts(s)]
    idle(s, 1)
    assert s.copies("split") == [
        ("anna@example.com", "primary"), ("ben@example.com", "secondary"), ("carl@example.com",), ("info@example.com", "primary"),
    ] or s.copies("split") == [("anna@example.com", "primary"), ("ben@example.com", "secondary"), ("carl@example.com",)], s.copies("split")
    for subject in subjects[1:]:
        assert s.copies(subject) == [("ben@example.com", "secondary")] and s.delivered(subject) == ["ben@example.com"], s.copies(subject)
    relay, front, behind = s.daemons
    assert not front.log_lines("copy=") and behind.log_lines("to=<ben@example.com>, copy=archive"), front.log() + behind.log()
    # splitrelay got the attributes of the original client, not those of the filter.
    assert not relay.log_lines("error") and f"orig_client=unknown[{HERE}]" in s.log(), s.log()
    assert "loops back" not in s.log()
    s.is_closed((HERE, REINJECT))
    out = s.check()
    assert "milter after:" in out and not re.search("(?m)^(warning|error).*(asks|lacks)", out), out
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before
    assert [n for n in os.listdir("/etc/postfix") if "split" in n] == []


def test_mail_without_filter_is_named(s):
    """With one instance, mail without filter does not pass the port: the preview says so."""
    s.fresh_after()
    assert re.search(rf'is not copied there: .*nexthop = "smtp:\[127.0.0.1\]:{REINJECT}"', s.ctl("--single", *AFTER))
    s.ctl("--single", "--apply", *AFTER)
    s.start()
    send("plain", "carl@example.com", "ben@example.com")
    rig.wait_for(lambda: len(s.delivered("plain")) == 2, 30, "the mail", s.log)
    rig.wait_for(lambda: s.copies("plain"), 30, "a copy", s.log)
    idle(s, 1)
    assert s.copies("plain") == [("ben@example.com", "secondary")], s.copies("plain")


def test_multi(s):
    """With several instances all mail passes the port of postfix-out, that without filter, too."""
    s.fresh_after("/var/spool/postfix-in", "/var/spool/postfix-out")
    before = sorted(os.listdir("/etc/postfix"))
    options = ("--multi", "--apply", f"--reinject=0.0.0.0:{REINJECT}")
    out = s.ctl(*options, *AFTER)
    assert "is not copied there" not in out, out
    assert "Nothing to do" in s.ctl("--apply")
    for name in ("postfix", "postfix-in", "postfix-out"):
        assert s.run("postfix", "-c", f"/etc/{name}", "check") == ""
    s.start()
    s.send_and_see()
    subjects = verdicts(s)
    # Mail of this machine, which the null client accepts, passes the port, too.
    subprocess.run(["sendmail", "-i", "-f", "cron@example.com", "carl@example.com"], input=b"Subject: cron\n\n", env=rig.environment(), check=True, timeout=30)
    rig.wait_for(lambda: s.copies("cron"), 30, "a copy of local mail", s.log)
    idle(s, 3)
    assert s.copies("split") == [
        ("anna@example.com", "primary"), ("ben@example.com", "secondary"), ("carl@example.com",), ("info@example.com", "primary"),
    ], s.copies("split")
    for subject in subjects:
        assert s.copies(subject) == [("ben@example.com", "secondary")], s.copies(subject)
    assert s.copies("cron") == [("carl@example.com",)]
    assert not s.daemons[1].log_lines("copy="), s.daemons[1].log()
    s.is_closed((HERE, REINJECT))
    # A user whose mail postfix-out forwards cannot write copies.
    assert "splitclosed" in s.run("postconf", "-c", "/etc/postfix-out", "-h", "cleanup_service_name")
    s.write("/etc/postfix-out/own_aliases", "/^forged@example\\.com$/ x@example.com.archive.copy.split.invalid\n")
    s.run("postfix", "-c", "/etc/postfix-out", "reload")
    out = s.check()
    assert "milter after:" in out and not re.search("(?m)^(warning|error).*(asks|lacks)", out), out
    # Back to copies at the front.
    section = re.search("(?m)^milter after .*\n", s.configuration).group()
    s.conf = s.r.write("setup.conf", s.configuration.replace(section, "").replace("milter {", 'milter { copy_maps = { "inline:{ example.com=archive }" }'))
    assert "has no section \"milter after\"" in s.ctl("--apply", status=1)
    s.ctl("--apply", "--copies=front")
    assert not os.path.exists("/etc/postfix-out/split_transport")
    assert "after.sock" not in s.read("/etc/postfix-out/master.cf") and "splitcopy" not in s.read("/etc/postfix-out/master.cf")
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before and sorted(os.listdir("/etc/postfix")) == before
    for path in ("/etc/postfix-in", "/etc/postfix-out", "/var/spool/postfix-in", "/var/spool/postfix-out"):
        assert not os.path.exists(path), path


def test_the_second_splitmilter_is_down(s):
    """While the splitmilter behind the filters is down, mail waits before the filter; nothing passes uncopied."""
    s.fresh_after()
    s.ctl("--single", "--apply", *AFTER)
    s.start()
    s.daemons.pop().kill()
    send("waits", "ben@example.com")
    rig.wait_for(lambda: "status=deferred" in s.log(), 30, "a deferred message", s.log)
    assert s.delivered("waits") == []
    out = s.check(status=0)
    assert re.search("milter after: .*no answer", out), out
    path = s.r.path("after.conf")
    daemon = rig.Daemon(s.r, "again", [program("splitmilter"), "-c", path, "-n", "after"])
    s.daemons.append(daemon.start(lambda: accepts(s.after_socket)))
    # qmgr waits for a minute if it finds that the message is still being delivered.
    rig.wait_for(lambda: s.copies("waits"), 200, "the copy", s.log)
    idle(s, 1)
    assert s.copies("waits") == [("ben@example.com", "secondary")] and s.delivered("waits") == ["ben@example.com"], s.log()


def test_the_recipient_as_the_client_gave_it(s):
    """copy_maps of the second splitmilter are searched for the address before canonical_maps, but not for any ORCPT that a client
    invents."""
    canonical = '{ "inline:{ old@example.com=ben@example.com }" }'
    after = f'orcpt_maps = {canonical} copy_maps = {{ "inline:{{ old@example.com=archive }}" }}'
    s.fresh_after(front=f"canonical_maps = {canonical}", after=after)
    s.write("/etc/splitmilter-filter", s.read("/etc/splitmilter-filter") + "old@example.com secondary\n")
    s.ctl("--single", "--apply", *AFTER)
    s.start()
    content = "From: s@sender.test\r\nSubject: {}\r\n\r\ntext\r\n"
    rig.send((HERE, 25), "s@sender.test", ["old@example.com"], content.format("old").encode())
    rig.send((HERE, 25), "s@sender.test", [("anna@example.com", "ORCPT=rfc822;old@example.com")], content.format("invented").encode())
    rig.send((HERE, 25), "s@sender.test", [("old@example.com", "ORCPT=rfc822;other@example.com")], content.format("hidden").encode())
    rig.wait_for(lambda: all(s.delivered(subject) for subject in ("old", "invented", "hidden")), 30, "the mail", s.log)
    rig.wait_for(lambda: s.copies("old"), 30, "a copy", s.log)
    idle(s, 1)
    assert (s.copies("old"), s.delivered("old")) == ([("old@example.com", "secondary")], ["ben@example.com"]), s.log()
    # With an ORCPT of its own the client hides the address that it gave, as if it had written to ben@ at once.
    assert s.copies("invented") == s.copies("hidden") == [], (s.copies("invented"), s.copies("hidden"))


def test_refusals(s):
    """A configuration that would copy nothing, copy twice, or decide twice is refused with the line."""
    copies = 'copy_maps = { "inline:{ example.com=archive }" }'
    cases = (
        (f'{copies} canonical_maps = {{ "inline:{{ a@example.com=b@example.com }}" }}', "", r"setup.conf:\d+: milter after: canonical_maps: .* neither rewritten nor filtered again"),
        (f'{copies} filter_maps = {{ "static:primary" }}', "", r"setup.conf:\d+: milter after: filter_maps: "),
        (f'{copies} sender_filter_maps = {{ "static:primary" }}', "", r"setup.conf:\d+: milter after: sender_filter_maps: "),
        ("socket_mode = 0660", "", r"setup.conf:\d+: milter after: copy_maps is missing"),
        (copies, copies, r"setup.conf:\d+: milter after: destination archive is also in the tables of section milter: each copy would be made twice"),
    )
    for after, front, words in cases:
        s.fresh_after(after=after, front=front)
        out = s.ctl("--single", "--apply", *AFTER, status=1)
        assert re.search(words, out), out
        assert s.texts() == s.before
    s.fresh_after(front='canonical_maps = { "inline:{ a@example.com=b@example.com }" }')
    assert re.search(r"setup.conf:\d+: milter after: orcpt_maps: .* have to be the canonical_maps of section milter", s.ctl("--single", *AFTER, status=1))
    s.fresh_after(after='copy_maps = { "static:incoming" }', more='destination incoming { relay_to = "[127.0.0.1]:1" direction = { "inbound" } }\n')
    assert re.search(r"setup.conf:\d+: milter after: destination incoming has a direction", s.ctl("--single", *AFTER, status=1))
    # Other destinations at the front are allowed: a journal there, an archive behind the filters.
    s.fresh_after(front='copy_maps = { "static:journal" }', more='destination journal { relay_to = "[127.0.0.1]:1" }\n')
    s.ctl("--single", *AFTER)
    assert "allowed: front, after-filter" in s.ctl("--single", "--copies=behind", status=64)
    s.fresh()
    assert 'has no section "milter after"' in s.ctl("--single", *AFTER, status=1)


if __name__ == "__main__":
    rig.main(timeout=240)

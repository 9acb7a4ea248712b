#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl setup-postfix on whole systems: the system's own /etc/postfix, covered by overlays that only this test sees."""

import json
import os
import re
import subprocess

import rig

REINJECT = 10025
RELAY = 10030
OUTSIDE, HERE = "192.0.2.7", "192.0.2.1"  # a stranger, and an address of this host that strangers can reach

FILTERS = """\
anna@example.com     primary
info@example.com     primary
ben@example.com      secondary
special@example.net  secondary
bad@example.com      primary
"""

# Things that administrators have. The last line of own_aliases and own_routes matches whatever comes.
MAIN = """\
# My own main.cf
compatibility_level = 3.6
myhostname = mail.example.com
mydestination = $myhostname,
    localhost
# a comment in between

inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relay_domains = example.com, example.net
relayhost = [127.0.0.1]:1
transport_maps = inline:{{ special@example.net=smtp:[127.0.0.1]:{special} }},
    regexp:$config_directory/own_routes
virtual_alias_maps = regexp:$config_directory/own_aliases
smtpd_milters = {{ inet:127.0.0.1:{milter}, protocol=6 }}
milter_default_action = accept
smtpd_recipient_restrictions = check_recipient_access inline:{{ bad@example.com=REJECT }}
smtp_fallback_relay = [127.0.0.1]:2
smtpd_sender_restrictions = check_sender_access inline:{{ bad@sender.test=REJECT }}
milter_protocol = 2
recipient_delimiter =
maillog_file = /var/log/mail.log
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
in_flow_delay = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s"""  # no line end
ALIASES = "/^info@example\\.com$/ anna@example.com\n/^(.+)\\.invalid$/ trash@example.net\n/^(.+)@old\\.test$/ $1@example.com\n"
ROUTES = "/@/ smtp:[127.0.0.1]:{mailbox}\n"


def setup(r):
    return System(r)


class System:
    """A jail with Postfix in it, and everything around it. fresh() begins anew."""

    def __init__(self, r):
        rig.need_tools("postmulti", "postmap")
        # A Postfix that was installed without configuration has neither.
        self.systems_own = {name: self.find(name) for name in ("main.cf", "master.cf")}
        self.r = r
        self.jail = rig.Jail(r, addresses=(f"{OUTSIDE}/32", f"{HERE}/32"))
        self.mailbox = rig.Sink(r, "mailbox")
        self.special = rig.Sink(r, "special")
        self.archive = rig.Sink(r, "archive")
        self.filters = {n: rig.Filter(r, n, ("127.0.0.1", REINJECT)) for n in ("primary", "secondary")}
        self.own = rig.OwnMilter(r)
        self.daemons = []
        self.number = 0
        r.on_close(self.end)

    @staticmethod
    def find(name):
        """The system's own file, or what the package would make it of."""
        for path in (f"/etc/postfix/{name}", f"/usr/share/postfix/{name}.debian", f"/usr/share/postfix/{name}.dist"):
            if os.path.exists(path):
                with open(path, encoding="utf-8") as f:
                    return f.read()
        raise rig.Skip(f"there is no {name} to work on")

    def end(self):
        self.jail.stop_postfix()
        while self.daemons:
            self.daemons.pop().stop()

    def fresh(self, queue_directory="/var/spool/postfix", milter="", main="", base=MAIN):
        """The files as an administrator has them; splitmilter.conf with its socket below queue_directory."""
        self.end()
        self.jail.fresh()
        for sink in (self.mailbox, self.special, self.archive, *self.filters.values()):
            sink.transactions.clear()
        self.socket = f"{queue_directory}/splitmilter/milter.sock"
        self.write("/etc/postfix/own_aliases", ALIASES)
        self.write("/etc/postfix/own_routes", ROUTES.format(mailbox=self.mailbox.address[1]))
        text = base.format(special=self.special.address[1], milter=self.own.address[1])
        self.write("/etc/postfix/main.cf", text + (f"\n{main}\n" if main else ""))
        self.write("/etc/postfix/master.cf", self.systems_own["master.cf"])
        self.before = self.texts()
        self.configuration = f"""\
log {{ target = "stderr" }}
milter {{
    socket = "unix:{self.socket}"
    filter_maps = {{ "texthash:/etc/splitmilter-filter" }}
    copy_maps = {{ "inline:{{ example.com=archive }}" }}
    {milter}
}}
filter primary {{ nexthop = "smtp:{self.filters['primary'].bracketed}" }}
filter secondary {{ nexthop = "smtp:{self.filters['secondary'].bracketed}" }}
relay {{ listen = {{ "inet:{RELAY}@127.0.0.1" }} spool_directory = "{self.r.path(f'spool{self.number}')}" }}
destination archive {{ relay_to = {{ "{self.archive.bracketed}" }} retry_min = "1s" }}
"""
        self.write("/etc/splitmilter-filter", FILTERS)
        self.conf = self.r.write("setup.conf", self.configuration)

    @staticmethod
    def write(path, text):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        rig.date_back(path)

    @staticmethod
    def texts():
        found = []
        for name in ("main.cf", "master.cf"):
            with open(f"/etc/postfix/{name}", "rb") as f:
                found.append(f.read())
        return found

    def ctl(self, *arguments, status=0):
        with rig.dated_back():
            return self.ctl_as_it_is(*arguments, status=status)

    def ctl_as_it_is(self, *arguments, status=0):
        code, out, err = rig.run_splitctl(self.r, self.conf, "setup-postfix", "--user=root", *arguments, check=False)
        assert code == status, f"setup-postfix {arguments}: exit {code}\n{out}{err}"
        return out + err

    @staticmethod
    def run(*argv, status=0):
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=rig.environment(), timeout=60, check=False)
        text = done.stdout.decode()
        assert done.returncode == status, f"{argv}: exit {done.returncode}: {text}"
        return text

    def status(self, code=0):
        """splitctl status, in both forms: (the text, the object)."""
        found, text, err = rig.run_splitctl(self.r, self.conf, "status", check=False)
        assert (found, err) == (code, ""), (found, text, err)
        found, out, _ = rig.run_splitctl(self.r, self.conf, "status", "--json", check=False)
        assert found == code
        return text, json.loads(out)

    def start(self):
        """splitrelay, splitmilter, and Postfix with all its instances."""
        self.number += 1
        spool = self.r.path(f"spool{self.number - 1}")
        os.makedirs(spool, mode=0o700, exist_ok=True)
        relay = rig.start_splitrelay(self.r, self.configuration, ("127.0.0.1", RELAY), name=f"relay{self.number}")
        milter = rig.start_splitmilter(self.r, self.configuration, self.socket, name=f"splitmilter{self.number}")
        self.daemons += [relay, milter]
        self.run("postfix", "start")
        self.jail.record_postfix()
        self.r.show_on_failure("mail.log", "/var/log/mail.log")
        rig.wait_for(self.greets, 10, "Postfix to greet", self.log)

    @staticmethod
    def greets():
        try:
            with rig.SmtpClient((HERE, 25)) as c:
                return c.greeting.code == 220
        except OSError:
            return False

    @staticmethod
    def log():
        with open("/var/log/mail.log", encoding="utf-8", errors="replace") as f:
            return f.read()

    def send_and_see(self):
        """The whole job, through what the administrator had before."""
        assert "mail loops" not in self.log()
        rcpts = ["anna@example.com", "ben@example.com", "carl@example.com", "info@example.com", "special@example.net"]
        content = b"From: s@sender.test\r\nSubject: split\r\n\r\ntext\r\n"
        asked = self.own.asked
        rig.send((HERE, 25), "s@sender.test", rcpts, content)
        assert self.own.asked == asked + 1, "the administrator's milter was not asked"
        self.mailbox.wait_recipients(4)
        self.special.wait_recipients(1)
        self.archive.wait_recipients(4)
        way = sorted((a, t.headers("X-Filtered-By"), t.headers("X-Own-Milter")) for t in self.mailbox.accepted for a in t.addrs)
        # info@ is an alias of anna@, who then is one recipient of the filter's message or another message.
        assert way == [
            ("anna@example.com", ["primary"], ["yes"]),
            ("anna@example.com", ["primary"], ["yes"]),
            ("ben@example.com", ["secondary"], ["yes"]),
            ("carl@example.com", [], ["yes"]),
        ] or way == [way[0], *way[-2:]], way
        assert [t.addrs for t in self.special.accepted] == [["special@example.net"]]
        assert self.special.accepted[0].headers("X-Filtered-By") == ["secondary"]
        assert sorted(self.filters["primary"].accepted[0].addrs) == ["anna@example.com", "info@example.com"]
        copies = sorted(a for t in self.archive.accepted for a in t.addrs)
        assert copies == ["anna@example.com", "ben@example.com", "carl@example.com", "info@example.com"], copies
        with rig.SmtpClient((HERE, 25)) as c:
            c.mail("s@sender.test")
            reply = c.rcpt("bad@example.com")
        assert reply.code == 554, reply

    def is_closed(self, reinject):
        """Nobody outside reaches the tag domain, or the port behind the filters."""
        with stranger((HERE, 25)) as c:
            c.mail("s@sender.test")
            # Postfix itself defers what tells it a way, and relaying, with compatibility_level 3.6.
            for rcpt, codes in (
                ("anna@example.com.primary.filter.split.invalid", (550, 554)),
                ("ANNA@example.com.archive.copy.Split.Invalid", (550, 554)),
                ("x@split.invalid", (550, 554)),
                ("x%example.com.primary.filter.split.invalid@example.com", (454, 550, 554)),
                ("@example.com:x@y.primary.filter.split.invalid", (454, 550, 554)),
                ('"x@y.primary.filter.split.invalid"@example.com', (454, 550, 554)),
                ("x%y.archive.copy.split.invalid@mail.example.com", (454, 550, 554)),
                ('"x@y.archive.copy.split.invalid"@mail.example.com', (454, 550, 554)),
                ("stranger@elsewhere.test", (454,)),
            ):
                reply = c.rcpt(rcpt)
                assert reply.code in codes, (rcpt, reply)
            assert c.rcpt("anna@example.com").code == 250
        # Nor by way of the bounce for a sender who is not there. Postfix alone refuses it, too.
        for path in ((HERE, 25), ("127.0.0.1", reinject[1])):
            for sender in ("x@example.com.archive.copy.split.invalid", "x@Split.Invalid", "x@split.invalid.",
                           "x%y.archive.copy.split.invalid@mail.example.com", '"x@y.copy.split.invalid"@mail.example.com'):
                with (stranger(path) if path[0] == HERE else rig.SmtpClient(path)) as c:
                    reply = c.mail(sender)
                    if reply.code == 250:
                        reply = c.rcpt("anna@example.com")
                assert reply.code in (550, 554), (path, sender, reply)
        with stranger((HERE, 25)) as c:
            c.mail("bad@sender.test")
            assert c.rcpt("anna@example.com").code == 554, "the administrator's own restriction"
        with stranger(reinject) as c:
            for reply in (c.mail("s@sender.test"), c.rcpt("anna@example.com")):
                pass
            assert reply.code == 554, reply
        with rig.SmtpClient(("127.0.0.1", reinject[1])) as c:
            c.mail("s@sender.test")
            assert c.rcpt("anna@example.com.primary.filter.split.invalid").code == 554
            assert c.rcpt("anna@example.com").code == 250


def stranger(address):
    """A client from outside of mynetworks."""
    return rig.SmtpClient(address, source=OUTSIDE)


def test_single(s):
    s.fresh()
    out = s.ctl("--single")
    assert "This is what --apply does" in out and s.texts() == s.before, "printing changed something"
    out = s.ctl("--single", "--apply", f"--reinject=0.0.0.0:{REINJECT}")
    assert re.search(r"run: postfix -c /etc/postfix check\n(?!  )", out), out
    after = s.texts()
    assert after != s.before
    assert "Nothing to do" in s.ctl("--single", "--apply", f"--reinject=0.0.0.0:{REINJECT}")
    assert s.texts() == after
    assert s.run("postfix", "check") == ""
    s.start()
    assert "overriding earlier entry" not in s.run("postconf", "-n")
    s.send_and_see()
    s.is_closed((HERE, REINJECT))
    # With Postfix running, the way back is taken at once.
    out = s.ctl("--remove")
    assert "postfix -c /etc/postfix reload" in out
    assert s.texts() == s.before
    left = [n for n in os.listdir("/etc/postfix") if "split" in n]
    assert left == [], left
    rig.send((HERE, 25), "s@sender.test", ["later@example.com"], b"Subject: after\r\n\r\n")
    rig.wait_for(lambda: [t for t in s.mailbox.accepted if "after" in t.headers("Subject")], 20, "mail without us", s.log)


def test_a_suffix_without_way_waits(s):
    """A filter that left the configuration while mail for it was in the queue: nothing bounces."""
    s.fresh()
    s.ctl("--single", "--apply")
    s.start()
    for filter_ in s.filters.values():
        filter_.stop()
    rig.send((HERE, 25), "s@sender.test", ["ben@example.com"], b"Subject: waits\r\n\r\n")
    rig.wait_for(lambda: "status=deferred" in s.log(), 20, "the message to wait", s.log)
    text, status = s.status()
    assert re.search(r"filter secondary: 1 recipient deferred, oldest \d+s\n +\(connect to .* refused\)", text), text
    (postfix,) = status["postfix"]
    assert postfix["queues"]["deferred"] + postfix["queues"]["active"] == 1, postfix
    (way,) = postfix["deferred"]
    assert (way["name"], way["deferred"]) == ("filter secondary", 1) and "refused" in way["last_error"], way
    with open(s.conf, encoding="utf-8") as f:
        less = re.sub(r"filter secondary .*\n", "", f.read())
    s.conf = s.r.write("less.conf", less)
    s.ctl("--single", "--apply")
    rig.wait_for(lambda: "no such filter or copy in splitmilter.conf" in s.log(), 20, "the route of last resort", s.log)
    assert "status=bounced" not in s.log()
    for filter_ in s.filters.values():
        filter_.start()
    s.conf = s.r.write("setup.conf", s.configuration)
    s.ctl("--single", "--apply")
    s.mailbox.wait_recipients(1)


def test_edits_are_kept(s):
    s.fresh()
    s.ctl("--single", "--apply")
    with open("/etc/postfix/main.cf", "a", encoding="utf-8") as f:
        f.write("always_add_missing_headers = yes\ntransport_maps = inline:{ x.test=smtp:[127.0.0.1]:1 }\n")
    s.ctl("--single", "--apply")
    assert s.run("postconf", "-h", "transport_maps") == (
        "regexp:$config_directory/split_transport, inline:{ x.test=smtp:[127.0.0.1]:1 }\n"
    )
    assert s.run("postfix", "check") == ""
    out = s.ctl("--remove")
    assert "was edited since" in out
    main, master = s.texts()
    wanted = s.before[0] + b"\nalways_add_missing_headers = yes\ntransport_maps = inline:{ x.test=smtp:[127.0.0.1]:1 }\n"
    assert (main, master) == (wanted, s.before[1])
    assert os.path.exists("/etc/postfix/main.cf.before-split")


def test_header_method(s):
    s.fresh(milter='filter_method = "header"', main="milter_header_checks = regexp:$config_directory/own_checks")
    s.write("/etc/postfix/own_checks", "/^X-Other:/ IGNORE\n")
    s.ctl("--single", "--apply")
    assert s.run("postconf", "-h", "milter_header_checks") == (
        "regexp:$config_directory/split_filter, regexp:$config_directory/own_checks\n"
    )
    s.start()
    rig.send((HERE, 25), "s@sender.test", ["special@example.net"], b"Subject: by header\r\n\r\n")
    assert s.special.wait(1)[0].headers("X-Filtered-By") == ["secondary"]
    assert s.filters["secondary"].accepted[0].headers("X-Split-Filter")
    s.ctl("--remove")
    assert s.texts() == s.before


def test_multi(s):
    s.fresh("/var/spool/postfix-in")
    before = sorted(os.listdir("/etc/postfix"))
    text, status = s.status(code=1)
    assert "STOPPED" in text and status["postfix"][0]["running"] is False, (text, status)
    s.ctl("--multi")
    assert s.texts() == s.before and not os.path.exists("/etc/postfix-in")
    options = ("--multi", "--apply", f"--reinject=0.0.0.0:{REINJECT}", "--submission=2525")
    s.ctl(*options)
    after = s.texts()
    assert "Nothing to do" in s.ctl(*options)
    assert s.texts() == after
    for _ in range(2):
        assert s.run("postfix", "check") == ""
        assert s.run("postmulti", "-x", "postfix", "check") == ""
    assert re.findall(r"(?m)^(\S+) +split +y +(\S+)$", s.run("postmulti", "-l")) == [
        ("-", "/etc/postfix"), ("postfix-out", "/etc/postfix-out"), ("postfix-in", "/etc/postfix-in"),
    ]
    s.start()
    s.send_and_see()
    s.is_closed((HERE, REINJECT))
    assert s.run("postmulti", "-x", "mailq").count("Mail queue is empty") == 3
    text, status = s.status()
    assert [(i["name"], i["running"], sum(i["queues"].values())) for i in status["postfix"]] == [
        ("postfix", True, 0), ("postfix-out", True, 0), ("postfix-in", True, 0),
    ], status
    assert status["splitmilter"]["pid"] == s.daemons[1].pid and status["splitrelay"]["pid"] == s.daemons[0].pid
    assert re.search(r"(?m)^postfix-in +runs +/etc/postfix-in: empty$", text), text
    # Mail of this machine goes the same way: by sendmail(1), and by the submission port.
    done = subprocess.run(["sendmail", "-i", "-f", "cron@example.com", "ben@example.com"], input=b"Subject: cron\n\n",
                          env=rig.environment(), check=True, timeout=30)
    assert done.returncode == 0
    rig.send(("127.0.0.1", 2525), "app@example.com", ["ben@example.com"], b"Subject: application\r\n\r\n")
    for subject in ("cron", "application"):
        found = rig.wait_for(lambda: [t for t in s.mailbox.accepted if subject in t.headers("Subject")], 30, subject, s.log)
        assert found[0].headers("X-Filtered-By") == ["secondary"]
    assert "loops back" not in s.log()
    names = set(re.findall(r"(postfix\S*)/smtpd\[", s.log()))
    assert {"postfix-in", "postfix-out/reinject", "postfix/submission"} <= names, names
    # Mail in a queue is not thrown away.
    s.mailbox.stop()
    s.archive.stop()
    rig.send((HERE, 25), "s@sender.test", ["carl@example.com"], b"Subject: queued\r\n\r\n")
    rig.wait_for(lambda: "status=deferred" in s.log(), 20, "a deferred message", s.log)
    rig.wait_for(lambda: s.daemons[0].log_lines("status=deferred"), 20, "a deferred copy", s.daemons[0].log)
    _, status = s.status()
    (archive,) = status["splitrelay"]["destinations"]
    assert archive["active"] + archive["deferred"] == 1 and "refused" in archive["last_error"], archive
    out = status["postfix"][1]
    assert out["deferred"][0]["name"] == "example.com" and out["oldest"], out
    assert "1 messages in its queue would be lost" in s.ctl("--remove", status=1)
    assert s.texts() == after
    s.mailbox.start()
    s.archive.start()
    rig.wait_for(lambda: [t for t in s.mailbox.accepted if "queued" in t.headers("Subject")], 30, "the queued one", s.log)
    rig.wait_for(lambda: s.run("postmulti", "-x", "mailq").count("Mail queue is empty") == 3, 10, "empty queues", s.log)
    s.ctl("--remove")
    assert s.texts() == s.before
    assert sorted(os.listdir("/etc/postfix")) == before
    for path in ("/etc/postfix-in", "/etc/postfix-out", "/var/spool/postfix-in", "/var/lib/postfix-out"):
        assert not os.path.exists(path), path
    rig.send((HERE, 25), "s@sender.test", ["later@example.com"], b"Subject: after\r\n\r\n")
    rig.wait_for(lambda: [t for t in s.mailbox.accepted if "after" in t.headers("Subject")], 20, "mail without us", s.log)


def test_multi_on_the_systems_own_files(s):
    """Debian's main.cf as it is here, and what an administrator changes in the new instances is kept."""
    s.fresh("/var/spool/postfix-in", base=s.systems_own["main.cf"].replace("{", "{{").replace("}", "}}"))
    s.ctl("--multi", "--apply")
    for name in ("postfix", "postfix-in", "postfix-out"):
        assert s.run("postfix", "-c", f"/etc/{name}", "check") == ""
    with open("/etc/postfix-in/main.cf", "a", encoding="utf-8") as f:
        f.write("relay_domains = example.org\n")
    assert "Nothing to do" not in s.ctl("--multi", "--apply")
    assert s.run("postconf", "-c", "/etc/postfix-in", "-h", "relay_domains") == "example.org\n"
    s.ctl("--multi", "--apply")
    assert "kept in /etc/postfix/main.cf-in.removed" in s.ctl("--remove")
    assert s.texts() == s.before
    with open("/etc/postfix/main.cf-in.removed", encoding="utf-8") as f:
        assert "relay_domains = example.org" in f.read()


def test_refusals(s):
    def refused(text, *arguments, **fresh):
        before = None
        if fresh:
            s.fresh(**fresh)
        before = s.texts()
        out = s.ctl(*(arguments or ("--single", "--apply")), status=1)
        assert text in out, out
        assert s.texts() == before

    refused("content_filter = smtp:[127.0.0.1]:9 sends whole messages", main="content_filter = smtp:[127.0.0.1]:9")
    refused("is chrooted to /var/spool/postfix and cannot see it", queue_directory="/run")
    refused("set socket = \"unix:/var/spool/postfix-in/splitmilter", "--multi", "--apply")
    refused("this instance takes no mail", main="master_service_disable = inet")
    s.fresh()
    for line, text in (
        ("splitcopy unix - - n - - smtp\n", "there is a service splitcopy/unix"),
        ("localhost:10025 inet n - n - - smtpd\n", "has a port that we need: choose with --reinject"),
        ("2500 inet n - n - - smtpd -o { content_filter = x:y }\n", "has its own content_filter"),
        ("rewrite2 unix - - n - - trivial-rewrite -o transport_maps=\n", "has its own transport_maps"),
    ):
        s.fresh()
        with open("/etc/postfix/master.cf", "a", encoding="utf-8") as f:
            f.write(line)
        refused(text)
    s.fresh()
    s.write("/etc/postfix/split_closed", "mine\n")
    refused("split_closed: there is such a file, and it is not ours")
    s.fresh()
    s.conf = s.r.write("pipe.conf", s.configuration.replace("smtp:", "maildrop:"))
    refused('"maildrop" is pipe(8)')
    s.conf = s.r.write("none.conf", s.configuration.replace("smtp:", "nothing:"))
    refused('has no service "nothing unix"')
    s.conf = s.r.write("user.conf", s.configuration)
    assert "there is no user 'nobody-here'" in s.ctl("--single", "--apply", "--user=nobody-here", status=1)


def test_an_edited_part_is_refused(s):
    s.fresh()
    s.ctl("--single", "--apply")
    s.run("postconf", "-e", "smtpd_milters = inet:127.0.0.1:1")
    before = s.texts()
    for action in (("--single", "--apply"), ("--remove",)):
        assert "somebody changed our part" in s.ctl(*action, status=1)
        assert s.texts() == before
    assert "in the other way" in s.ctl("--multi", "--apply", status=1)
    s.ctl("--remove", "--force")
    assert s.texts() == s.before
    assert "Nothing to do" in s.ctl("--remove")


def test_a_failure_is_undone(s):
    """postfix check finds fault with what it is given: everything is as before."""
    s.fresh()
    with open("/etc/postfix/master.cf", "a", encoding="utf-8") as f:
        f.write("broken\n")
    before = s.texts()
    s.ctl("--single", "--apply", status=1)
    assert s.texts() == before


def test_usage(s):
    s.fresh()
    for arguments in ((), ("--apply",), ("--single", "--remove"), ("--single", "--apply", "--remove"), ("--single", "x"),
                      ("--single", "--reinject=x:y:z"), ("--single", "--filter-networks=1.2.3.4/33"), ("--bogus",)):
        s.ctl(*arguments, status=64)


if __name__ == "__main__":
    rig.main(timeout=100)

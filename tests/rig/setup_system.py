# SPDX-License-Identifier: ISC
"""A system whose Postfix is set up by splitctl setup-postfix. It is the system's own /etc/postfix, covered by overlays that only
the test sees."""

import contextlib
import json
import os
import re
import subprocess

import rig

REINJECT = 10025
RELAY = 10030
OUTSIDE, HERE = "192.0.2.7", "192.0.2.1"  # a client outside of mynetworks, and an address of this host that it can reach

FILTERS = """\
anna@example.com     primary
info@example.com     primary
ben@example.com      secondary
special@example.net  secondary
bad@example.com      primary
"""

# A main.cf as administrators have it. The last lines of own_aliases and own_routes match any address.
MAIN = """\
# My own main.cf
compatibility_level = {level}
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
maximal_backoff_time = 2s"""  # without a line end
ALIASES = "/^info@example\\.com$/ anna@example.com\n/^(.+)\\.invalid$/ trash@example.net\n/^(.+)@old\\.test$/ $1@example.com\n"
ROUTES = "/@/ smtp:[127.0.0.1]:{mailbox}\n"


class System:
    """A jail with Postfix, its filters, mailboxes and daemons. fresh() restores its first state."""

    def __init__(self, r):
        rig.need_tools("postmulti", "postmap")
        # If Postfix was installed without configuration, the files of the package are used.
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
        """The text of the system's own file, or of the package's template for it."""
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
        """Write the files as an administrator has them, and splitmilter.conf with its socket below queue_directory."""
        self.end()
        self.jail.fresh()
        for sink in (self.mailbox, self.special, self.archive, *self.filters.values()):
            sink.transactions.clear()
        self.socket = f"{queue_directory}/splitmilter/milter.sock"
        self.write("/etc/postfix/own_aliases", ALIASES)
        self.write("/etc/postfix/own_routes", ROUTES.format(mailbox=self.mailbox.address[1]))
        level = "3.11" if rig.postfix.version() >= (3, 11) else "3.6"  # Postfix warns of lower ones
        text = base.format(special=self.special.address[1], milter=self.own.address[1], level=level)
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

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8") as f:
            return f.read()

    @staticmethod
    @contextlib.contextmanager
    def with_path(directory):
        """A context in which this directory is the first one in PATH."""
        former = os.environ["PATH"]
        os.environ["PATH"] = f"{directory}:{former}"
        try:
            yield
        finally:
            os.environ["PATH"] = former

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
        """Run splitctl status in both forms: (the text, the object)."""
        found, text, err = rig.run_splitctl(self.r, self.conf, "status", check=False)
        assert (found, err) == (code, ""), (found, text, err)
        found, out, _ = rig.run_splitctl(self.r, self.conf, "status", "--json", check=False)
        assert found == code
        return text, json.loads(out)

    def start(self):
        """Start splitrelay, splitmilter, and Postfix with all its instances."""
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
        """Send a message to several recipients, and check that the split works together with the administrator's own maps,
        routes and milter."""
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
        # info@ is an alias of anna@. Both are one recipient of the filter's message, or anna@ gets two messages.
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
        """Check that no client outside of mynetworks can send to the tag domain, or to the port behind the filters."""
        with stranger((HERE, 25)) as c:
            c.mail("s@sender.test")
            # With compatibility_level 3.6 Postfix itself defers recipients with a route, and relaying.
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
        # A bounce to a sender in the tag domain must not get there, either. Postfix without a milter refuses such senders, too.
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
    """A client outside of mynetworks."""
    return rig.SmtpClient(address, source=OUTSIDE)

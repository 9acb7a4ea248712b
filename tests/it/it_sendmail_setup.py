#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl setup-sendmail, splitmilter.m4, and every step of docs/sendmail.md, on a real Sendmail."""

import os
import re
import subprocess

import rig
from rig.daemons import TOP
from rig.sendmail import BASE, MAILERS

GUIDE = os.path.join(TOP, "docs", "sendmail.md")
M4 = os.path.join(TOP, "conf", "sendmail", "splitmilter.m4")
CONFIGURATION = """\
log {{ target = "stderr" }}
milter {{
    socket = "unix:{d}/milter.sock"
    canonical_maps = {{ "inline:{{ gone@example.com=nobody@error.test, local@example.com=nosuchuser@front.test, ok@example.com=new@example.com }}" }}
    filter_maps = {{ "inline:{{ tcp@example.com=tcp, unix@example.com=unix, smtp@example.com=smtp }}" }}
    copy_maps = {{ "inline:{{ smtp@example.com=archive }}" }}
}}
filter smtp {{ nexthop = "smtp:{smtp}" }}
filter tcp {{ nexthop = "lmtp:{tcp}" }}
filter unix {{ nexthop = "lmtp:unix:{unix}" }}
relay {{
    listen = {{ "unix:{d}/relay.sock" }}
    hostname = "relay.test"
    spool_directory = "{d}/spool"
}}
destination archive {{ relay_to = {{ "{archive}" }} }}
"""


def message(subject):
    return f"From: a@sender.test\r\nSubject: {subject}\r\n\r\nText.\r\n".encode()


def setup_text(r, text, *arguments, check=True):
    """Run splitctl setup-sendmail with this configuration: (status, output, errors)."""
    return rig.run_splitctl(r, r.write("setup.conf", text), "setup-sendmail", *arguments, check=check)


def test_what_is_printed(r):
    """setup-sendmail prints one mailer for each protocol and port, and hosts in Sendmail's form."""
    text = """
        tag_domain = "tag.test"
        milter { socket = "inet:8890@127.0.0.1" }
        filter a { nexthop = "smtp:[192.0.2.1]:10024" }
        filter b { nexthop = "relay:mx.example.com:10024" }
        filter c { nexthop = "smtp:[2001:db8::1]:26" }
        filter d { nexthop = "lmtp:[lmtp.example.com]" }
        filter e { nexthop = "lmtp:unix:/run/e.sock" }
        filter f { nexthop = "lmtp:unix:/run/f.sock" }
        filter g { nexthop = "lmtp:unix:/run/e.sock" }
        filter h { nexthop = "smtp:[192.0.2.1]:26" fallback = { "smtp:[2001:db8::2]:26", "smtp:mx.example.com:26" } }
        filter i { nexthop = "lmtp:[192.0.2.1]" fallback = "lmtp:[192.0.2.2]:24" }
        relay { listen = { "unix:/run/relay.sock", "inet:10030" } }
        destination x { relay_to = { "[192.0.2.9]:25" } }
    """
    _, out, _ = setup_text(r, text, "-r", "10029")
    lines = [ln for ln in out.split("\n") if ln and not ln.startswith(("dnl", "include("))]
    assert lines == [
        "define(`SPLIT_TAG_DOMAIN', `tag.test')dnl",
        "SPLIT_MILTER(`inet:8890@127.0.0.1')dnl",
        "SPLIT_REINJECT(`10029')dnl",
        "SPLIT_FILTER_SMTP(`10024')dnl",
        "SPLIT_FILTER_SMTP(`26')dnl",
        "SPLIT_FILTER_LMTP(`24')dnl",
        "SPLIT_FILTER_LMTP(`/run/e.sock', `u1')dnl",
        "SPLIT_FILTER_LMTP(`/run/f.sock', `u2')dnl",
        "SPLIT_COPY_SMTP(`10030')dnl",
        ".a.filter.tag.test\tsplitsmtp10024:[192.0.2.1]",
        ".b.filter.tag.test\tsplitsmtp10024:mx.example.com",
        ".c.filter.tag.test\tsplitsmtp26:[IPv6:2001:db8::1]",
        ".d.filter.tag.test\tsplitlmtp24:[lmtp.example.com]",
        ".e.filter.tag.test\tsplitlmtpu1:localhost",
        ".f.filter.tag.test\tsplitlmtpu2:localhost",
        ".g.filter.tag.test\tsplitlmtpu1:localhost",
        ".h.filter.tag.test\tsplitsmtp26:[192.0.2.1]:[IPv6:2001:db8::2]:mx.example.com",
        ".i.filter.tag.test\tsplitlmtp24:[192.0.2.1]:[192.0.2.2]",
        ".copy.tag.test\tsplitcopy:[127.0.0.1]",
    ], "\n".join(lines)
    both = setup_text(r, text, "mc")[1], setup_text(r, text, "mailertable")[1]
    assert "SPLIT_COPY_SMTP" in both[0] and ".copy." not in both[0], both[0]
    assert "SPLIT_COPY_SMTP" not in both[1] and both[1].startswith(".a.filter"), both[1]


def test_what_is_refused(r):
    """setup-sendmail refuses transports that Sendmail does not have, and text that cannot be written in sendmail.mc."""
    for text, reason in (
        ('filter a { nexthop = "scan:[192.0.2.1]:10024" }', "Sendmail has no such transport"),
        ('filter a { nexthop = "smtp:unix:/run/x" }', "a unix socket needs lmtp"),
        ('filter a { nexthop = "lmtp:unix:/run/it\'s" }', "cannot be written in sendmail.mc"),
        ('milter { filter_method = "header" }', "works with Postfix only"),
        ('\nfilter a { nexthop = "smtp:[192.0.2.1]:26" fallback = "smtp:[192.0.2.1]:27" }',
         'setup.conf:2: filter a: fallback "smtp:[192.0.2.1]:27": Sendmail needs the port of the nexthop, 26,'),
    ):
        status, out, err = setup_text(r, text, check=False)
        assert status == 78 and reason in err and not out, (status, out, err)
    for arguments in (("nonsense",), ("-r", "0"), ("-r", "70000"), ("-x",), ("mc", "mailertable")):
        status, out, _ = setup_text(r, "", *arguments, check=False)
        assert status == 64 and not out, (arguments, status, out)


def test_m4_refuses_to_lose_mail(r):
    """m4 fails if DSN is off, with which Sendmail would drop the recipients that splitmilter adds, and if splitmilter.m4 is
    included too late."""
    sendmail = rig.Sendmail(r, "front")
    base = BASE.format(**sendmail.base)
    include = f"include(`{M4}')dnl\nSPLIT_MILTER(`unix:/run/m.sock')dnl\nSPLIT_REINJECT(`10025')dnl\n"
    for text, reason in (
        (base + "define(`confPRIVACY_FLAGS', `authwarnings,noreceipts')dnl\n" + include + MAILERS, "take noreceipts out"),
        (base + "define(`confMIME_FORMAT_ERRORS', `False')dnl\n" + include + MAILERS, "must be True"),
        (base + MAILERS + include, "should be before MAILER()"),
    ):
        done = sendmail.m4(text, check=False)
        assert reason in done.stderr.decode(), done.stderr
    assert sendmail.m4(base + include + MAILERS).stderr == b""


def test_debian_sendmail_mc(r):
    """The printed lines work in Debian's sendmail.mc, with its access map, delay_checks and connection control. (Without the files
    that it includes itself, which exist only if the packages are installed.)"""
    sendmail = rig.Sendmail(r, "front")
    with open(os.path.join(sendmail.root, "usr/share/sendmail/cf/debian/sendmail.mc"), encoding="utf-8") as f:
        mc = f.read().split("divert(0)dnl", 1)[1]
    mc = mc.replace("/usr/share/sendmail/cf/", f"{sendmail.root}/usr/share/sendmail/cf/")
    mc = re.sub(r"^(include\(`/etc/mail/m4/|DOMAIN\().*$", "", mc, flags=re.MULTILINE)
    _, split, _ = setup_text(r, 'filter a { nexthop = "smtp:[192.0.2.1]:10024" }', "mc")
    split = re.sub(r"include\(`.*'\)dnl", f"include(`{M4}')dnl", split)
    lines = "FEATURE(`mailertable')dnl\n" + split
    mc = f"define(`MAIL_SETTINGS_DIR', `{sendmail.etc}/')dnl\n" + mc.replace("MAILER_DEFINITIONS\n", lines + "MAILER_DEFINITIONS\n")
    mc = mc.replace("OSTYPE(`debian')dnl", "OSTYPE(`linux')dnl\ndefine(`confDONT_BLAME_SENDMAIL', `TrustStickyBit')dnl")
    done = sendmail.m4(mc, check=False)
    assert not done.stderr, done.stderr
    sendmail.write("sendmail.cf", done.stdout.decode())
    sendmail.set_mailertable(".a.filter.split.invalid\tsplitsmtp10024:[192.0.2.1]\n")
    sendmail.write("local-host-names", "")
    assert sendmail.resolve("u@x.test.a.filter.split.invalid") == ("splitsmtp10024", "[192.0.2.1]", "u@x.test")
    assert sendmail.resolve("u@x.test.b.filter.split.invalid")[0] == "splitnoroute"
    answers = sendmail.run("-bt", input=b"check_rcpt <u@x.test.a.filter.split.invalid>\ncheck_mail <u@x.test.a.copy.split.invalid>\n")
    assert answers.count("550 5.7.1 Address not allowed") >= 2, answers


def start_protocols(r):
    """Start (Sendmail, sinks by name): filters use SMTP and LMTP, over TCP and a unix socket; copies use LMTP over a unix
    socket."""
    sinks = {name: rig.Sink(r, name, unix=name == "unix") for name in ("smtp", "tcp", "unix", "archive", "mailbox")}
    text = CONFIGURATION.format(
        d=r.directory,
        smtp=sinks["smtp"].bracketed,
        tcp=sinks["tcp"].bracketed,
        unix=sinks["unix"].address,
        archive=sinks["archive"].bracketed,
    )
    os.makedirs(r.path("spool"), mode=0o700)
    rig.start_splitrelay(r, text, r.path("relay.sock"))
    milter = rig.start_splitmilter(r, text, r.path("milter.sock"))
    split, table = rig.setup_sendmail(r, milter.configuration_path, r.free_port())
    sendmail = rig.Sendmail(
        r, "front", split=split, mailertable=table + "error.test\terror:5.1.1:550 No such user\n", smart_port=sinks["mailbox"].address[1]
    )
    sendmail.start()
    return sendmail, sinks


def test_protocols(r):
    """Filters and splitrelay may be reached by LMTP and by unix sockets."""
    sendmail, sinks = start_protocols(r)
    recipients = ["smtp@example.com", "tcp@example.com", "unix@example.com", "ok@example.com"]
    rig.send(sendmail.address, "s@sender.test", recipients, message("protocols"))
    sendmail.wait_empty()
    for name in ("smtp", "tcp", "unix"):
        assert [t.addrs for t in sinks[name].wait(1)] == [[f"{name}@example.com"]], sinks[name].describe()
    (copy,) = sinks["archive"].wait(1)
    assert copy.addrs == ["smtp@example.com"] and "NOTIFY=NEVER" in copy.rcpts[0].params, copy
    (mail,) = sinks["mailbox"].wait(1)
    assert mail.addrs == ["new@example.com"], mail
    assert any(ln.startswith("LHLO") for _, ln in sinks["tcp"].commands) and any(ln.startswith("LHLO") for _, ln in sinks["unix"].commands)


def start_fallback(r):
    """Start (Sendmail, filter, its fallback). Both have the same port, at two addresses of this machine."""
    port = r.free_port()
    sinks = [rig.Sink(r, name, address=(host, port)) for name, host in (("first", "127.0.0.2"), ("second", "127.0.0.1"))]
    milter = rig.start_splitmilter(r, f"""
        log {{ target = "stderr" }}
        milter {{ socket = "unix:{r.path('milter.sock')}" filter_maps = {{ "static:a" }} }}
        filter a {{ nexthop = "smtp:[127.0.0.2]:{port}" fallback = "smtp:[127.0.0.1]:{port}" }}
    """, r.path("milter.sock"))
    split, table = rig.setup_sendmail(r, milter.configuration_path, r.free_port())
    sendmail = rig.Sendmail(r, "front", split=split, mailertable=table)
    sendmail.start()
    return sendmail, *sinks


def test_fallback(r):
    """While a filter takes no mail, Sendmail sends it to the fallback, without the suffix; while both are down, it waits."""
    sendmail, first, second = start_fallback(r)

    def pass_one(subject, sink, other):
        count, others = len(sink.accepted), len(other.accepted)
        rig.send(sendmail.address, "s@sender.test", ["x+y@example.com"], message(subject))
        assert sink.wait(count + 1)[-1].addrs == ["x+y@example.com"], sink.describe()
        assert len(other.accepted) == others, subject

    pass_one("up", first, second)
    for stage, reply in (("connect", "421 4.3.2 full"), ("connect", "554 5.3.2 no service"), ("connect", rig.CLOSE), ("mail", "451 4.3.0 later"),
                         ("rcpt", "450 4.2.0 later"), ("dot", "451 4.3.0 later"), ("dot", rig.CLOSE)):
        first.hook = lambda at, _conn, _arg, stage=stage, reply=reply: reply if at == stage else None
        pass_one(f"{stage} {reply}", second, first)
    # A 5xx of the filter is its decision.
    count = len(second.accepted)
    first.hook = lambda at, _conn, _arg: "550 5.7.1 spam" if at == "rcpt" else None
    rig.send(sendmail.address, "s@sender.test", ["x@example.com"], message("spam"))
    rig.wait_for(lambda: sendmail.log_lines("x@example.com.*dsn=5[.]"), 20, "the refusal", sendmail.log)
    first.hook = None
    first.stop()
    pass_one("down", second, first)
    assert len(second.accepted) == count + 1, second.describe()
    second.stop()
    rig.send(sendmail.address, "s@sender.test", ["x@example.com"], message("waits"))
    rig.wait_for(lambda: sendmail.log_lines("x@example.com.*stat=Deferred: Connection refused"), 20, "the deferral", sendmail.log)
    second.start()
    rig.wait_for(lambda: sendmail.flush() or len(second.accepted) == count + 2, 20, "the message that waited", sendmail.log)
    assert second.accepted[-1].headers("Subject") == ["waits"] and second.accepted[-1].addrs == ["x@example.com"]


def test_new_address_is_refused(r):
    """If Sendmail has an error for a recipient's new address, that recipient bounces by its NOTIFY, and the others are
    delivered."""
    sendmail, sinks = start_protocols(r)
    with rig.SmtpClient(sendmail.address) as c:
        assert c.mail("s@sender.test").code == 250
        assert c.rcpt("gone@example.com").code == 250
        assert c.rcpt("local@example.com", "NOTIFY=FAILURE").code == 250
        assert c.rcpt("ok@example.com", "NOTIFY=NEVER").code == 250
        assert c.data(message("refused")).code == 250
        assert c.quit().code == 221
    sendmail.wait_empty()
    arrived = {t.sender: t for t in sinks["mailbox"].wait(2)}
    assert arrived["s@sender.test"].addrs == ["new@example.com"], arrived
    assert arrived["s@sender.test"].rcpts[0].params == ["NOTIFY=NEVER", "ORCPT=rfc822;ok@example.com"], arrived
    assert arrived[""].addrs == ["s@sender.test"], arrived
    report = arrived[""].data
    for line in (b"Original-Recipient: rfc822;gone@example.com", b"Original-Recipient: rfc822;local@example.com"):
        assert line in report, report
    assert b"Final-Recipient: RFC822; nobody@error.test" in report, report


def test_milter_over_inet(r):
    """With either MTA, splitmilter works over TCP, and its log has the queue id."""
    for name, tower in (("sendmail", rig.SendmailTower), ("postfix", rig.Tower)):
        part = rig.Rig(r.session, name)
        r.on_close(part.close)
        t = tower(part, "", "* primary\n", "ida@example.com archive\n", milter_socket="inet", short=True)
        with rig.SmtpClient(t.front.address) as c:
            assert c.mail("s@sender.test").code == 250
            assert c.rcpt("ida@example.com").code == 250
            assert c.rcpt("user@[192.0.2.1]").code == 550
            reply = c.data(message(name))
            assert reply.code == 250, reply
        t.settle()
        assert [x.addrs for x in t.taps["primary"].wait(1)] == [["ida@example.com"]]
        assert [x.addrs for x in t.backups["archive"].wait(1)] == [["ida@example.com"]]
        logged = t.milter.wait_log(r"splitmilter\[\d+\]: [0-9A-Za-z]+: to=<ida@example\.com>, filter=primary, copy=archive$")[0]
        queue_id = logged.split(": ")[1]
        assert queue_id in reply.lines[0], f"{logged}; {reply}"
        assert not part.close(), "the tower did not stop cleanly"


def test_headers_are_rewritten(r):
    """With header_recipient in canonical_classes To and Cc are rewritten with Sendmail, too."""
    classes = '    canonical_classes = { "envelope_recipient", "header_recipient" }\n'
    t = rig.SendmailTower(r, "frida@example.com alias123@application.com\n", "* none\n", "frida@example.com archive\n", short=True, milter=classes)
    to = '"O, x" <other@example.com>, Frida <frida@example.com>'
    t.send(["frida@example.com"], f"From: a@sender.test\r\nTo: {to}\r\nCc: frida@example.com\r\n\r\nText.\r\n".encode())
    for sink, address in ((t.mailbox, "alias123@application.com"), (t.backups["archive"], "frida@example.com")):
        (txn,) = sink.wait(1)
        assert txn.addrs == [address], txn
        assert txn.headers("To") == [to.replace("frida@example.com", "alias123@application.com")], txn
        assert txn.headers("Cc") == ["alias123@application.com"], txn


def blocks(text):
    """The fenced blocks of the guide: [(language, text)]."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def write_programs(r, sendmail):
    """Make a directory with the programs that the guide calls, for this rig. Returns its path."""
    bin_directory = r.path("bin")
    os.mkdir(bin_directory)
    splitctl = rig.program("splitctl")
    for name, command in (
        ("splitctl", f"{splitctl} -c {r.path('splitmilter')}/splitmilter.conf"),
        ("makemap", f"{sendmail.program('makemap')} -C {sendmail.configuration}"),
        ("sendmail", f"env LD_PRELOAD={r.session.directory}/shim.so {sendmail.program('sendmail')} -C {sendmail.configuration}"),
    ):
        path = os.path.join(bin_directory, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\nexec {command} "$@"\n')
        os.chmod(path, 0o755)
    # splitmilter.m4 is in the source tree, and not installed.
    with open(os.path.join(bin_directory, "m4"), "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nsed -i "s|^include(.*sendmail/splitmilter.m4|include(\\`{M4}|" {sendmail.etc}/splitmilter.mc\nexec /usr/bin/m4 "$@"\n')
    os.chmod(os.path.join(bin_directory, "m4"), 0o755)
    return bin_directory


def test_guide(r):
    """After all steps of docs/sendmail.md, with this rig's directories and ports, a message is split."""
    sinks = {name: rig.Sink(r, name) for name in ("primary", "secondary", "archive", "mailbox")}
    sendmail = rig.Sendmail(r, "front", smart_port=sinks["mailbox"].address[1])
    reinject, relay = str(r.free_port()), r.free_port()
    os.makedirs(r.path("run"))
    os.makedirs(r.path("spool"), mode=0o700)
    with open(GUIDE, encoding="utf-8") as f:
        guide = f.read()
    here = {
        "10024": str(sinks["primary"].address[1]),
        "10026": str(sinks["secondary"].address[1]),
        "10025": reinject,
        "10030": str(relay),
        "[archive.example.com]:25": sinks["archive"].bracketed,
        "/etc/mail": sendmail.etc,
        "/etc/splitmilter": r.path("splitmilter"),
        "/run/splitmilter": r.path("run"),
        "/var/spool/splitmilter": r.path("spool"),
        "setup-sendmail mc": f"setup-sendmail -r {reinject} mc",
    }
    for name in here:
        assert name in guide, f"the guide does not say {name}"
    guide = re.sub("|".join(map(re.escape, here)), lambda found: here[found.group()], guide)
    base = BASE.format(**sendmail.base).replace(f"FEATURE(`mailertable', `hash {sendmail.etc}/mailertable')dnl\n", "")
    base = f"include(`{sendmail.root}/usr/share/sendmail/cf/m4/cf.m4')dnl\n" + base
    environment = dict(sendmail.env, PATH=f"{write_programs(r, sendmail)}:{os.environ['PATH']}")
    output = ""
    for language, text in blocks(guide):
        if language == "conf":
            path = text.split("\n", 1)[0].removeprefix("# ")
            r.write(os.path.relpath(path, r.directory), text if path.endswith("splitmilter.conf") else text.split("\n", 1)[1])
        elif language == "m4":
            sendmail.write("sendmail.mc", base + text + MAILERS)
        elif language == "sh" and "systemctl" not in text:  # it_clean_root.py runs that block
            done = subprocess.run(["sh", "-e"], input=text.encode(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            assert done.returncode == 0 and not done.stderr, f"{text}{done.stdout.decode()}{done.stderr.decode()}"
            output += done.stdout.decode()
    expected = [text for language, text in blocks(guide) if language == "text"][0]
    for line in expected.strip().split("\n"):
        assert line in output, f"expected {line}\n{output}"

    with open(r.path("splitmilter", "splitmilter.conf"), encoding="utf-8") as f:
        configuration = f.read() + 'log { target = "stderr" }\n'
    rig.start_splitrelay(r, configuration, ("127.0.0.1", relay))
    milter = rig.start_splitmilter(r, configuration, r.path("run", "milter.sock"))
    sendmail.start()
    rig.send(sendmail.address, "s@sender.test", ["anna@example.com", "ben@example.com", "x@example.org"], message("guide"))
    sendmail.wait_empty()
    assert [t.addrs for t in sinks["secondary"].wait(1)] == [["anna@example.com"]]
    assert [t.addrs for t in sinks["primary"].wait(1)] == [["x@example.org"]]
    assert [t.addrs for t in sinks["mailbox"].wait(1)] == [["benjamin@mail.example.com"]]
    assert [sorted(t.addrs) for t in sinks["archive"].wait(1)] == [["anna@example.com", "ben@example.com"]]
    milter.wait_log(r"[0-9A-Za-z]+: to=<anna@example\.com>, filter=secondary, copy=archive$")
    sendmail.wait_log(r"to=<anna@example\.com\.secondary\.filter\.split\.invalid>.*mailer=splitsmtp\d+.*stat=Sent")


if __name__ == "__main__":
    rig.main()

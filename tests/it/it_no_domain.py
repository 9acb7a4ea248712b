#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""RCPT TO:<postmaster>: an address without domain is treated as one in the domain that the MTA adds, and never refused for having
none (RFC 5321 4.5.1). With a real Postfix, a real Sendmail, and splitctl explain."""

import json

import rig
from rig.milter import Milter
from rig.split_scenarios import by_subject, message

ORIGIN = "example.com"
FILTERS = """\
Root@example.com    secondary
webmaster@example.com none
*                   primary
"""
CANONICAL = "webmaster@example.com   wwwadmin@example.net\n"
COPIES = "postmaster@example.com archive\n"
SENT = ("postmaster", "PostMaster", "root", "webmaster", '"odd one"', "carl@example.com")


def received(sink, subject):
    """The recipients of the messages with this subject. Each may occur once only."""
    found = [a for txn in by_subject(sink.accepted, subject) for a in txn.addrs]
    assert len(found) == len(set(found)), found
    return set(found)


def expect(t, subject, expected, recipients=SENT):
    """Send one message to all recipients, and check that each arrives at the expected places only."""
    with rig.SmtpClient(t.front.address) as c:
        assert c.mail("s@sender.test").code == 250
        for address in recipients:
            reply = c.rcpt(address)
            assert reply.code == 250, (address, reply)
        assert c.data(message(subject)).code == 250
    sinks = {"mailbox": t.mailbox, "archive": t.backups["archive"], **t.taps}
    rig.wait_for(
        lambda: all(received(sinks[name], subject) >= addresses for name, addresses in expected.items()),
        30,
        f"the recipients of {subject}",
        lambda: "\n".join(f"{name}: {received(sinks[name], subject)}" for name in expected),
    )
    t.settle()
    for name, addresses in expected.items():
        assert received(sinks[name], subject) == addresses, (subject, name, received(sinks[name], subject))
    assert not t.bounces(), t.bounces()


def tower(r, make, **options):
    return make(r, CANONICAL, FILTERS, COPIES, short=True, **options)


def through_postfix(r, kind):
    t = tower(r, rig.Tower, milter_socket=kind, front_main={"myorigin": ORIGIN})
    expect(
        t,
        "all",
        {
            "secondary": {"root@example.com"},
            "primary": {"postmaster@example.com", '"odd one"@example.com', "carl@example.com"},
            "mailbox": {"wwwadmin@example.net"},
            "archive": {"postmaster@example.com"},
        },
    )
    expect(t, "one", {"primary": {"postmaster@example.com"}, "archive": {"postmaster@example.com"}, "mailbox": set()}, ["postmaster"])
    # A recipient for which the tables have no result is not changed.
    reloads = len(t.milter.log_lines("table reloaded: .*tables/filter"))
    t.set_table("filter", "other.test primary\n")
    t.milter.wait_log("table reloaded: .*tables/filter", count=reloads + 1)
    expect(t, "none", {"mailbox": {"root@example.com"}, "primary": set(), "secondary": set()}, ["root"])


def test_postfix_unix(r):
    """Recipients without domain are decided with the domain in Postfix's {rcpt_addr}, which is myorigin."""
    through_postfix(r, "unix")


def test_postfix_inet(r):
    through_postfix(r, "inet")


def through_sendmail(r, kind):
    t = tower(r, rig.SendmailTower, milter_socket=kind)
    # postmaster@front.test is a local alias on the front.
    t.set_table("filter", "root@front.test secondary\n*  primary\n")
    t.set_table("copy", "postmaster@front.test archive\n")
    t.milter.wait_log("table reloaded: .*tables/copy")
    t.milter.wait_log("table reloaded: .*tables/filter")
    expect(
        t,
        "all",
        {
            "secondary": {"root@front.test"},
            "primary": {"postmaster@front.test", "carl@example.com"},
            "archive": {"postmaster@front.test"},
            "mailbox": set(),
        },
        ("postmaster", "root", "carl@example.com"),
    )
    t.set_table("filter", "other.test primary\n")
    t.milter.wait_log("table reloaded: .*tables/filter", count=2)
    expect(t, "none", {"mailbox": {"root@sender.test"}, "primary": set()}, ["root"])  # its alias


def test_sendmail_unix(r):
    """Recipients without domain are decided with Sendmail's own name, because its {rcpt_addr} has no domain for local
    addresses."""
    through_sendmail(r, "unix")


def test_sendmail_inet(r):
    through_sendmail(r, "inet")


def test_macros_that_are_missing(r):
    """If an administrator has reduced the MTA's macros, the domain is taken from those that are left, and no recipient is
    refused."""
    text = """
log {{ target = "stderr" }}
relay {{ hostname = "own.test" }}
milter {{ socket = "unix:{path}" filter_maps = {{ "static:one" }} }}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
"""
    path = r.path("m.sock")
    rig.start_splitmilter(r, text.format(path=path), path)
    for connect, rcpt, domain in (
        ({}, {}, "own.test"),
        ({"j": "mta.test"}, {}, "mta.test"),
        ({"j": "[192.0.2.1]"}, {}, "own.test"),
        ({"j": "mta.test"}, {"{rcpt_addr}": "root"}, "mta.test"),
        ({"j": "mta.test"}, {"{rcpt_addr}": "root@origin.test"}, "origin.test"),
    ):
        m = Milter(path)
        m.macros(b"C", **connect)
        m.mail("<s@x.test>")
        m.macros(b"R", **rcpt)
        assert m.rcpt("<root>") == "c", (connect, rcpt)
        m.data()
        changes, end = m.eom()
        m.close()
        assert end == "c" and changes == [
            ("+", f"<root@{domain}.one.filter.split.invalid>", f"ORCPT=rfc822;root@{domain}"),
            ("-", "<root>"),
            ("-", f"<root@{domain}>"),
        ], changes


def test_explain(r):
    """splitctl explain says which domain it assumes for such an address, and where that is from."""
    text = """
relay {{ hostname = "own.test" }}
milter {{ socket = "unix:/nonexistent" filter_maps = {{ "inline:{{ root@example.com=one, *=two }}" }} }}
filter one {{ nexthop = "smtp:[127.0.0.1]:10024" }}
filter two {{ nexthop = "smtp:[127.0.0.1]:10025" }}
"""
    path = r.write("explain.conf", text.format())
    _, out, _ = rig.run_splitctl(r, path, "explain", "--origin", "example.com", "root", "carl@example.com")
    assert "root@example.com\n  given as   <root>               (no domain: example.com is assumed, --origin)\n" in out, out
    assert "  RCPT TO:<root@example.com.one.filter.split.invalid> ORCPT=rfc822;root@example.com\n" in out, out
    assert out.count("is assumed") == 1, out
    _, out, _ = rig.run_splitctl(r, path, "explain", "--json", "--origin", "example.com", "root")
    first = json.loads(out.splitlines()[0])
    assert (first["given"], first["recipient"], first["filter"]) == ("<root>", "root@example.com", "one"), first
    assumed = {}
    for name, script in (("postconf", "#!/bin/sh\necho origin.test\n"), ("file", f"#!/bin/sh\necho {r.write('mailname', 'mailname.test')}\n"), ("none", "#!/bin/sh\nexit 1\n")):
        program = r.write(f"{name}/postconf", script, mode=0o755)
        _, out, _ = rig.run_splitctl(r, path, "explain", "root", env={"PATH": f"{program.rsplit('/', 1)[0]}:/usr/bin:/bin"})
        assumed[name] = [ln for ln in out.splitlines() if "is assumed" in ln][0].split("(")[1]
    assert assumed == {
        "postconf": "no domain: origin.test is assumed, myorigin of Postfix)",
        "file": "no domain: mailname.test is assumed, myorigin of Postfix)",
        "none": "no domain: own.test is assumed, hostname of section relay)",
    }, assumed


if __name__ == "__main__":
    rig.main()

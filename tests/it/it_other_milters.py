#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitmilter beside another milter that refuses, deletes and redirects recipients, on a real Postfix and a real Sendmail; and the
detection of the MTA."""

import rig
from rig.split_scenarios import CANONICAL, COPIES, FILTERS, by_subject, message

# In FILTERS and COPIES anna has a filter and copies; emil and frida's new address have none.
REFUSED, PLAIN, TARGET = "anna@example.com", "emil@example.com", "x@sender.test"
LOCAL = """\
LOCAL_DOMAIN(`one.test')dnl
LOCAL_DOMAIN(`two.test')dnl
"""
MORE_FILTERS = """\
team@one.test       secondary
team@two.test       none
sender.test         none
"""


def delivered(t, subject):
    """{address: the filter, or "mailbox"}. Each recipient may occur once only."""
    found = {}
    for place, sink in (("mailbox", t.mailbox), *t.taps.items()):
        for txn in by_subject(sink.accepted, subject) if place != "relay" else ():
            for address in txn.addrs:
                assert address not in found, f"{address} was delivered twice"
                found[address] = place
    return found


def send(t, subject, recipients, refused=()):
    """Send one message. The recipients in `refused` must get 550, the others 250. Waits until all is delivered."""
    with rig.SmtpClient(t.front.address) as c:
        assert c.mail("s@sender.test").code == 250
        for recipient in recipients:
            reply = c.rcpt(recipient)
            assert reply.code == (550 if recipient in refused else 250), (recipient, reply)
        reply = c.data(message(subject))
        assert reply.code == 250, reply
    t.settle()
    return delivered(t, subject)


def copies(t, subject):
    """Wait until splitrelay has sent all copies, and return the recipients of those at the archive."""
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    return sorted(a for txn in by_subject(t.backups["archive"].accepted, subject) for a in txn.addrs)


def postfix_tower(r, **front_main):
    return rig.Tower(r, CANONICAL, MORE_FILTERS + FILTERS, COPIES, front_main=front_main, short=True)


def set_milters(t, before=None, behind=None):
    """Have the front use splitmilter and another milter."""
    names = [f"inet:127.0.0.1:{m.address[1]}" if m else None for m in (before, behind)]
    t.front.set(smtpd_milters=" ".join(filter(None, (names[0], t.milter_setting, names[1]))))
    t.front.reload()


def sendmail_tower(r, before=None, behind=None, milter_socket="unix"):
    """A SendmailTower with another milter before or behind the lines of splitmilter in sendmail.mc."""

    def line(name, m):
        return f"INPUT_MAIL_FILTER(`{name}', `S=inet:{m.address[1]}@127.0.0.1, F=T')dnl\n" if m else ""

    t = rig.SendmailTower(r, CANONICAL, MORE_FILTERS + FILTERS, COPIES, front_main=LOCAL + line("before", before), start=False, short=True, milter_socket=milter_socket)
    if behind:
        with open(f"{t.front.etc}/sendmail.mc", encoding="utf-8") as f:
            mc = f.read()
        done = t.front.m4(mc + line("behind", behind))
        t.front.write("sendmail.cf", done.stdout.decode())
    t.start()
    return t


def test_postfix_refused_before(r):
    """A recipient that a milter before splitmilter refuses gets nothing. The other recipients are split as usual."""
    t = postfix_tower(r)
    set_milters(t, before=rig.OwnMilter(r, refuse=[REFUSED]))
    found = send(t, "before", [REFUSED, "ben@example.com", PLAIN], refused=[REFUSED])
    assert found == {"ben@example.com": "secondary", PLAIN: "mailbox"}, found
    assert copies(t, "before") == []


def test_postfix_redirected_without_decision(r):
    """A milter before or behind splitmilter can redirect a recipient for which the tables have no result."""
    t = postfix_tower(r)
    for place in ("before", "behind"):
        set_milters(t, **{place: rig.OwnMilter(r, delete=[PLAIN], add=[TARGET])})
        found = send(t, place, [PLAIN, "ben@example.com"])
        assert found == {TARGET: "mailbox", "ben@example.com": "secondary"}, (place, found)


def test_postfix_redirected_in_an_instance_before(r):
    """A milter in an instance before splitmilter's, such as the first one of setup-postfix --multi, can redirect a recipient, and
    splitmilter decides about the new one."""
    t = postfix_tower(r)
    other = rig.OwnMilter(r, delete=["carl@example.com"], add=[REFUSED])
    first = rig.Postfix(
        r,
        "first",
        {
            "relayhost": t.front.bracketed,
            "relay_domains": "example.com",
            "smtpd_milters": f"inet:127.0.0.1:{other.address[1]}",
            "receive_override_options": "no_address_mappings",
        },
    )
    first.start()
    rig.send(first.address, "s@sender.test", ["carl@example.com", PLAIN], message("instance"))
    first.wait_empty()
    t.settle()
    assert delivered(t, "instance") == {REFUSED: "secondary", PLAIN: "mailbox"}, delivered(t, "instance")
    assert copies(t, "instance") == [REFUSED]


def test_postfix_with_another_name(r):
    """With any value of milter_macro_v each recipient gets its mail once."""
    t = postfix_tower(r)
    for number, value in enumerate(("8.17 x", "-", "Sendmail 8.17", "$mail_name")):
        t.front.set(milter_macro_v=value, smtpd_delay_open_until_valid_rcpt="no" if value == "-" else "yes")
        t.front.reload()
        found = send(t, f"name {number}", [REFUSED, PLAIN, "frida@example.com"])
        assert found == {REFUSED: "secondary", PLAIN: "mailbox", "alias123@application.com": "mailbox"}, (value, found)


def test_sendmail_refused_before(r):
    t = sendmail_tower(r, before=rig.OwnMilter(r, refuse=[REFUSED]))
    found = send(t, "before", [REFUSED, "ben@example.com", PLAIN], refused=[REFUSED])
    assert found == {"ben@example.com": "secondary", PLAIN: "mailbox"}, found
    assert copies(t, "before") == []


def check_sendmail_redirect(r, place):
    """Check that a redirect by another milter stays effective, because splitmilter adds again only recipients that its own
    deletions may have removed."""
    t = sendmail_tower(r, **{place: rig.OwnMilter(r, delete=[PLAIN], add=[TARGET])})
    found = send(t, place, [PLAIN, "ben@example.com", "carl@example.com"])
    assert found == {TARGET: "mailbox", "ben@example.com": "secondary", "carl@example.com": "primary"}, (place, found)
    with rig.SmtpClient(t.front.address) as c:  # the same after a refusal by splitmilter
        assert c.mail("s@sender.test").code == 250
        assert c.rcpt(PLAIN).code == 250
        assert c.rcpt("x@y.archive.copy.split.invalid").code == 550
        assert c.data(message(f"refusal {place}")).code == 250
    t.settle()
    assert delivered(t, f"refusal {place}") == {TARGET: "mailbox"}, delivered(t, f"refusal {place}")


def test_sendmail_redirected_before(r):
    check_sendmail_redirect(r, "before")


def test_sendmail_redirected_behind(r):
    check_sendmail_redirect(r, "behind")


def check_sendmail_one_mailbox(r, kind):
    """Check that a recipient that resolves to the same mailbox as a deleted one still gets its mail."""
    t = sendmail_tower(r, milter_socket=kind)
    t.send(["team@one.test", "team@two.test"], message("mailbox"))
    t.settle()
    assert [txn.addrs for txn in by_subject(t.mailbox.accepted, "mailbox")] == [["team@example.net"]]
    assert [txn.addrs for txn in by_subject(t.taps["secondary"].accepted, "mailbox")] == [["team@one.test"]]


def test_sendmail_one_mailbox_unix(r):
    check_sendmail_one_mailbox(r, "unix")


def test_sendmail_one_mailbox_inet(r):
    check_sendmail_one_mailbox(r, "inet")


if __name__ == "__main__":
    rig.main()

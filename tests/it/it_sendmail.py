#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The split through a real Sendmail: the tests of it_split.py, and tests of what is special in Sendmail."""

import signal

import rig
from rig.split_scenarios import (  # noqa: F401
    CANONICAL,
    COPIES,
    FILTERS,
    by_subject,
    message,
    test_six_recipients,
    test_log_lines,
    test_tag_domain_is_closed,
    test_address_that_cannot_carry_a_tag,
    test_two_that_become_one,
    test_many_messages_in_one_session,
    test_unusual_addresses,
)


TAG_DOMAIN = "split.invalid"
LOCAL = """\
LOCAL_DOMAIN(`one.test')dnl
LOCAL_DOMAIN(`two.test')dnl
"""
MORE_FILTERS = """\
team@one.test       secondary
team@two.test       none
"""


def setup(r):
    return rig.SendmailTower(r, CANONICAL, FILTERS + MORE_FILTERS, COPIES, front_main=LOCAL)


def delivered(t, subject):
    """{address: filters passed} at the mailbox. Each recipient may occur once only."""
    found = {}
    for txn in by_subject(t.mailbox.accepted, subject):
        for address in txn.addrs:
            assert address not in found, f"{address} was delivered twice"
            found[address] = txn.headers("X-Filtered-By")
    return found


def wait_delivered(t, subject, count):
    """delivered(), as soon as it has `count` recipients."""
    return rig.wait_for(
        lambda: len(delivered(t, subject)) >= count and delivered(t, subject), 20, f"{count} recipients", t.mailbox.describe
    )


def bounces(t):
    """The messages with the null sender that Sendmail itself made."""
    return [txn for txn in t.bounces() if b"The text of session" not in txn.data]


def wait_queued(t, expected):
    """Wait until the front's queue holds these recipients and no others."""
    rig.wait_for(
        lambda: t.front.queued_recipients() == sorted(expected), 20, f"{expected} in the queue", lambda: t.front.run("-bp")
    )


def reload_milter(t, change):
    """Change the text of the milter's configuration, and reload it."""
    reloads = len(t.milter.log_lines("configuration reloaded"))
    with open(t.milter.configuration_path, "w", encoding="utf-8") as f:
        f.write(change(t.configuration))
    t.milter.signal(signal.SIGUSR1)
    t.milter.wait_log("configuration reloaded", count=reloads + 1)


def test_routes(t):
    """The mailertable resolves suffixes to their mailers, and unknown suffixes to splitnoroute; other domains are not affected."""
    for name in ("secondary", "primary"):
        mailer, host, user = t.front.resolve(f"John.Doe+x@Example.com.{name}.filter.{TAG_DOMAIN}")
        assert mailer == f"splitsmtp{t.taps[name].address[1]}" and host == "[127.0.0.1]", (mailer, host)
        assert user == "John.Doe+x@Example.com", user
    x = t.front.resolve(f"a@b.test.archive.copy.{TAG_DOMAIN}")
    assert x == ("splitcopy", "[127.0.0.1]", f"a@b.test.archive.copy.{TAG_DOMAIN}"), x
    assert t.front.resolve(f"a@b.test.gone.filter.{TAG_DOMAIN}")[0] == "splitnoroute"
    assert t.front.resolve(f"a@{TAG_DOMAIN}.test")[0] == "esmtp"


def test_tag_domain_is_closed_on_every_port(t):
    """Sendmail itself refuses every address that it can read as one in the tag domain, as a recipient and as a sender, also at the
    port without milter."""
    closed = (
        f"anna@example.com.secondary.filter.{TAG_DOMAIN}",
        f"anna@EXAMPLE.com.archive.copy.{TAG_DOMAIN.upper()}",
        f"anna@{TAG_DOMAIN}",
        f"anna%example.com.archive.copy.{TAG_DOMAIN}@one.test",
        f"example.com.archive.copy.{TAG_DOMAIN}!anna",
        f"@one.test:anna@example.com.archive.copy.{TAG_DOMAIN}",
    )
    for port in (t.front.address, t.reinject):
        with rig.SmtpClient(port) as c:
            for address in closed:
                reply = c.mail(address)
                assert reply.code == 550 and reply.lines[0].startswith("5.7.1"), f"MAIL {address}: {reply}"
            assert c.mail("s@sender.test").code == 250
            for address in closed:
                reply = c.rcpt(address)
                assert reply.code == 550 and reply.lines[0].startswith("5.7.1"), f"RCPT {address}: {reply}"
            assert c.rcpt("anna@example.com").code == 250


def test_filter_down(t):
    """While a filter is down only its recipients wait. They pass it when it is up again, also after a restart of everything
    else."""
    t.filters["secondary"].stop()
    t.send(["anna@example.com", "BEN@EXAMPLE.COM", "carl@example.com", "emil@example.com"], message("down"))
    assert wait_delivered(t, "down", 2) == {"carl@example.com": ["primary"], "emil@example.com": []}
    waiting = [f"anna@example.com.secondary.filter.{TAG_DOMAIN}", f"BEN@EXAMPLE.COM.secondary.filter.{TAG_DOMAIN}"]
    wait_queued(t, waiting)
    for sink in t.backups.values():
        rig.wait_for(lambda s=sink: by_subject(s.accepted, "down"), 20, f"the copy at {sink.name}")
    t.front.stop()
    t.milter.stop()
    t.relay.stop()
    assert t.front.queued_recipients() == sorted(waiting), t.front.queued_recipients()
    t.start_relay()
    t.start_milter()
    t.front.start()
    wait_queued(t, waiting)
    t.filters["secondary"].start()
    t.settle()
    assert delivered(t, "down") == {
        "carl@example.com": ["primary"],
        "emil@example.com": [],
        "anna@example.com": ["secondary"],
        "BEN@EXAMPLE.COM": ["secondary"],
    }, delivered(t, "down")
    assert not bounces(t), bounces(t)


def test_dead_milter(t):
    """Without splitmilter clients get 451, and no mail passes unfiltered. Filters can still give mail back."""
    t.milter.stop()
    with rig.SmtpClient(t.front.address) as c:
        reply = c.mail("s@sender.test")
        assert reply.code == 451, reply
    rig.send(t.reinject, "s@sender.test", ["anna@example.com"], message("reinjected"))
    assert wait_delivered(t, "reinjected", 1) == {"anna@example.com": []}
    t.start_milter()
    t.send(["anna@example.com"], message("alive"))
    assert wait_delivered(t, "alive", 1) == {"anna@example.com": ["secondary"]}


def test_milter_dies_in_the_middle(t):
    """If splitmilter dies within a message, the message gets 451."""
    with rig.SmtpClient(t.front.address) as c:
        assert c.mail("s@sender.test").code == 250
        assert c.rcpt("anna@example.com").code == 250
        t.milter.kill()
        reply = c.data(message("middle"))
        assert reply.code == 451, reply
    t.start_milter()
    t.settle()
    assert not delivered(t, "middle")


def test_dead_splitrelay(t):
    """Without splitrelay copies wait in Sendmail's queue, and the mail is delivered."""
    t.relay.stop()
    t.send(["ida@example.com", "frida@example.com"], message("norelay"))
    assert wait_delivered(t, "norelay", 2) == {"ida@example.com": ["primary"], "alias123@application.com": []}
    wait_queued(
        t,
        [
            f"ida@example.com.archive.copy.{TAG_DOMAIN}",
            f"frida@example.com.archive.copy.{TAG_DOMAIN}",
            f"frida@example.com.newmail.copy.{TAG_DOMAIN}",
        ],
    )
    t.start_relay()
    t.settle()
    expected = {"archive": ["frida@example.com", "ida@example.com"], "newmail": ["frida@example.com"]}
    for name, addresses in expected.items():
        copies = rig.wait_for(lambda n=name: by_subject(t.backups[n].accepted, "norelay"), 20, f"the copy at {name}")
        assert sorted(x.addr for txn in copies for x in txn.rcpts) == addresses, copies
        assert all("NOTIFY=NEVER" in x.params for txn in copies for x in txn.rcpts), copies
    assert not bounces(t), bounces(t)


def test_suffix_without_route(t):
    """Mail for a filter that is missing in the mailertable waits until it is added, and does not bounce."""
    t.front.set_mailertable("".join(ln for ln in t.mailertable.splitlines(True) if not ln.startswith(".secondary")))
    t.send(["anna@example.com", "dora@example.com"], message("noroute"))
    assert wait_delivered(t, "noroute", 1) == {"dora@example.com": ["primary"]}
    t.front.wait_log(r"mailer=splitnoroute.*stat=Deferred")
    wait_queued(t, [f"anna@example.com.secondary.filter.{TAG_DOMAIN}"])
    t.front.set_mailertable(t.mailertable)
    t.settle()
    assert delivered(t, "noroute")["anna@example.com"] == ["secondary"]
    assert not bounces(t), bounces(t)


def test_header_method_is_refused(t):
    """With filter_method = "header" every recipient gets 451, and the log has the reason, because Sendmail does not use the
    header."""
    reload_milter(t, lambda text: text.replace("canonical_maps =", 'filter_method = "header"\n    canonical_maps ='))
    reply = t.rcpt_reply("dora@example.com")
    assert reply.code == 451 and reply.lines[0].startswith("4.3.5"), reply
    t.milter.wait_log(r'filter_method = "header" works with Postfix only')
    reload_milter(t, lambda text: text)
    assert t.rcpt_reply("dora@example.com").code == 250


def test_one_mailbox_in_two_domains(t):
    """If two recipients are the same local user for Sendmail, and splitmilter deletes one of them, the other is not lost."""
    for number, recipients in enumerate((["team@one.test", "team@two.test"], ["team@two.test", "team@one.test"])):
        t.send(recipients, message(f"team {number}"))
        t.settle()
        found = by_subject(t.mailbox.accepted, f"team {number}")
        assert all(txn.addrs == ["team@example.net"] for txn in found), found
        assert sorted(txn.headers("X-Filtered-By") for txn in found) == [[], ["secondary"]], found


def test_refused_recipient_takes_none_with_it(t):
    """An accepted recipient still gets the mail if splitmilter refuses another one that is the same for Sendmail, although
    Sendmail removes both."""
    with rig.SmtpClient(t.front.address) as c:
        for first, second in (("emil@example.com", "emil@example.com.."), ("team@two.test", "te(am@x.test)am@two.test")):
            assert c.mail("s@sender.test").code == 250
            assert c.rcpt(first, "NOTIFY=FAILURE").code == 250
            reply = c.rcpt(second)
            assert reply.code == 550, reply
            assert c.data(message(f"kept {first}")).code == 250
    t.settle()
    assert delivered(t, "kept emil@example.com") == {"emil@example.com": []}
    assert delivered(t, "kept team@two.test") == {"team@example.net": []}
    (rcpt,) = [x for txn in by_subject(t.mailbox.accepted, "kept emil@example.com") for x in txn.rcpts]
    assert "NOTIFY=FAILURE" in rcpt.params, rcpt


def test_comma_in_local_part(t):
    """Sendmail's own rules refuse an unquoted comma in a local part, because Sendmail would deliver to such a recipient even if a
    milter has refused it."""
    with rig.SmtpClient(t.front.address) as c:
        assert c.mail("s@sender.test").code == 250
        assert c.rcpt("emil@example.com").code == 250
        for address in ("a,%b@example.com", "x@y,%example.com", "a,+b@example.com"):
            reply = c.rcpt(address)
            assert reply.code == 553 and reply.lines[0].startswith("5.1.3"), reply
        assert c.rcpt('"a,%b"@example.com').code == 250
        assert c.rcpt("@a.test,@b.test:ben@example.com").code == 250
        assert c.data(message("comma")).code == 250
    t.settle()
    assert delivered(t, "comma") == {
        "emil@example.com": [],
        '"a,%b"@example.com': ["primary"],
        "ben@example.com": ["secondary"],
    }, delivered(t, "comma")


def test_recipient_that_sticks(t):
    """The whole message is refused if splitmilter refuses a recipient that Sendmail cannot remove from its list."""
    for path in ("<a\\,b@example.com>", "@a.test,@b.test:user@[192.0.2.1]"):
        with rig.SmtpClient(t.front.address) as c:
            assert c.mail("s@sender.test").code == 250
            assert c.rcpt("emil@example.com").code == 250
            reply = c.cmd(f"RCPT TO:{path}")
            assert reply.code == 550 and reply.lines[0].startswith("5.1.3"), reply
            reply = c.data(message("sticky"))
            assert reply.code == 550 and reply.lines[0].startswith("5.1.3"), reply
            assert c.mail("s@sender.test").code == 250
            assert c.rcpt("emil@example.com").code == 250
            assert c.data(message(f"next {path[-3]}")).code == 250
    t.settle()
    assert not delivered(t, "sticky"), t.mailbox.describe()
    assert delivered(t, "next o") == delivered(t, "next .") == {"emil@example.com": []}


def test_many_recipients(t):
    """The copy for 300 recipients goes to splitrelay in one transaction, and to the backup in one."""
    recipients = [f"user{n}@example.net" for n in range(300)]
    t.send(recipients, message("many"))
    t.settle()
    assert delivered(t, "many") == {a: ["primary"] for a in recipients}
    rig.wait_for(lambda: by_subject(t.backups["archive"].accepted, "many"), 20, "the copy")
    copies = by_subject(t.backups["archive"].accepted, "many")
    assert len(copies) == 1 and sorted(copies[0].addrs) == sorted(recipients), copies
    assert len(by_subject(t.taps["relay"].transactions, "many")) == 1


def test_content_of_copies(t):
    """A copy has the content that Sendmail queued, byte for byte, below the trace headers."""
    for number, body in enumerate(
        (
            b"8-bit: \xe4\xf6\xfc\xff\r\n",
            b"x" * 100000 + b"\r\n",
            b".\r\n..\r\n.x\r\n\r\n.\r\n",
            b"From here\r\n\ttabs and trailing space \r\n\r\n\r\n",
        )
    ):
        content = message(f"content {number}", "X-Odd:no space\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n") + body
        t.send(["ida@example.com"], content, mail_params="BODY=8BITMIME")
        (copy,) = rig.wait_for(lambda n=number: by_subject(t.backups["archive"].accepted, f"content {n}"), 20, "the copy")
        below = copy.data.split(b"X-Split-Copy:", 1)[1].split(b"\r\n", 1)[1]
        received, rest = below[: below.index(b"From: ")], below[below.index(b"From: ") :]
        assert received.startswith(b"Received: from client.test"), received
        assert rest == content, rest[:2000]


if __name__ == "__main__":
    rig.main()

# SPDX-License-Identifier: ISC
"""The tests that it_split.py (Postfix) and it_sendmail.py (Sendmail) share: splitmilter with a real MTA, on a tower t."""

import rig

CANONICAL = """\
frida@example.com   alias123@application.com
hans@example.com    gero@example.com
"""
FILTERS = """\
anna@example.com    secondary
ben@example.com     secondary
emil@example.com    none
frida@example.com   none
gero@example.com    none
hans@example.com    none
*                   primary
"""
COPIES = """\
anna@example.com    archive, newmail
carl@example.com    archive newmail
frida@example.com   archive, newmail
ida@example.com     archive
example.net         archive
"""


def message(subject, more=""):
    return f"From: a@sender.test\r\nSubject: {subject}\r\n{more}\r\nThe text of {subject}.\r\n".encode()


def by_subject(transactions, subject):
    return [t for t in transactions if subject in t.headers("Subject")]


def words(transactions):
    """{address: sorted ESMTP words} of all recipients."""
    return {x.addr: sorted(x.params) for t in transactions for x in t.rcpts}


def test_six_recipients(t):
    """One message to six recipients: each passes its own filter or none, one gets its new address, and three have copies at two
    backups."""
    recipients = [
        ("anna@example.com", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Anna+2Bold@sender.test"),
        "ben@example.com",
        ("carl@example.com", "NOTIFY=NEVER"),
        "dora@example.com",
        "emil@example.com",
        "frida@example.com",
    ]
    content = message("six")
    t.send(recipients, content, mail_params="RET=HDRS ENVID=x42")
    t.mailbox.wait_recipients(6)
    for sink in t.backups.values():
        sink.wait_recipients(3)
    t.settle()

    second, first = by_subject(t.taps["secondary"].transactions, "six"), by_subject(t.taps["primary"].transactions, "six")
    assert words(second) == {
        "anna@example.com": ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Anna+2Bold@sender.test"],
        "ben@example.com": ["ORCPT=rfc822;ben@example.com"],
    }, second
    assert words(first) == {
        "carl@example.com": ["NOTIFY=NEVER", "ORCPT=rfc822;carl@example.com"],
        "dora@example.com": ["ORCPT=rfc822;dora@example.com"],
    }, first
    for txn in second + first:
        assert txn.sender == "s@sender.test" and "RET=HDRS" in txn.mail_params, txn.mail_params

    delivered = {}
    for txn in by_subject(t.mailbox.accepted, "six"):
        for rcpt in txn.rcpts:
            assert rcpt.addr not in delivered, f"{rcpt.addr} was delivered twice"
            delivered[rcpt.addr] = (txn.headers("X-Filtered-By"), sorted(rcpt.params))
    assert delivered == {
        "anna@example.com": (["secondary"], ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Anna+2Bold@sender.test"]),
        "ben@example.com": (["secondary"], ["ORCPT=rfc822;ben@example.com"]),
        "carl@example.com": (["primary"], ["NOTIFY=NEVER", "ORCPT=rfc822;carl@example.com"]),
        "dora@example.com": (["primary"], ["ORCPT=rfc822;dora@example.com"]),
        "emil@example.com": ([], ["ORCPT=rfc822;emil@example.com"] if t.makes_orcpt else []),
        "alias123@application.com": ([], ["ORCPT=rfc822;frida@example.com"]),
    }, delivered

    for name, sink in t.backups.items():
        copies = by_subject(sink.accepted, "six")
        assert len(copies) == 1, sink.describe()
        assert copies[0].sender == "s@sender.test"
        assert words(copies) == {
            "anna@example.com": ["NOTIFY=NEVER", "ORCPT=rfc822;Anna+2Bold@sender.test"],
            "carl@example.com": ["NOTIFY=NEVER", "ORCPT=rfc822;carl@example.com"],
            "frida@example.com": ["NOTIFY=NEVER", "ORCPT=rfc822;frida@example.com"],
        }, copies
        assert copies[0].data.endswith(b"\r\n" + content), copies[0].data
        trace = copies[0].headers("X-Split-Copy")
        assert len(trace) == 1 and f"destination={name};" in trace[0] and "host=relay.test" in trace[0], trace
        assert copies[0].data.startswith(b"Received:"), copies[0].data[:100]
    assert not t.bounces(), t.bounces()


def test_log_lines(t):
    """Both daemons log one line for each recipient, in the form that the manual shows."""
    t.send(["anna@example.com", "frida@example.com"], message("log"))
    for sink in t.backups.values():
        rig.wait_for(lambda s=sink: by_subject(s.accepted, "log"), 20, f"a copy at {sink.name}")
    t.milter.wait_log(r"[0-9A-Za-z]+: to=<anna@example\.com>, filter=secondary, copy=archive,newmail$")
    t.milter.wait_log(r"[0-9A-Za-z]+: to=<frida@example\.com>, canonical=<alias123@application\.com>,.* copy=archive,newmail$")
    t.relay.wait_log(rf"from=<s@sender\.test>, size=\d+, nrcpt=2, dest=archive, queue_id={t.queue_id()}, message-id=<[^>]*> \(queued\)")
    t.relay.wait_log(
        r"[0-9A-Za-z]+: to=<anna@example\.com>, dest=newmail, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, (conn_use=\d+, )?"
        r"delay=[\d.]+, delays=[\d./]+, dsn=2\.0\.0, status=sent \(250 2\.0\.0 Ok\)"
    )


def test_tag_domain_is_closed(t):
    """A client gets 550 for every recipient in the tag domain, in any case of letters, also for an existing filter."""
    for address in (
        "anna@example.com.secondary.filter.split.invalid",
        "anna@example.com.archive.copy.split.invalid",
        "anna@EXAMPLE.com.archive.copy.SPLIT.Invalid",
        "anna@split.invalid",
    ):
        reply = t.rcpt_reply(address)
        assert reply.code == 550 and reply.lines[0].startswith("5.7.1"), f"{address}: {reply}"
    assert t.rcpt_reply("anna@example.com").code == 250


def test_address_that_cannot_carry_a_tag(t):
    """A recipient that needs a filter gets 550 if its address cannot have a suffix: an address literal, or a long domain."""
    reply = t.rcpt_reply("user@[192.0.2.1]")
    assert reply.code == 550 and reply.lines[0].startswith("5.1.3"), reply
    long_domain = ".".join(["a" * 60] * 4)
    reply = t.rcpt_reply(f"user@{long_domain}")
    assert reply.code == 550 and reply.lines[0].startswith("5.1.3"), reply


def test_two_that_become_one(t):
    """Two recipients that have the same final address get one message."""
    t.send(["hans@example.com", "gero@example.com"], message("one"))
    rig.wait_for(lambda: by_subject(t.mailbox.accepted, "one"), 20, "the message")
    t.settle()
    found = by_subject(t.mailbox.accepted, "one")
    assert [x.addr for txn in found for x in txn.rcpts] == ["gero@example.com"], found


def test_many_messages_in_one_session(t):
    """No state of a message, or of an aborted one, has an effect on the next message of the session."""
    with rig.SmtpClient(t.front.address) as c:
        assert c.mail("s@sender.test").code == 250
        assert c.rcpt("ida@example.com").code == 250
        assert c.cmd("RSET").code == 250
        for number in range(3):
            assert c.mail("").code == 250
            assert c.rcpt(("ben@example.com", "emil@example.com", "ida@example.com")[number]).code == 250
            assert c.data(message(f"session {number}")).code == 250
        c.quit()
    rig.wait_for(lambda: by_subject(t.backups["archive"].accepted, "session 2"), 20, "the copy of the third message")
    t.settle()
    for number, (address, passed) in enumerate(
        [("ben@example.com", ["secondary"]), ("emil@example.com", []), ("ida@example.com", ["primary"])]
    ):
        found = by_subject(t.mailbox.accepted, f"session {number}")
        assert [(txn.sender, txn.addrs, txn.headers("X-Filtered-By")) for txn in found] == [("", [address], passed)], found
    assert not by_subject(t.backups["archive"].accepted, "session 0")
    assert not by_subject(t.backups["archive"].accepted, "session 1")


def test_unusual_addresses(t):
    """Quoted local parts and address extensions are the same after a suffix was added and removed."""
    recipients = ['"two words"@example.com', "carl+ext@example.com", "\"a.b@c\"@example.com", "o'hara=x@example.com"]
    t.send(recipients, message("unusual"))
    rig.wait_for(
        lambda: sum(len(x.rcpts) for x in by_subject(t.mailbox.accepted, "unusual")) >= 4, 20, "all four", t.mailbox.describe
    )
    t.settle()
    found = by_subject(t.mailbox.accepted, "unusual")
    assert sorted(x.addr for txn in found for x in txn.rcpts) == sorted(recipients), found
    assert all(txn.headers("X-Filtered-By") == ["primary"] for txn in found), found

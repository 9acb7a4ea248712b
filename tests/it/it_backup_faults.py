#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A backup that misbehaves delays neither the mail nor the other backup. Its copy arrives when it works again."""

import os

import rig

COPIES = """\
anna@example.com    archive, newmail
ben@example.com     archive, newmail
carl@example.com    archive, newmail
"""
SHORT = '    command_timeout = "2s"\n    connect_timeout = "2s"\n    max_age = "1h"\n'
DEFAULTS = '    concurrency = 5\n    retry_min = "1s"\n    retry_max = "1s"\n'

# name of the fault -> {stage: answer of the backup}. No such fault may lose the copy.
TEMPORARY = {
    "421 as greeting": {"connect": "421 4.3.2 busy"},
    "554 as greeting": {"connect": "554 5.3.2 not now"},
    "closed on connect": {"connect": rig.CLOSE},
    "hung on connect": {"connect": rig.HANG},
    "4xx to EHLO": {"helo": "451 4.3.0 later"},
    "4xx to MAIL": {"mail": "451 4.3.0 later"},
    "hung at MAIL": {"mail": rig.HANG},
    "4xx to RCPT": {"rcpt": "450 4.2.1 later"},
    "closed at RCPT": {"rcpt": rig.CLOSE},
    "4xx to DATA": {"data": "451 4.3.0 later"},
    "closed at DATA": {"data": rig.CLOSE},
    "closed before the dot": {"body": rig.CLOSE},
    "4xx to the dot": {"dot": "451 4.3.0 later"},
    "closed after the dot": {"dot": rig.CLOSE},
    "hung after the dot": {"dot": rig.HANG},
    "garbage after the dot": {"dot": "what a lovely message"},
    "421 after the dot": {"dot": "421 4.3.2 going down"},
}


def setup(r):
    return rig.Tower(
        r,
        "",
        "* none\n",
        COPIES,
        destinations={"archive": SHORT, "newmail": SHORT},
        destination_defaults=DEFAULTS,
    )


def with_subject(sink, subject):
    return [x for x in sink.accepted if subject in x.headers("Subject")]


def wait_subject(sink, subject, seconds=20):
    return rig.wait_for(lambda: with_subject(sink, subject), seconds, f"{subject} at {sink.name}", sink.describe)


def send(t, subject, recipients=("anna@example.com",)):
    t.send(list(recipients), f"Subject: {subject}\r\n\r\nx\r\n".encode())


def test_each_temporary_fault(t):
    """During each temporary fault of a backup, the mail and the other copy arrive; afterwards this copy arrives, too."""
    sick = t.backups["archive"]
    for subject, answers in TEMPORARY.items():
        met = []

        def hook(stage, _conn, _arg, answers=answers, met=met):
            if stage in answers:
                met.append(stage)
            return answers.get(stage)

        sick.hook = hook
        sick.cut()
        send(t, subject)
        wait_subject(t.mailbox, subject)
        wait_subject(t.backups["newmail"], subject)
        rig.wait_for(lambda met=met: met, 20, f"the fault {subject}", t.relay.log)
        assert not with_subject(sick, subject)
        sick.hook = None
        sick.cut()
        wait_subject(sick, subject)
    assert not t.bounces(), t.bounces()
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    assert not t.spooled("dead")


def test_backup_down(t):
    """If a backup refuses connections, the copy waits, the log has the reason, and it is delivered when the backup is up."""
    sick = t.backups["archive"]
    sick.stop()
    send(t, "down")
    wait_subject(t.mailbox, "down")
    wait_subject(t.backups["newmail"], "down")
    t.relay.wait_log(r"dest=archive, relay=\S+, .*status=deferred \(.*[Cc]onnection refused")
    rig.wait_for(lambda: len(t.spooled()) == 1, 10, "the copy of newmail to be gone, that of archive to wait")
    sick.start()
    wait_subject(sick, "down")


def test_refused_for_good(t):
    """After 5xx to a recipient or to the content the copy is in the dead-letter queue, is not tried again, and nothing is sent to
    the sender."""
    sick = t.backups["archive"]
    refused = "550 5.1.1 unknown"
    sick.hook = lambda stage, _c, arg: refused if stage == "rcpt" and "ben@" in arg else None
    send(t, "one refused", ["anna@example.com", "ben@example.com"])
    assert wait_subject(sick, "one refused")[0].addrs == ["anna@example.com"]
    t.relay.wait_log(r"to=<ben@example\.com>, dest=archive, .*dsn=5\.1\.1, status=dead \(.*550 5\.1\.1 unknown")
    rig.wait_for(lambda: len(t.spooled("dead")) == 1, 10, "the dead copy")

    tries = []
    sick.hook = lambda stage, _c, _a: tries.append(1) or "554 5.6.0 no such content" if stage == "dot" else None
    send(t, "content refused")
    t.relay.wait_log(r"to=<anna@example\.com>, dest=archive, .*status=dead \(.*554 5\.6\.0")
    rig.wait_for(lambda: len(t.spooled("dead")) == 2, 10, "two dead copies")
    sick.hook = None
    send(t, "afterwards")
    wait_subject(sick, "afterwards")
    assert len(tries) == 1 and not with_subject(sick, "content refused")
    wait_subject(t.backups["newmail"], "content refused")
    rig.wait_for(lambda: not t.spooled(), 20, "an empty spool")
    assert not t.bounces()


def test_each_recipient_its_own_fate(t):
    """If one transaction has an accepted, a deferred and a refused recipient, only the deferred one is tried again."""
    sick = t.backups["archive"]
    replies = {"anna@": None, "ben@": "450 4.2.2 full", "carl@": "551 5.7.1 no"}

    def hook(stage, _conn, arg):
        if stage == "rcpt":
            return next(reply for name, reply in replies.items() if name in arg)
        return None

    sick.hook = hook
    dead = len(t.spooled("dead"))
    send(t, "fates", ["anna@example.com", "ben@example.com", "carl@example.com"])
    assert wait_subject(sick, "fates")[0].addrs == ["anna@example.com"]
    t.relay.wait_log(r"to=<ben@example\.com>, dest=archive, .*dsn=4\.2\.2, status=deferred")
    t.relay.wait_log(r"to=<carl@example\.com>, dest=archive, .*status=dead \(.*551 5\.7\.1")
    replies["ben@"] = None
    rig.wait_for(lambda: len(with_subject(sick, "fates")) == 2, 20, "ben's copy")
    assert [x.addrs for x in with_subject(sick, "fates")] == [["anna@example.com"], ["ben@example.com"]]
    rig.wait_for(lambda: len(t.spooled("dead")) == dead + 1, 10, "carl's copy among the dead")
    sick.hook = None


def test_slow_bytes_of_one_backup(t):
    """A backup that hangs does not delay a hundred copies for the other backup."""
    t.backups["archive"].hook = lambda stage, _c, _a: rig.HANG if stage == "mail" else None
    before = len(t.backups["newmail"].accepted)
    rig.smtp_source(t.front.address, 100, sessions=5, size=500, recipient="anna@example.com")
    t.backups["newmail"].wait(before + 100)
    t.backups["archive"].hook = None
    t.backups["archive"].cut()
    rig.wait_for(lambda: not t.spooled(), 40, "an empty spool")
    assert not t.bounces()


def full_spool(r, leave, relay):
    spool = r.mount_tmpfs("small", "8M")
    t = rig.Tower(r, "", "* none\n", COPIES, spool=os.path.join(spool, "spool"), relay=relay, destination_defaults=DEFAULTS)
    filler = rig.fill_disk(spool, leave)
    t.send(["anna@example.com"], b"Subject: full\r\n\r\n" + (b"x" * 98 + b"\r\n") * 5000)
    wait_subject(t.mailbox, "full")
    t.front.wait_log(r"to=<anna@example\.com\.archive\.copy\.split\.invalid>.*status=deferred .*452 4\.3\.1")
    assert not t.backups["archive"].accepted
    os.unlink(filler)
    wait_subject(t.backups["archive"], "full")
    wait_subject(t.backups["newmail"], "full")
    t.settle()
    assert not t.bounces()


def with_own_rig(function):
    """For tests that need a tower of their own, on a small file system."""

    def test(t):
        r = rig.Rig(t.rig.session, function.__name__)
        try:
            function(r)
        finally:
            wrong = r.close()
        assert not wrong, wrong

    test.__name__ = function.__name__
    test.__doc__ = function.__doc__
    return test


@with_own_rig
def test_no_space_left(r):
    """If the disk is full within a message, the reply is 452, and Postfix keeps the copy and sends it later."""
    full_spool(r, 100 * 1024, '    min_free_space = "1k"\n')


@with_own_rig
def test_less_than_min_free_space(r):
    """If a message would leave less than min_free_space, the reply is 452, although the message would fit."""
    full_spool(r, 2 * 1024 * 1024, '    min_free_space = "4M"\n')


if __name__ == "__main__":
    rig.main(timeout=180)

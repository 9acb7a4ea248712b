#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""./dev run: starts a whole mail system on this machine, sends some messages, and shows where each recipient arrived.

Everything is in one temporary directory and on loopback ports, and is removed afterwards. Exit status 0: all recipients
arrived where the tables send them.
"""

import argparse
import os
import re
import signal
import sys
import time

import rig
from rig.tower import BACKUPS

CANONICAL = "frida@example.com alias123@application.com\n"
FILTERS = """\
anna@example.com    secondary
ben@example.com     smtp:{secondary}
emil@example.com    none
frida@example.com   none
*                   primary
"""
COPIES = """\
anna@example.com    archive, newmail
carl@example.com    archive, newmail
frida@example.com   archive, newmail
"""

# recipient -> (filter passed, final address, copies)
SIX = {
    "anna@example.com": ("secondary", "anna@example.com", ("archive", "newmail")),
    "ben@example.com": ("secondary", "ben@example.com", ()),
    "carl@example.com": ("primary", "carl@example.com", ("archive", "newmail")),
    "dora@example.com": ("primary", "dora@example.com", ()),
    "emil@example.com": ("none", "emil@example.com", ()),
    "frida@example.com": ("none", "alias123@application.com", ("archive", "newmail")),
}
MESSAGES = (
    ("Six recipients", SIX),
    (
        "An extension, and upper case",
        {
            "anna+lists@example.com": ("primary", "anna+lists@example.com", ()),
            "ANNA@example.com": ("secondary", "ANNA@example.com", ("archive", "newmail")),
        },
    ),
    (
        "Two that need nothing special",
        {"gero@example.com": ("primary", "gero@example.com", ()), "emil@example.com": ("none", "emil@example.com", ())},
    ),
)


def original(rcpt):
    """The address in the ORCPT parameter of a recipient, or the recipient's address if it has none."""
    for word in rcpt.params:
        if word.upper().startswith("ORCPT=RFC822;"):
            return re.sub(r"\+([0-9A-F]{2})", lambda m: chr(int(m.group(1), 16)), word.split(";", 1)[1])
    return rcpt.addr


def observe(tower, subject):
    """What the sinks recorded of a message: {original recipient: [(filter, final address)]} of the mail, and
    {original recipient: [destination]} of the copies."""
    delivered, copied = {}, {}
    for txn in tower.mailbox.transactions:
        if subject in txn.headers("Subject"):
            passed = ",".join(reversed(txn.headers("X-Filtered-By"))) or "none"
            for rcpt in txn.rcpts:
                delivered.setdefault(original(rcpt), []).append((passed, rcpt.addr))
    for name in BACKUPS:
        for txn in tower.backups[name].transactions:
            if subject in txn.headers("Subject"):
                for rcpt in txn.rcpts:
                    copied.setdefault(original(rcpt), []).append(name)
    return delivered, copied


def expected_counts(messages):
    mailbox = sum(len(rcpts) for _, rcpts in messages)
    copies = sum(len(e[2]) for _, rcpts in messages for e in rcpts.values())
    return mailbox, copies


def arrived(tower, messages):
    """Return true if the sinks have got as many recipients as the messages should cause."""
    mailbox, copies = expected_counts(messages)
    got_mail = sum(len(t.rcpts) for t in tower.mailbox.transactions)
    got_copies = sum(len(t.rcpts) for sink in tower.backups.values() for t in sink.transactions)
    return got_mail >= mailbox and got_copies >= copies


def show(tower, number, subject, expected):
    """Print a table for one message. Returns the number of lines that are not as expected."""
    delivered, copied = observe(tower, subject)
    wrong = 0
    print(f"\nMessage {number}: {subject}")
    print(f"  {'recipient':25} {'filter passed':15} {'final address':27} {'copies':18}")
    for rcpt in [*expected, *sorted((set(delivered) | set(copied)) - set(expected))]:
        seen = delivered.get(rcpt, [("-", "not delivered")])
        copies = sorted(copied.get(rcpt, []))
        good = False
        if rcpt in expected:
            passed, final, destinations = expected[rcpt]
            good = seen == [(passed, final)] and copies == sorted(destinations)
        wrong += not good
        print(
            f"  {rcpt:25} {' + '.join(f for f, _ in seen):15} {' + '.join(a for _, a in seen):27}"
            f" {', '.join(copies) or '-':18} {'ok' if good else 'NOT AS EXPECTED'}"
        )
    return wrong


def explain(tower, started):
    front = f"{tower.front.address[0]}:{tower.front.address[1]}"
    print(f"\nRunning in {tower.rig.directory} (started in {started:.1f} s). Send to it, from another shell:")
    print(f"  swaks --server {front} --from you@sender.test --to anna@example.com,frida@example.com")
    conf = tower.configuration_path
    print(f"  {rig.program('splitctl')} -c {conf} explain anna@example.com")
    print(f"  {rig.program('splitctl')} -c {conf} queue")
    print("What arrived:")
    for sink in (tower.mailbox, *tower.backups.values()):
        print(f"  {sink.name:8} {sink.directory}/")
    print("Tables, which are read anew when they change after `splitctl reload` (or kill -USR1):")
    print(f"  {', '.join(tower.tables.values())}")
    print("Logs:")
    for daemon in (tower.milter, tower.relay):
        print(f"  {daemon.name:12} pid {daemon.pid:<7} {daemon.log_path}")
    for instance in tower.instances:
        print(f"  {'postfix-' + instance.name:20}  {instance.maillog}")
    print("Ctrl-C ends it all.", flush=True)


def follow(tower):
    """Print the daemons' log lines until interrupted."""
    files = [open(d.log_path, encoding="utf-8", errors="replace") for d in (tower.milter, tower.relay)]
    for f in files:
        f.seek(0, os.SEEK_END)
    while True:
        for f in files:
            for line in f:
                print(line.rstrip("\n"), flush=True)
        for daemon in (tower.milter, tower.relay):
            if not daemon.running:
                raise rig.Failure(f"{daemon.name} ended with {daemon.popen.returncode}")
        time.sleep(0.3)


def make_tower(r):
    """The tower with instances of postmulti(1), or with single ones where that is not possible."""
    make_postfix = rig.MultiPostfix
    try:
        rig.PostMulti(r)
    except rig.Skip as e:
        print(f"(postmulti left out, instances are made one by one: {e})")
        make_postfix = rig.Postfix

    def make_sink(owner, name):
        return rig.SmtpSink(owner, name, dump=True)

    tower = rig.Tower(r, canonical=CANONICAL, copies=COPIES, make_sink=make_sink, make_postfix=make_postfix, start=False)
    tower.set_table("filter", FILTERS.format(secondary=tower.taps["secondary"].bracketed))
    tower.start()
    return tower


def demo(r, keep):
    start = time.monotonic()
    tower = make_tower(r)
    started = time.monotonic() - start
    for number, (subject, expected) in enumerate(MESSAGES, 1):
        content = f"From: alice@sender.test\r\nSubject: {subject}\r\nMessage-Id: <{number}@sender.test>\r\n\r\nHello.\r\n"
        tower.send(list(expected), content.encode(), sender="alice@sender.test", mail_params="RET=HDRS")
    try:
        rig.wait_for(lambda: arrived(tower, MESSAGES), 30, "all messages and copies")
        tower.settle(20)
    except rig.Failure as e:
        print(f"NOT AS EXPECTED: {e}")
    print("client -> postfix-front (splitmilter) -> filter instances -> postfix-out -> mailboxes;  copies -> splitrelay -> backups")
    wrong = sum(show(tower, n, subject, expected) for n, (subject, expected) in enumerate(MESSAGES, 1))
    if tower.bounces():
        print("NOT AS EXPECTED: somebody got a bounce")
        wrong += 1
    recipients, copies = expected_counts(MESSAGES)
    if wrong:
        r.print_logs(40)
    verdict = f"{wrong} NOT AS EXPECTED" if wrong else "all as the tables say"
    print(f"\n{len(MESSAGES)} messages, {recipients} recipients, {copies} copies: {verdict}.")
    if keep:
        explain(tower, started)
        follow(tower)
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev run", description="Start a private mail system and show the split.")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C, and say how to use it")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts a background process with SIGINT ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _f: sys.exit(128 + n))
    try:
        rig.need_root()
        rig.need_tools("postfix", "postmulti", "smtp-sink")
        for name in ("splitmilter", "splitrelay", "splitctl"):
            rig.program(name)
    except rig.Skip as e:
        sys.exit(f"cannot run: {e}")
    session = rig.Session("demo")
    r = rig.Rig(session, "demo")
    status = 1
    try:
        status = demo(r, options.keep)
    except KeyboardInterrupt:
        print("\nending it all")
        status = 0 if options.keep else 130
    except (rig.Failure, rig.Skip, rig.SmtpError) as e:
        print(f"FAILED: {e}")
        r.print_logs(40)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for text in r.close():
            print(text)
            status = status or 1
        session.close()
    sys.exit(status)


if __name__ == "__main__":
    main()

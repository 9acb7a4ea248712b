#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""unless_header and max_size of a destination: what is skipped is not delivered, and is in the log, the metrics, the history and the
answers of splitctl with the condition that did it. Everything else is delivered."""

import json
import os
import re
import sys
import threading

import rig
from rig.daemons import accepts
from rig.duplicator import Duplicator, subjects
from rig.metrics import Page, parse_page
from rig.tower import DESTINATION, Tower

STAMP = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(rig.__file__)), "stamp.py")]
KILLS = int(os.environ.get("SPLIT_CONDITION_KILLS", "4"))
MESSAGES = int(os.environ.get("SPLIT_CONDITION_MESSAGES", "200"))

CONDITIONS = 'unless_header = { "X-Spam-Flag: YES", "X-Spam-Status: Yes, *", "Subject: *=?utf-8?q?Gewinn?=*" } max_size = "20k"\n'
FLAG = 'unless_header "X-Spam-Flag: YES"'
STATUS = 'unless_header "X-Spam-Status: Yes, *"'
SUBJECT = 'unless_header "Subject: *=?utf-8?q?Gewinn?=*"'
SIZE = r"max_size 20k: \d+ bytes"
LONG = "y" * 900
# Name, header below the first field, condition that skips the copy (a pattern; None: it is delivered), body.
CASES = (
    ("nothing", "To: x@y.test\n", None),
    ("flag", "X-Spam-Flag: YES\n", re.escape(FLAG)),
    ("case", "x-sPAM-fLAG: yes\n", re.escape(FLAG)),
    ("white space", "X-Spam-Flag: \t YES \t \n", re.escape(FLAG)),
    ("no white space", "X-Spam-Flag:YES\n", re.escape(FLAG)),
    ("another value", "X-Spam-Flag: NO\n", None),
    ("more than the value", "X-Spam-Flag: YES, really\n", None),
    ("a part of the value", "X-Spam-Flag: YE\n", None),
    ("empty", "X-Spam-Flag:\n", None),
    ("another name", "X-Spam-Flags: YES\nX-X-Spam-Flag: YES\n", None),
    ("folded", "X-Spam-Flag:\n\tYES\n", re.escape(FLAG)),
    ("folded twice", "X-Spam-Status: Yes,\n \tscore=9.1 required=6.3\n tests=[A=1,\n\tB=8.1]\n", re.escape(STATUS)),
    ("folded in a word", "X-Spam-Flag: Y\n ES\n", None),
    ("no continuation", "Comments: x\n X-Spam-Flag: YES\n", None),
    ("the second of two", "X-Spam-Flag: NO\nX-Spam-Flag: YES\n", re.escape(FLAG)),
    ("the first of two", "X-Spam-Flag: YES\nX-Spam-Flag: NO\n", re.escape(FLAG)),
    ("two conditions", "X-Spam-Status: Yes, score=7\nX-Spam-Flag: YES\n", re.escape(STATUS)),
    ("below the header", "To: x@y.test\n\nX-Spam-Flag: YES\n", None),
    ("behind what is no field", "this is no field\nX-Spam-Flag: YES\n", None),
    ("behind a field without name", ": x\nX-Spam-Flag: YES\n", None),
    ("encoded word", "Subject: Ihr =?UTF-8?Q?Gewinn?=!\n", re.escape(SUBJECT)),
    ("encoded otherwise", "Subject: Ihr =?utf-8?b?R2V3aW5u?=!\n", None),
    ("8-bit", "Subject: \u00fc =?utf-8?q?Gewinn?= \u00fc\n", re.escape(SUBJECT)),
    ("long field", "X-Spam-Status: Yes, score=9\n" + f" {LONG}\n" * 10, re.escape(STATUS)),
    ("long before", "X-Long: z\n" + f" {LONG}\n" * 10 + "X-Spam-Flag: YES\n", re.escape(FLAG)),
    ("many before", "".join(f"X-Many-{i}: NO\n" for i in range(500)) + "X-Spam-Flag: YES\n", re.escape(FLAG)),
    ("large", "To: x@y.test\n", SIZE, 30000),
    ("large and flag", "X-Spam-Flag: YES\n", re.escape(FLAG), 30000),
)


def content(number, header, body=10):
    lines = ("x" * 78 + "\r\n") * (body // 80)
    return f"X-Number: {number}\nMessage-ID: <{number}@test>\n{header}".replace("\n", "\r\n").encode() + f"\r\n{lines}text\r\n".encode()


def numbers(sink):
    return sorted(int(n) for t in sink.accepted for n in t.headers("X-Number"))


def history(r, daemon):
    _, out, _ = rig.run_splitctl(r, daemon.configuration_path, "history", "--json")
    return [json.loads(line) for line in out.splitlines()]


def start_tower(r, **options):
    t = Tower(
        r,
        short=True,
        start=False,
        copies="* archive, newmail\n",
        filters_table="",
        destinations={"archive": CONDITIONS},
        destination_defaults=DESTINATION,
        **options,
    )
    t.start_relay(wrapper=STAMP)
    t.start_milter()
    t.front.start()
    return t


def check_trace(t, number, rcpt, pattern):
    """splitctl trace says where the copies of a message are."""
    logs = ("--log", t.front.maillog, "--log", t.relay.log_path)
    _, out, _ = rig.run_splitctl(t.rig, t.configuration_path, "trace", "--json", f"<{number}@test>", *logs)
    (answer,) = [json.loads(line) for line in out.splitlines()]
    assert answer["recipient"] == rcpt, answer
    states = {c["destination"]: (c["status"], c["reason"]) for c in answer["copies"]}
    assert states["newmail"][0] == "sent", answer
    if pattern is None:
        assert states["archive"][0] == "sent", answer
    else:
        assert states["archive"][0] == "skipped" and re.fullmatch(pattern, states["archive"][1]), answer


def check_explain(t, path, rcpt, pattern):
    """splitctl explain --message says the same."""
    _, out, _ = rig.run_splitctl(t.rig, t.configuration_path, "explain", "--json", "--message", path, rcpt)
    (condition,) = json.loads(out.splitlines()[0])["conditions"]
    assert condition["destination"] == "archive" and condition["max_size"] == 20480 and len(condition["unless_header"]) == 3, condition
    assert re.fullmatch(pattern or "", condition["skipped"]), (condition, pattern)


def test_table_of_cases(r):
    """Each case through a real Postfix: `archive` gets what it wants, newmail and the mailbox get everything."""
    port = r.free_port()
    t = start_tower(r, relay=f'metrics = "inet:{port}"')
    for number, (_, header, _, *body) in enumerate(CASES):
        assert t.send([f"user{number}@example.com"], content(number, header, *body), mail_params="BODY=8BITMIME").code == 250
    skipped = {n: case[2] for n, case in enumerate(CASES) if case[2] is not None}
    t.mailbox.wait(len(CASES))
    t.backups["newmail"].wait(len(CASES))
    t.settle()
    rig.wait_for(lambda: not t.spooled(), 20, "an empty queue", t.relay.log)
    assert numbers(t.backups["newmail"]) == numbers(t.mailbox) == list(range(len(CASES)))
    found = numbers(t.backups["archive"])
    assert found == [n for n in range(len(CASES)) if n not in skipped], [CASES[n][0] for n in set(found) ^ set(range(len(CASES))) - set(skipped)]
    assert not t.bounces() and not t.spooled("dead")

    events = [e for e in history(r, t.relay) if e["result"] == "skipped"]
    by_recipient = {e["recipients"]: e for e in events}
    assert len(events) == len(by_recipient) == len(skipped), events
    for n, pattern in skipped.items():
        rcpt = f"user{n}@example.com"
        event = by_recipient[rcpt]
        assert re.fullmatch(pattern, event["reply"]) and event["relay"] == "" and event["attempts"] == 0, (CASES[n][0], event)
        assert event["destination"] == "archive" and event["message_id"] == f"<{n}@test>" and event["sender"] == "s@sender.test", event
        head, line = t.relay.wait_log(f"{event['copy_id']}: ", count=2)
        assert f"dest=archive, queue_id={event['mta_queue_id']}, message-id=<{n}@test> (skipped)" in head, head
        assert f"size={event['message_size']}, nrcpt=1" in head, head
        tail = f": to=<{rcpt}>, dest=archive, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=skipped ({event['reply']})"
        assert line.endswith(tail), line
    for n in [i for i, case in enumerate(CASES) if case[0] in ("nothing", "flag", "folded twice", "large", "large and flag")]:
        check_trace(t, n, f"user{n}@example.com", skipped.get(n))
    for n, (_, header, _, *body) in enumerate(CASES):
        for end in (b"\r\n", b"\n"):
            path = r.write("message", "")
            with open(path, "wb") as f:
                f.write(content(n, header, *body).replace(b"\r\n", end))
            check_explain(t, path, f"user{n}@example.com", skipped.get(n))
    if parse_page is not None:
        now = Page(port).look()
        by_size = sum(p == SIZE for p in skipped.values())
        assert now["splitrelay_copies_skipped_total{condition=max_size,destination=archive}"] == by_size
        assert now["splitrelay_copies_skipped_total{condition=unless_header,destination=archive}"] == len(skipped) - by_size
        assert now["splitrelay_copies_total{destination=archive}"] == len(CASES) - len(skipped)
        assert now["splitrelay_copies_skipped_total{condition=max_size,destination=newmail}"] == 0


def explained(text):
    return re.findall(r"(?m)^  (condition|skipped) +(\S+) +\((.*)\)$", text)


def test_explain_without_message(r):
    """splitctl explain says which conditions there are. A message that cannot be read is an error."""
    text = (
        'milter { copy_maps = { "static:archive, newmail" } }\n'
        f"destination archive {{ relay_to = a {CONDITIONS} }}\ndestination newmail {{ relay_to = a }}\n"
    )
    path = r.write("splitmilter.conf", text)
    _, out, _ = rig.run_splitctl(r, path, "explain", "anna@example.com")
    words = '"X-Spam-Flag: YES", "X-Spam-Status: Yes, *", "Subject: *=?utf-8?q?Gewinn?=*", max_size 20k'
    assert explained(out) == [("condition", "archive", f"splitrelay looks at the message: unless_header {words}")], out
    _, out, _ = rig.run_splitctl(r, path, "explain", "--json", "anna@example.com")
    assert [c["skipped"] for c in json.loads(out.splitlines()[0])["conditions"]] == [None], out
    for header, word, why in (("To: x\n", "condition", "the message meets none"), ("X-Spam-Flag: YES\n", "skipped", FLAG)):
        _, out, _ = rig.run_splitctl(r, path, "explain", "--message", r.write("message", header + "\n.x\n..\n."), "anna@example.com")
        assert explained(out) == [(word, "archive", why)], out
    status, _, err = rig.run_splitctl(r, path, "explain", "--message", r.path("missing"), "anna@example.com", check=False)
    assert status == 69 and "missing: No such file" in err, (status, err)


class Relay:
    """splitrelay with a destination that has conditions, and one without."""

    def __init__(self, r, relay=""):
        self.rig = r
        self.sinks = {name: rig.Sink(r, name) for name in ("archive", "newmail")}
        self.spool = r.path("spool")
        self.address = ("127.0.0.1", r.free_port())
        os.mkdir(self.spool, 0o700)
        self.daemon = rig.start_splitrelay(r, self.text(CONDITIONS, relay), self.address)

    def text(self, conditions, relay=""):
        destinations = "".join(
            f'destination {n} {{ relay_to = {{ "{s.bracketed}" }} retry_min = "1s" retry_max = "1s" {conditions if n == "archive" else ""} }}\n'
            for n, s in self.sinks.items()
        )
        return (
            f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test"\n'
            f"{rig.queue.options(self.rig, self.spool)} {relay} }}\n{destinations}"
        )

    def send(self, number, header, names=("archive",), **options):
        rcpts = [f"user{number}@example.com.{n}.copy.split.invalid" for n in names]
        return rig.send(self.address, "s@sender.test", rcpts, content(number, header), **options)

    def history(self):
        return history(self.rig, self.daemon)


def test_all_copies_are_skipped(r):
    """A transaction without a copy that is wanted gets 250, by SMTP and LMTP, also without history; the queue stays empty."""
    t = Relay(r, 'history = "0"')
    assert str(t.send(1, "X-Spam-Flag: YES\n")) == "250 2.0.0 Ok: no destination wants a copy"
    with rig.SmtpClient(t.address, lmtp=True) as c:
        assert c.mail("s@sender.test").code == 250
        for name in ("archive", "newmail", "archive"):
            assert c.rcpt(f"user2@example.com.{name}.copy.split.invalid").code == 250
        assert c.cmd("DATA").code == 354
        c.write(rig.quote_message(content(2, "X-Spam-Flag: YES\n")))
        replies = [str(c.read()) for _ in range(3)]
    assert len(set(replies)) == 1 and re.fullmatch(r"250 2\.0\.0 Ok: queued as \w+", replies[0]), replies
    t.sinks["newmail"].wait(1)
    rig.wait_for(lambda: not rig.queue.copies(t.spool), 20, "an empty queue")
    t.daemon.wait_log(f"to=<user1@example.com>, dest=archive, .* status=skipped \\({re.escape(FLAG)}\\)")
    t.daemon.wait_log(f"to=<user2@example.com>, dest=archive, .* status=skipped \\({re.escape(FLAG)}\\)")
    assert not t.sinks["archive"].transactions and not rig.queue.select(t.spool, "SELECT * FROM history")


def test_conditions_are_those_of_the_arrival(r):
    """A reload changes nothing for copies that are in the queue, and a requeue to a destination asks none of its conditions."""
    t = Relay(r)
    for sink in t.sinks.values():
        sink.hook = lambda stage, _c, _a: "451 4.3.0 later" if stage == "mail" else None
    t.send(1, "X-Spam-Flag: NO\n")
    t.send(2, "X-Spam-Flag: YES\n", ("archive", "newmail"))
    t.daemon.wait_log("status=deferred", count=2)
    with open(t.daemon.configuration_path, "w", encoding="utf-8") as f:
        f.write(t.text('unless_header = { "X-Spam-Flag: NO" }'))
    rig.run_splitctl(r, t.daemon.configuration_path, "reload")
    t.daemon.wait_log("configuration reloaded")
    t.send(3, "X-Spam-Flag: NO\n")
    t.send(4, "X-Spam-Flag: YES\n")
    t.daemon.wait_log("user3@.*status=skipped")
    rig.run_splitctl(r, t.daemon.configuration_path, "requeue", "--yes", "--to", "archive", "--all", "newmail")
    for sink in t.sinks.values():
        sink.hook = None
    t.sinks["archive"].wait(3)
    assert numbers(t.sinks["archive"]) == [1, 2, 4]
    rig.wait_for(lambda: not rig.queue.copies(t.spool), 20, "an empty queue")
    results = sorted((e["recipients"], e["destination"], e["result"]) for e in t.history())
    assert results == [
        ("user1@example.com", "archive", "sent"),
        ("user2@example.com", "archive", "sent"),
        ("user2@example.com", "archive", "skipped"),
        ("user2@example.com", "newmail", "requeued"),
        ("user3@example.com", "archive", "skipped"),
        ("user4@example.com", "archive", "sent"),
    ], results
    _, out, _ = rig.run_splitctl(r, t.daemon.configuration_path, "history", "--reason", "X-Spam-Flag: NO")
    assert re.search(r'dest=archive, .*to=user3@example\.com, .*result=skipped, .*\(unless_header "X-Spam-Flag: NO"\)', out), out


def test_listener(r):
    """A copy of a listener that its destination does not want is no missing one: the primary decides about the mail. Recipients that
    the primary refuses are not in the history."""
    d = Duplicator(r, listener='require_copies = "yes"', backups=("archive", "newmail"))
    text = d.text().replace("destination archive {", f"destination archive {{ {CONDITIONS}")
    d.reload(text)
    d.primary.hook = lambda stage, _c, arg: "550 5.1.1 no" if stage == "rcpt" and "refused" in str(arg) else None
    for subject, header, codes in (("ham", "", (250, 250)), ("spam", "X-Spam-Flag: YES\n", (250, 550))):
        with d.client() as c:
            assert c.mail("s@sender.test").code == 250
            for code, name in zip(codes, ("anna", "refused" if 550 in codes else "ben")):
                assert c.rcpt(f"{name}@example.com").code == code
            assert c.data(content(1, f"Subject: {subject}\n{header}")).code == 250
    d.backups["newmail"].wait(2)
    assert subjects(d.primary) == subjects(d.backups["newmail"]) == ["ham", "spam"]
    d.backups["archive"].wait(1)
    rig.wait_for(lambda: not d.spooled(), 20, "an empty queue")
    assert subjects(d.backups["archive"]) == ["ham"]
    (event,) = [e for e in history(r, d.daemon) if e["result"] == "skipped"]
    assert event["recipients"] == "anna@example.com" and event["reply"] == FLAG, event
    # alone, too, and with a refusal of the whole message
    d.reload(text.replace('copies = { "archive", "newmail" }', 'copies = { "archive" }'))
    assert rig.send(d.address, "s@sender.test", ["carl@example.com"], content(2, "X-Spam-Flag: YES\n", 400000)).code == 250
    d.primary.hook = lambda stage, _c, _a: "554 5.7.1 spam" if stage == "dot" else None
    with d.client() as c:
        c.mail("s@sender.test")
        c.rcpt("dora@example.com")
        assert c.data(content(3, "X-Spam-Flag: YES\n")).code == 554
    assert [e["recipients"] for e in history(r, d.daemon) if e["result"] == "skipped"] == ["carl@example.com", "anna@example.com"]
    assert not d.spooled() and not rig.queue.large_files(d.spool) and len(d.backups["archive"].accepted) == 1


def test_kill(r):
    """splitrelay is killed again and again: each message that got 250 was either delivered or skipped, and none was both."""
    t = Relay(r)
    answered, lock = set(), threading.Lock()
    left = iter(range(MESSAGES))

    def client():
        for number in left_numbers():
            header = "X-Spam-Flag: YES\n" if number % 2 else "X-Spam-Flag: NO\n"
            rig.wait_for(lambda n=number, h=header: try_send(n, h), 60, f"250 to message {number}", t.daemon.log)
            with lock:
                answered.add(number)

    def left_numbers():
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            yield number

    def try_send(number, header):
        try:
            return t.send(number, header, ("archive", "newmail") if number % 4 < 2 else ("archive",)).code == 250
        except (OSError, AssertionError, rig.SmtpError):
            return False

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for kill in range(1, KILLS + 1):
        rig.wait_for(lambda n=kill: len(answered) >= n * MESSAGES // (KILLS + 1), 60, f"enough answers for kill {kill}", t.daemon.log)
        t.daemon.kill()
        t.daemon.start(lambda: accepts(t.address), seconds=30)
    for thread in threads:
        thread.join()
    rig.wait_for(lambda: not rig.queue.copies(t.spool), 60, "an empty queue", t.daemon.log)
    assert answered == set(range(MESSAGES))
    events = t.history()
    skipped = {e["recipients"] for e in events if e["result"] == "skipped"}
    assert skipped == {f"user{n}@example.com" for n in range(1, MESSAGES, 2)}, skipped
    assert set(numbers(t.sinks["archive"])) == set(range(0, MESSAGES, 2))
    assert set(numbers(t.sinks["newmail"])) == {n for n in range(MESSAGES) if n % 4 < 2}
    assert not rig.queue.prepared(t.spool)


if __name__ == "__main__":
    rig.main(timeout=600)

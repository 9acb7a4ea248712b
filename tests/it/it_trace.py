#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl trace: 2,000 messages go through the whole tower, and the answers are compared with what the servers saw. And the
places that it reads: files, rotated and compressed ones, the journal, the queue and its history."""

import collections
import gzip
import json
import lzma
import os
import pwd
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
import time

import rig
from rig.daemons import accepts
from rig.tower import Tower

MESSAGES = int(os.environ.get("SPLIT_TRACE_MESSAGES", "2000"))
ASKED = 200
RECIPIENTS = 500
STAMP = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(rig.__file__)), "stamp.py")]
ID = re.compile(r"queued as (\w+)")

AMAVIS = """\
use strict;
$MYHOME = '{home}'; $TEMPBASE = '{home}'; $pid_file = '{home}/pid'; $lock_file = '{home}/lock';
$db_home = undef; $enable_db = 0; $enable_global_cache = 0; $daemon_user = 'nobody'; $daemon_group = '{group}';
$max_servers = 2; $child_timeout = 60; $myhostname = 'amavis.test'; $mydomain = 'test';
$inet_socket_port = {port}; $inet_socket_bind = '127.0.0.1';
$forward_method = 'smtp:[127.0.0.1]:{back}'; $notify_method = $forward_method;
@bypass_virus_checks_maps = @bypass_spam_checks_maps = @bypass_banned_checks_maps = @bypass_header_checks_maps = (1);
$do_syslog = 0; $LOGFILE = '{log}'; $log_level = 1;
1;
"""


class Amavis:
    """The real amavis, with its own log."""

    def __init__(self, r, back):
        home = r.path("amavis")
        os.mkdir(home, 0o755)
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        self.log_path = os.path.join(home, "log")
        self.address = ("127.0.0.1", r.free_port())
        text = AMAVIS.format(home=home, group="nogroup", port=self.address[1], back=back[1], log=self.log_path)
        path = r.write("amavis.conf", text)
        r.show_on_failure("log of amavis", self.log_path)
        daemon = rig.Daemon(r, "amavisd", ["amavisd", "-c", path, "foreground"], env={"PATH": rig.environment()["PATH"]})
        daemon.start(lambda: accepts(self.address), seconds=40)
        r.on_close(daemon.kill)  # after SIGTERM a Perl daemon has another exit status than 0

    @property
    def bracketed(self):
        return f"[127.0.0.1]:{self.address[1]}"


class LikeAmavis(rig.Filter):
    """A filter with the replies and the log lines of amavis."""

    def __init__(self, r, back):
        self.log_path = r.path("amavis.log")
        self.count = 0
        with open(self.log_path, "w", encoding="ascii"):
            pass
        super().__init__(r, "amavis", back)
        self.extensions += ("XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT",)

    def _ident(self, connection):
        words = [line for number, line in list(self.commands) if number == connection and line.startswith("XFORWARD")]
        found = [m.group(1) for m in map(re.compile(r"IDENT=(\w+)").search, words) if m]
        return found[-1]

    def _pass_on(self, stage, connection, txn):
        if stage != "dot":
            return None
        try:
            reply = rig.send(self.give_back, txn.sender, txn.addrs, txn.data, helo="amavis.test")
        except (OSError, AssertionError, rig.SmtpError) as e:
            return f"451 4.5.0 {e}".replace("\n", " ")
        new = ID.search(str(reply)).group(1)
        self.count += 1
        rcpts = ",".join(f"<{a}>" for a in txn.addrs)
        line = (
            f"(00123-{self.count:02d}) Passed CLEAN {{RelayedInbound}}, [127.0.0.1] <{txn.sender}> -> {rcpts}, "
            f"Queue-ID: {self._ident(connection.number)}, Message-ID: {txn.headers('Message-Id')[0]}, mail_id: x{self.count}, "
            f"Hits: -, size: {txn.size}, queued_as: {new}, 3 ms"
        )
        with open(self.log_path, "a", encoding="ascii") as f:
            f.write(f"{time.strftime('%b %e %H:%M:%S')} mx amavis[123]: {line}\n")
        return f"250 2.0.0 from MTA(smtp:[127.0.0.1]:{self.give_back[1]}): 250 2.0.0 Ok: queued as {new}"


class TracedTower(Tower):
    """The tower with amavis as the filter "secondary", and with a listener before the front."""

    def __init__(self, r, **options):
        self.door = ("127.0.0.1", r.free_port())
        super().__init__(r, start=False, **options)

    def _make_filters(self, relayhost):
        super()._make_filters(relayhost)
        del self.filters["secondary"]
        self.taps["secondary"].stop()
        self.is_real = shutil.which("amavisd", path=rig.environment()["PATH"]) is not None
        self.taps["secondary"] = self.amavis = (Amavis if self.is_real else LikeAmavis)(self.rig, self.out.address)

    def make_configuration(self):
        return super().make_configuration() + (
            f'listener door {{ listen = {{ "inet:{self.door[1]}@127.0.0.1" }} primary = {{ "{self.front.bracketed}" }}'
            ' copies = { "newmail" } }\n'
        )

    def start(self):
        os.makedirs(self.spool, mode=0o700, exist_ok=True)
        self.relay = rig.start_splitrelay(self.rig, self.configuration, self.relay_address, wrapper=STAMP)
        self.milter = rig.start_splitmilter(self.rig, self.configuration, self.milter_address, wrapper=STAMP)
        for instance in self.instances:
            instance.start()

    @property
    def logs(self):
        paths = [i.maillog for i in self.instances] + [self.milter.log_path, self.relay.log_path, self.amavis.log_path]
        return [p for path in paths for p in ("--log", path)]


def address(i):
    """gone* does not exist in the mailbox, later* is deferred there."""
    return f"{'gone' if i % 17 == 0 else 'later' if i % 23 == 0 else 'user'}{i}@example.com"


def final(rcpt):
    """Where a recipient's mail goes: every third is rewritten."""
    number = int(re.search(r"\d+", rcpt).group())
    return rcpt.replace("@example.com", "@domain.com") if number % 3 == 0 else rcpt


def filter_of(rcpt):
    return ("secondary", "primary", None)[int(re.search(r"\d+", rcpt).group()) % 7 % 3]


def copies_of(rcpt):
    return (["archive"], ["archive", "newmail"], [], ["newmail"])[int(re.search(r"\d+", rcpt).group()) % 4]


def mailbox_hook(stage, _connection, arg):
    if stage == "rcpt" and "<gone" in arg:
        return "550 5.1.1 no such user"
    if stage == "rcpt" and "<later" in arg:
        return "451 4.2.1 not now"
    return None


def make_tower(r):
    everyone = [address(i) for i in range(RECIPIENTS)]
    tower = TracedTower(
        r,
        canonical="".join(f"{a} {final(a)}\n" for a in everyone if final(a) != a),
        filters_table="".join(f"{a} {filter_of(a)}\n" for a in everyone if filter_of(a)),
        copies="".join(f"{a} {','.join(copies_of(a))}\n" for a in everyone if copies_of(a)),
        destination_defaults='concurrency = 5 retry_min = "20s" retry_max = "60s" connect_timeout = "5s"\n',
    )
    tower.front.services = tower.front.services.replace("smtp_generic_maps=", "smtp_send_xforward_command=yes -o smtp_generic_maps=")
    tower.front.write_configuration()
    tower.mailbox.hook = mailbox_hook
    tower.backups["archive"].stop()
    return tower, everyone


def send_all(tower, everyone, seed):
    """Send the messages over several connections. Returns Message-ID -> (recipients, whether it came by the listener)."""
    random_ = random.Random(seed)
    sent = {}
    for start in range(0, MESSAGES, 20):
        by_door = start // 20 % 5 == 4
        with rig.SmtpClient(tower.door if by_door else tower.front.address) as c:
            for i in range(start, min(start + 20, MESSAGES)):
                rcpts = random_.sample(everyone, random_.choice((1, 1, 1, 2, 3)))
                message_id = f"{i}.{random_.randrange(10**9)}@sender.test"
                assert c.mail(f"s{i % 40}@sender.test").code == 250
                for rcpt in rcpts:
                    assert c.rcpt(rcpt).code == 250, rcpt
                reply = c.data(f"Message-Id: <{message_id}>\r\nSubject: {i}\r\n\r\ntext\r\n".encode())
                assert reply.code == 250, reply
                sent[message_id] = (rcpts, by_door)
    return sent


def seen_by(sink):
    """Message-ID -> recipients that the sink has accepted."""
    seen = collections.defaultdict(set)
    for t in sink.accepted:
        seen[t.headers("Message-Id")[0].strip("<>")] |= set(t.addrs)
    return seen


def wait_for_all(tower, sent):
    """Wait until the mailbox and newmail have all that they accept, and the front has no more than what it cannot deliver."""
    to_mailbox = sum(not a.startswith(("gone", "later")) for rcpts, _ in sent.values() for a in rcpts)

    def arrived():
        return sum(len(rcpts) for m, rcpts in seen_by(tower.mailbox).items() if m in sent) >= to_mailbox

    rig.wait_for(arrived, 240, "the mail to arrive", tower.mailbox.describe)
    to_newmail = sum("newmail" in copies_of(a) for rcpts, _ in sent.values() for a in rcpts)
    by_door = sum(len(rcpts) for rcpts, is_door in sent.values() if is_door)
    rig.wait_for(
        lambda: sum(len(t.addrs) for t in tower.backups["newmail"].accepted) >= to_newmail + by_door, 120, "the copies to arrive"
    )


def matches(path, pattern):
    with open(path, encoding="utf-8") as f:
        return set(re.findall(pattern, f.read(), re.MULTILINE))


def wait_for_lines(tower, sent):
    """Wait until the programs have also logged what they have done."""
    rcpts = sum(len(rcpts) for rcpts, _ in sent.values())
    newmail = sum("newmail" in copies_of(a) for rcpts, _ in sent.values() for a in rcpts)
    newmail += sum(len(rcpts) for rcpts, is_door in sent.values() if is_door)
    for path, pattern, count in (
        (tower.front.maillog, r": (\w+): removed$", len(sent)),
        (tower.out.maillog, r": (\w+): to=<([^>]+)>.* status=", rcpts),
        (tower.relay.log_path, r": (\w+): to=<([^>]+)>, .*dest=newmail.* status=sent", newmail),
    ):
        rig.wait_for(lambda p=path, e=pattern, n=count: len(matches(p, e)) >= n, 120, f"{count} lines {pattern} in {path}")


def check_mail(rcpt, answer, mailbox):
    assert len(answer["mail"]) == 1, answer
    mail = answer["mail"][0]
    expected = "bounced" if rcpt.startswith("gone") else "waits" if rcpt.startswith("later") else "sent"
    is_seen = final(rcpt) in mailbox.get(answer["message_id"], ())
    assert is_seen == (expected == "sent"), (rcpt, answer["message_id"])
    assert mail["status"] == expected, answer
    assert mail["address"] == final(rcpt), answer
    assert mail.get("filter") == filter_of(rcpt), answer
    assert mail["system"] == "postfix-out", answer
    if expected == "bounced":
        assert "550 5.1.1 no such user" in mail["reason"], mail
    if expected == "waits":
        assert "451 4.2.1 not now" in mail["reason"], mail


def check_copies(rcpt, answer, newmail, by_door):
    found = sorted((c["destination"], c["status"]) for c in answer["copies"])
    expected = [(name, "waits" if name == "archive" else "sent") for name in copies_of(rcpt)]
    expected += [("newmail", "sent")] if by_door else []
    assert found == sorted(expected), (expected, answer)
    for copy in answer["copies"]:
        assert re.fullmatch("[0-9A-F]{10,}", copy["queue_id"]), copy
        if copy["status"] == "waits":
            assert "refused" in copy["reason"] or "suspended" in copy["reason"], copy
            assert copy["next_attempt"] > time.time() - 3600, copy
        else:
            assert rcpt in newmail[answer["message_id"]], copy


def check_order(answer):
    times = [s["time"] for s in answer["steps"]]
    assert None not in times and times == sorted(times), answer
    assert answer["steps"][0]["event"] == "arrived" or answer["system"] == "splitrelay", answer
    assert answer["missing"] == [], answer


def test_answers_are_what_the_servers_saw(r):
    seed = os.environ.get("SPLIT_SEED") or f"{random.randrange(1 << 32):08x}"
    print(f"SPLIT_SEED={seed}")
    tower, everyone = make_tower(r)
    tower.start()
    print("amavis:", "the real one" if tower.is_real else "a stand-in, because amavisd is not installed")
    sent = send_all(tower, everyone, seed)
    wait_for_all(tower, sent)
    wait_for_lines(tower, sent)
    mailbox, newmail = seen_by(tower.mailbox), seen_by(tower.backups["newmail"])
    asked = random.Random(seed).sample(everyone, min(ASKED, len(everyone)))

    _, out, err = rig.run_splitctl(r, tower.configuration_path, "trace", "--json", *asked, *tower.logs)
    assert err == "", err
    answers = collections.defaultdict(dict)
    for line in out.splitlines():
        answer = json.loads(line)
        key = (answer["recipient"], answer["message_id"])
        assert key not in answers, (answers[key], answer)
        answers[key] = answer
    expected = {(rcpt, m) for m, (rcpts, _) in sent.items() for rcpt in rcpts if rcpt in asked}
    assert set(answers) == expected, (set(answers) ^ expected)
    for (rcpt, message_id), answer in answers.items():
        check_mail(rcpt, answer, mailbox)
        check_copies(rcpt, answer, newmail, sent[message_id][1])
        check_order(answer)
    print(f"{len(answers)} answers about {len(asked)} recipients")
    # By sender: all recipients have a line, also those that splitmilter has replaced.
    _, out, _ = rig.run_splitctl(r, tower.configuration_path, "trace", "--json", *(f"s{i}@sender.test" for i in range(40)), *tower.logs)
    by_sender = [a for a in map(json.loads, out.splitlines()) if a["message_id"] in sent]
    assert len(by_sender) == sum(len(rcpts) for rcpts, _ in sent.values()), len(by_sender)
    assert [a for a in by_sender if a["missing"] != []] == []

    # One at a time, by other words, and as text.
    rcpt, message_id = sorted(answers)[0]
    for word in (message_id, f"<{message_id}>", answers[rcpt, message_id]["queue_id"]):
        _, out, _ = rig.run_splitctl(r, tower.configuration_path, "trace", word, *tower.logs)
        assert f"{rcpt}, from <" in out and message_id in out, out
    status, out, _ = rig.run_splitctl(r, tower.configuration_path, "trace", "nobody@example.com", *tower.logs, check=False)
    assert (status, out) == (1, "Nothing was found in the logs and the queue\n")


LINES = """\
Nov 30 05:00:00 mx postfix/smtpd[1]: 4Xy1234567z: client=client.test[192.0.2.1]
Nov 30 05:00:00 mx postfix/cleanup[2]: 4Xy1234567z: message-id=<1@x>
Nov 30 05:00:00 mx postfix/qmgr[3]: 4Xy1234567z: from=<s@sender.test>, size=1234, nrcpt=1 (queue active)
Nov 30 05:00:01 mx postfix/lmtp[4]: 4Xy1234567z: to=<anna@example.com>, relay=h[192.0.2.2]:24, delay=0.4, delays=0/0/0/0.4, \
dsn=4.2.1, status=deferred (host h[192.0.2.2] said: 451 4.2.1 later)
Nov 30 05:09:01 mx postfix/lmtp[4]: 4Xy1234567z: to=<anna@example.com>, relay=h[192.0.2.2]:24, delay=540, delays=0/0/0/0.4, \
dsn=2.0.0, status=sent (250 2.0.0 saved)
Nov 30 05:09:01 mx postfix/qmgr[3]: 4Xy1234567z: removed
""".replace("\\\n", "").splitlines(keepends=True)


class Alone:
    """A splitrelay that is not started, for its configuration and spool."""

    def __init__(self, r):
        self.rig = r
        self.sink = rig.Sink(r, "archive")
        self.address = ("127.0.0.1", r.free_port())
        os.mkdir(r.path("spool"), 0o700)
        self.text = (
            f'log {{ target = "stderr" }} relay {{ listen = {{ "inet:{self.address[1]}@127.0.0.1" }} hostname = "relay.test" '
            f'spool_directory = "{r.path("spool")}" }}\n'
            f'destination archive {{ relay_to = {{ "{self.sink.bracketed}" }} retry_min = "1s" retry_max = "1s" }}\n'
        )
        self.path = r.write("alone.conf", self.text)

    def trace(self, *arguments, check=True, env=None):
        return rig.run_splitctl(self.rig, self.path, "trace", *arguments, check=check, env=env)

    def states(self, *arguments):
        """(status of the mail, statuses of the copies) of the only answer."""
        (line,) = self.trace("--json", *arguments)[1].splitlines()
        answer = json.loads(line)
        return [m["status"] for m in answer["mail"]], [c["status"] for c in answer["copies"]]


def test_rotated_and_compressed_files(r):
    alone = Alone(r)
    old = r.path("mail.log.2.gz")
    with gzip.open(old, "wt", encoding="ascii") as f:
        f.writelines(LINES[:3])
    with lzma.open(r.path("mail.log.1.xz"), "wt", encoding="ascii") as f:
        f.writelines(LINES[2:4])
    new = r.write("mail.log", "".join(LINES[4:]))
    files = [new, r.path("mail.log.1.xz"), old]
    assert alone.states("anna@example.com", "--log", *files) == (["sent"], [])
    assert alone.states("anna@example.com", "--log", *files, *files) == (["sent"], [])  # nothing counts twice
    assert alone.states("s@sender.test", "--log", *files[1:]) == (["waits"], [])
    _, out, _ = alone.trace("1@x", "--log", *files)
    assert out.count("451 4.2.1 later") == 1 and out.count("250 2.0.0 saved") == 2, out

    status, out, err = alone.trace("anna@example.com", "--log", new, "--since", "1h", check=False)
    assert (status, out) == (1, "Nothing was found in the logs and the queue\n") or "anna" in out, (status, out, err)
    status, _, err = alone.trace("anna@example.com", "--log", r.path("nothing"), check=False)
    assert status == 69 and "No such file" in err, err
    broken = r.path("broken.gz")
    with open(old, "rb") as f, open(broken, "wb") as g:
        g.write(f.read()[:-9])
    # What could not be read is missing in each answer, and the exit status says so.
    for path, missing in ((broken, f"the rest of the log {broken}"), (r.path("nothing"), f"the log {r.path('nothing')}")):
        status, out, err = alone.trace("--json", "anna@example.com", "--log", *files, path, check=False)
        (line,) = out.splitlines()
        assert status == 69 and path in err and missing in json.loads(line)["missing"], (status, out, err)
        status, out, _ = alone.trace("nobody@example.com", "--log", *files, path, check=False)
        assert (status, out) == (69, "Nothing was found in the logs and the queue, as far as they could be read\n"), (status, out)
    foreign = r.write("foreign", "Okt 30 05:00:00 mx postfix/smtpd[1]: 4Xy1234568z: client=c\n" + "".join(LINES))
    _, _, err = alone.trace("anna@example.com", "--log", foreign)
    assert "1 lines are not used, because their time or form is not understood. The first: Okt 30" in err, err
    # A file of two years ago has the same id: its mail is another one.
    past = r.write("past", "".join(LINES[:4]))
    os.utime(past, (time.time() - 700 * 86400,) * 2)
    out = alone.trace("--json", "anna@example.com", "--log", *files, past)[1]
    answers = sorted((json.loads(ln) for ln in out.splitlines()), key=lambda a: a["time"])
    assert [a["mail"][0]["status"] for a in answers] == ["unknown", "sent"], answers
    assert answers[1]["time"] - answers[0]["time"] > 300 * 86400, answers


JOURNALCTL = """\
#!{python}
# Prints lines in place of journalctl(1). The cursor is the number of lines.
import os
import sys
import time

parent = os.getppid()
with open({arguments!r}, "a", encoding="ascii") as f:
    f.write(" ".join(sys.argv) + "\\n")
after = [int(a.partition("=")[2]) for a in sys.argv if a.startswith("--after-cursor=")]
with open({lines!r}, encoding="ascii") as f:
    for _ in range(after[0] if after else 0):
        f.readline()
    while True:
        line = f.readline()
        print(line, end="", flush=True)
        if line == "" and "--follow" not in sys.argv:
            break
        if line == "":
            time.sleep(0.05)
        if os.getppid() != parent:  # splitctl was killed
            sys.exit(1)
if "--show-cursor" in sys.argv:
    with open({lines!r}, encoding="ascii") as f:
        print("-- cursor:", len(f.readlines()))
"""


def journal_lines(lines):
    return [ln.replace("Nov 30 ", "2026-11-30T").replace(" mx", ".123456+0000 mx") for ln in lines]


def make_journalctl(r, text):
    """Returns the environment, the file with the lines, and that with the arguments."""
    lines, arguments = r.write("lines", text), r.path("arguments")
    os.mkdir(r.path("bin"))
    program = r.write("bin/journalctl", JOURNALCTL.format(python=sys.executable, lines=lines, arguments=arguments))
    os.chmod(program, 0o755)
    return {"PATH": f"{r.path('bin')}:{os.environ['PATH']}"}, lines, arguments


def test_journal(r):
    """The journal is read through journalctl(1); here a program that prints lines in its place."""
    alone = Alone(r)
    env, _, path = make_journalctl(r, "-- Boot --\n" + "".join(journal_lines(LINES)))
    status, out, err = alone.trace("anna@example.com", "--since", "2026-11-30", "--until", "2026-12-01", env=env)
    assert (status, err) == (0, "") and "250 2.0.0 saved" in out, (out, err)
    with open(path, encoding="ascii") as f:
        arguments = f.read()
    assert "--since=@" in arguments and "--until=@" in arguments and "SYSLOG_FACILITY=2" in arguments, arguments


def test_journal_is_followed(r):
    """From the line where the first look ended: none is lost, none comes twice."""
    alone = Alone(r)
    refusal = "2026-11-30T05:00:00.2+0000 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from c[192.0.2.1]: 554 no; from=<x@sender.test> to=<anna@example.com> proto=SMTP helo=<c>\n"
    env, lines, path = make_journalctl(r, refusal + "".join(journal_lines(LINES[:4])))
    follower = Follower(alone, "anna@example.com", "--since", "2026-11-30", env=env)
    follower.wait("451 4.2.1 later")
    append(lines, journal_lines(LINES[4:5]))
    follower.wait("saved")
    assert sum("554 no" in ln for ln in follower.lines) == 1, follower.lines
    assert sum("saved" in ln for ln in follower.lines) == 1, follower.lines
    with open(path, encoding="ascii") as f:
        assert "--after-cursor=5" in f.readlines()[1]


ODD = """\
2026-11-30T05:00:00Z mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from c[192.0.2.1]: 554 no; from=<s@sender.test> to=<gone@example.com> proto=SMTP helo=<c>
2026-11-30T05:00:01Z mx postfix/postscreen[1]: NOQUEUE: reject: RCPT from [192.0.2.1]:1234: 550 5.7.1 blocked; from=<s@sender.test>, to=<screened@example.com>, proto=ESMTP, helo=<c>
2026-11-30T05:00:02Z mx postfix/smtpd[1]: proxy-reject: END-OF-MESSAGE: 554 5.7.0 spam; from=<s@sender.test> to=<proxied@example.com> proto=ESMTP helo=<c>
2026-11-30T05:00:03Z mx postfix/smtpd[1]: NOQUEUE: discard: RCPT from c[192.0.2.1]: <x>: DISCARD action; from=<s@sender.test> to=<thrown@example.com> proto=ESMTP helo=<c>
"""


def test_refusals(r):
    """Mail that had no queue id."""
    alone = Alone(r)
    log = r.write("mail.log", ODD)
    for user, verb, reply in (("gone", "refused", "554 no"), ("screened", "refused", "550 5.7.1 blocked"), ("proxied", "refused", "554 5.7.0 spam"),
                              ("thrown", "discarded", "DISCARD action")):
        out = alone.trace(f"{user}@example.com", "--log", log)[1].splitlines()
        assert out[0] == f"{user}@example.com, from <s@sender.test>" and out[1].startswith(f"  {verb} by postfix  2026-11-30 ") and reply in out[1], out
        (line,) = alone.trace("--json", f"{user}@example.com", "--log", log)[1].splitlines()
        assert reply in json.loads(line)["refused"]


def test_strange_files(r):
    """What is cut, or no text, misleads nobody."""
    alone = Alone(r)
    # The files in the order of the shell, rotated within a second.
    new = r.write("mail.log", "".join(ln.replace("05:09:01", "05:00:00") for ln in LINES[4:]))
    old = r.write("mail.log.1", "Nov 30 04:00:00 mx postfix/qmgr[3]: 4Xy1234566z: removed\n" + "".join(LINES[:3]))
    assert alone.states("s@sender.test", "--log", new, old) == (["sent"], [])
    # A compressed file that is cut, within a line that would make sense.
    decision = "Nov 30 05:00:00 mx splitmilter[3]: 4Xy1234567z: to=<anna@example.com>, copy=archi"
    whole = gzip.compress(("".join(LINES[:3]) + decision).encode())
    cut = r.path("cut.gz")
    with open(cut, "wb") as f:
        f.write(whole[:-8])
    _, out, err = alone.trace("--json", "4Xy1234567z", "--log", cut, check=False)
    assert "cut.gz cannot be read to its end" in err and "archi" not in out, (out, err)
    # NUL bytes, a line of a megabyte, other bytes
    odd = r.path("odd")
    with open(odd, "wb") as f:
        f.write(b"\0" * 5000 + b"\n" + b"Nov 30 05:00:00 mx postfix/smtpd[1]: " + b"x" * 1500000 + b"\n" + bytes(range(256)) * 4 + b"\n")
        f.write("".join(LINES).encode() + b"Nov 30 05:09:02 mx postfix/lmtp[4]: 4Xy1234567z: \0\xff\n")
    _, out, err = alone.trace("anna@example.com", "--log", odd)
    assert "  mail               sent" in out and "1 lines are not used, because they are too long" in err, (out, err)
    # Berlin, where the hour from 2 to 3 comes twice
    berlin = ["Oct 25 02:59:58 mx" + LINES[0][18:], "Oct 25 02:59:58 mx" + LINES[2][18:], "Oct 25 02:59:59 mx" + LINES[3][18:],
              "Oct 25 02:05:00 mx" + LINES[4][18:], "Oct 25 02:05:00 mx" + LINES[5][18:], "Oct 25 02:50:00 mx postfix/x[1]: y\n"]
    hour = r.write("hour", "".join(berlin))
    (line,) = alone.trace("--json", "anna@example.com", "--log", hour, env={"TZ": "Europe/Berlin"})[1].splitlines()
    answer = json.loads(line)
    assert [m["status"] for m in answer["mail"]] == ["sent"] and answer["missing"] == [], answer
    times = [s["time"] for s in answer["steps"]]
    assert times[-1] - times[0] == 302, times
    # New year
    year = r.write("year", "Dec 31 23:59:59 mx" + LINES[0][18:] + "Dec 31 23:59:59 mx" + LINES[2][18:] + "Jan  1 00:00:00 mx" + LINES[4][18:])
    assert alone.states("anna@example.com", "--log", year) == (["sent"], [])
    # Forms that are not understood are named.
    docker = r.write("docker", "".join("2026-11-30T05:00:00.1Z " + ln for ln in LINES))
    status, _, err = alone.trace("anna@example.com", "--log", docker, check=False)
    assert status == 1 and f"{len(LINES)} lines are not used, because their time or form is not understood" in err, (status, err)


def test_memory(r):
    """Files that are larger than the memory are read twice; what is no file is not read to its end."""
    alone = Alone(r)
    lines = []
    for i in range(40000):
        lines.append(f"Nov 30 05:00:00 mx postfix/qmgr[3]: 4Xz{i:07d}z: from=<x{i}@sender.test>, size=1234, nrcpt=1 (queue active)\n")
        if i % 8000 == 4000:
            lines.append(LINES[i // 8000])
    lines.append(LINES[5])
    log = r.write("mail.log", "".join(lines))
    packed = r.path("mail.log.gz")
    with gzip.open(packed, "wt", encoding="ascii") as f:
        f.writelines(lines)
    whole = alone.trace("anna@example.com", "--log", log)[1]
    assert "250 2.0.0 saved" in whole, whole
    for path in (log, packed):
        status, out, err = alone.trace("anna@example.com", "--memory", "1M", "--log", path)
        assert (status, out, err) == (0, whole, ""), (status, out, err)
    # the connections alone are too many
    status, out, err = alone.trace("anna@example.com", "--memory", "1k", "--log", log, check=False)
    assert status == 69 and err.count("than the memory that --memory allows") == 1, (status, err)
    env, _, _ = make_journalctl(r, "".join(journal_lines(lines)))
    status, out, err = alone.trace("--json", "x7@sender.test", "--memory", "1M", "--since", "2026-11-30", env=env, check=False)
    (line,) = out.splitlines()
    assert status == 69 and "the rest of the log of systemd" in json.loads(line)["missing"], (status, out)
    message = "splitctl: journalctl cannot be read to its end: the lines that may be about these words take more than the memory that --memory allows"
    assert err.splitlines()[0] == message, err  # the stand-in may complain of the closed pipe
    status, _, err = alone.trace("anna@example.com", "--memory", "0", "--log", log, check=False)
    assert status == 64 and "--memory 0: not a size" in err, (status, err)


def test_many_recipients(r):
    """Time grows with the recipients of a message, not with their square."""
    alone = Alone(r)
    lines = LINES[:3]
    for status in ("deferred (451 later)", "sent (250 ok)"):
        for i in range(20000):
            lines.append(f"Nov 30 05:00:0{1 + (status[0] == 's')} mx postfix/lmtp[4]: 4Xy1234567z: to=<user{i}@example.com>, relay=h[192.0.2.2]:24, delay=1, dsn=2.0.0, status={status}\n")
    log = r.write("mail.log", "".join(lines))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    out = alone.trace("--json", "s@sender.test", "--log", log)[1].splitlines()
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    print(f"{seconds:.1f} s of the processor")
    assert seconds < 25, seconds  # it was more than 60
    answers = [json.loads(ln) for ln in out]
    assert [a["recipient"] for a in answers] == [f"user{i}@example.com" for i in range(20000)]
    assert all([m["status"] for m in a["mail"]] == ["sent"] and len(a["steps"]) == 3 for a in answers)


class Follower:
    """splitctl trace --follow, whose lines are collected."""

    def __init__(self, alone, *arguments, env=None):
        self.lines = []
        self.process = subprocess.Popen(
            [rig.program("splitctl"), "-c", alone.path, "trace", "--follow", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        alone.rig.session.record_process(self.process.pid, "splitctl")
        alone.rig.on_close(self.stop)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def wait(self, text):
        rig.wait_for(lambda: any(text in ln for ln in self.lines), 20, f"the line {text}", lambda: "".join(self.lines))


def append(path, lines):
    with open(path, "a", encoding="ascii") as f:
        f.writelines(lines)


def test_follow(r):
    alone = Alone(r)
    log = r.write("mail.log", "".join(LINES[:4]) + LINES[4][:60])  # the last line is not complete
    follower = Follower(alone, "anna@example.com", "--log", log)
    follower.wait("451 4.2.1 later")
    append(log, [LINES[4][60:]])
    follower.wait("saved")
    os.rename(log, f"{log}.1")
    append(f"{log}.1", [LINES[4].replace("saved", "behind")])
    append(log, [ln.replace("4Xy1234567z", "4Xy1234569z").replace("saved", "second") for ln in LINES[:1] + LINES[4:]])
    follower.wait("behind")
    follower.wait("second")
    # Each step is printed once; the first report also has the state.
    assert sum("451 4.2.1 later" in ln for ln in follower.lines) == 2, follower.lines
    assert sum("saved" in ln for ln in follower.lines) == 1, follower.lines


def test_queue_and_history(r):
    """A copy of which no log has a line."""
    alone = Alone(r)
    empty = r.write("empty", "")
    alone.sink.stop()
    daemon = rig.start_splitrelay(r, alone.text, alone.address)
    content = b"Message-Id: <7@x>\r\nSubject: x\r\n\r\nx\r\n"
    rig.send(alone.address, "s@sender.test", ["anna@example.com.archive.copy.split.invalid"], content)
    daemon.wait_log("status=deferred")
    (copy,) = [json.loads(ln)["queue_id"] for ln in rig.run_splitctl(r, alone.path, "queue", "--json")[1].splitlines()]
    for word in ("anna@example.com", "s@sender.test", "7@x", copy, copy.lower()):
        assert alone.states(word, "--log", empty) == (["unknown"], ["waits"]), word
    alone.sink.start()
    alone.sink.wait(1)
    rig.wait_for(lambda: not rig.queue.ids(r.path("spool")), 10, "the outcome to be recorded")
    for word in ("anna@example.com", "s@sender.test", "7@x", copy):
        assert alone.states(word, "--log", empty) == (["unknown"], ["sent"]), word


def test_the_queue_leads_to_the_mail(r):
    """The lines of the MTA do not have the word: the queue knows the id that they have."""
    alone = Alone(r)
    alone.sink.stop()
    daemon = rig.start_splitrelay(r, alone.text, alone.address)
    with rig.SmtpClient(alone.address) as c:
        c.cmd("XFORWARD NAME=client.test ADDR=192.0.2.1 IDENT=4Xy1234567z")
        assert c.mail("s@sender.test").code == 250
        assert c.rcpt("anna@example.com.archive.copy.split.invalid").code == 250
        assert c.data(b"Message-Id: <7@x>\r\n\r\nx\r\n").code == 250
    daemon.wait_log("status=deferred")
    stamp = time.strftime("%b %e %H:%M:%S")
    log = r.write("mail.log", "".join(stamp + ln[15:] for ln in LINES[:1] + LINES[2:3] + LINES[4:]))
    assert alone.states("7@x", "--log", log) == (["sent"], ["waits"])


def test_styles(r):
    """The log of a listener, without time stamps, in each style."""
    for style in ("splitmilter", "postfix", "json"):
        primary, archive = rig.Sink(r, f"primary-{style}"), rig.Sink(r, f"archive-{style}")
        door, own = ("127.0.0.1", r.free_port()), ("127.0.0.1", r.free_port())
        os.mkdir(r.path(f"spool-{style}"), 0o700)
        text = (
            f'log {{ target = "stderr" style = "{style}" }} relay {{ listen = {{ "inet:{own[1]}@127.0.0.1" }} '
            f'hostname = "relay.test" spool_directory = "{r.path(f"spool-{style}")}" }}\n'
            f'destination archive {{ relay_to = {{ "{archive.bracketed}" }} }}\n'
            f'listener door {{ listen = {{ "inet:{door[1]}@127.0.0.1" }} primary = {{ "{primary.bracketed}" }} copies = {{ "archive" }} }}\n'
        )
        daemon = rig.start_splitrelay(r, text, door, name=f"relay-{style}")
        rig.send(door, "s@sender.test", ["anna@example.com"], b"Message-Id: <7@x>\r\n\r\nx\r\n")
        archive.wait(1)
        daemon.wait_log("status.*sent", count=2)
        _, out, err = rig.run_splitctl(
            r, daemon.configuration_path, "trace", "--json", "anna@example.com", "--log", daemon.log_path
        )
        (answer,) = map(json.loads, out.splitlines())
        states = [m["status"] for m in answer["mail"]], [(c["destination"], c["status"]) for c in answer["copies"]]
        assert states == (["sent"], [("archive", "sent")]) and answer["message_id"] == "7@x", (style, answer)
        assert err == "" or style == "json" and "not understood" in err, err
        daemon.stop()


if __name__ == "__main__":
    rig.main(timeout=900)

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl compare: the verdicts of two filters, from Maildirs that splitrelay has written and from Maildirs that anybody has filled.

SPLIT_COMPARE_MESSAGES sets the number of messages on each side of the large comparison."""

import fcntl
import json
import os
import re
import select
import subprocess
import time

import rig
from rig.daemons import program

MESSAGES = int(os.environ.get("SPLIT_COMPARE_MESSAGES", "5000"))
EMPTY = {"both": 0, "neither": 0, "only_a": 0, "only_b": 0, "differs": 0, "missing_in_a": 0, "missing_in_b": 0}


def message(ident, flag=None, field="X-Spam-Flag", subject="s"):
    """The text of a message; ident None: without Message-ID, flag None: without the field."""
    lines = ["Return-Path: <s@sender.test>"]
    lines += [] if flag is None else [f"{field}: {flag}"]
    lines += [] if ident is None else [f"Message-ID: <{ident}@x.test>"]
    return "\n".join([*lines, f"Subject: {subject}", "", "body", ""])


class Side:
    """A Maildir."""

    def __init__(self, r, name):
        self.path, self.count = r.path(name), 0
        for folder in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(self.path, folder))

    def put(self, text, folder="new"):
        self.count += 1
        path = os.path.join(self.path, folder, f"1700000000.{self.count}.host")
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        return path


def compare(r, *args, status=0, conf="/nonexistent"):
    """The summary, and the messages that are listed as {class: [object]}."""
    code, out, err = rig.run_splitctl(r, conf, "compare", "--json", *args, check=False)
    assert code == status, (code, out, err)
    summary, *listed = (json.loads(line) for line in out.splitlines())
    assert summary["class"] == "summary"
    found = {}
    for o in listed:
        found.setdefault(o["class"], []).append(o)
    return summary, found


def ids(found, name):
    return [o["message_id"].removesuffix("@x.test>").removeprefix("<") for o in found.get(name, [])]


def counts(summary):
    return {k: v for k, v in summary.items() if k in EMPTY and v != 0}


def refused(r, *args, status, why, conf="/nonexistent"):
    code, out, err = rig.run_splitctl(r, conf, "compare", *args, check=False)
    assert (code, out) == (status, "") and why in err, (code, out, err)


def two_sides(r):
    return Side(r, "a"), Side(r, "b")


def test_classes(r):
    """Each message is in one class; a message without the field is not flagged; folders do not matter."""
    a, b = two_sides(r)
    for ident, left, right in (
        ("both1", "YES", "yes"), ("both2", "Yes, score=7", "true"), ("neither1", "NO", None), ("neither2", None, None), ("neither3", "", "0"),
        ("a1", "YES", "NO"), ("a2", "1", None), ("b1", None, "\n\tYES"),
    ):
        a.put(message(ident, left))
        b.put(message(ident, right, field="x-SPAM-flag"), "cur")
    a.put(message("left", "YES"))
    b.put(message("right"))
    b.put(message("right2"))
    for side, flags in ((a, ("YES", "NO")), (b, ("NO",))):
        for flag in flags:
            side.put(message("twice", flag))
    for flag in ("YES", "YES"):
        b.put(message("same", flag))
    a.put(message("same", "yes, really"))
    summary, found = compare(r, a.path, b.path)
    assert counts(summary) == {"both": 3, "neither": 3, "only_a": 2, "only_b": 1, "differs": 1, "missing_in_a": 2, "missing_in_b": 1}, summary
    assert {name: ids(found, name) for name in found} == {"only_a": ["a1", "a2"], "only_b": ["b1"], "differs": ["twice"]}, found
    assert [(o["a"], o["b"]) for o in found["only_a"]] == [("YES", "NO"), ("1", None)]
    assert [(o["a"], o["b"]) for o in found["only_b"]] == [(None, "YES")]
    (twice,) = found["differs"]
    assert (twice["a_differs"], twice["b_differs"], twice["b"], twice["subject"]) == (True, False, "NO", "s") and twice["a"] in ("YES", "NO")
    assert (summary["a"]["files"], summary["a"]["repeated"], summary["a"]["without_field"]) == (12, 1, 2), summary
    assert (summary["b"]["files"], summary["b"]["repeated"], summary["b"]["without_field"]) == (13, 1, 5), summary
    _, found = compare(r, "--missing", a.path, b.path)
    assert (ids(found, "missing_in_a"), ids(found, "missing_in_b")) == (["right2", "right"], ["left"])  # by the whole Message-ID
    # the other way round
    summary, found = compare(r, b.path, a.path)
    assert counts(summary) == {"both": 3, "neither": 3, "only_a": 1, "only_b": 2, "differs": 1, "missing_in_a": 1, "missing_in_b": 2}, summary
    assert found["differs"][0]["b_differs"] and not found["differs"][0]["a_differs"]


def test_table(r):
    """The output for people has the same numbers, and what is in messages does not get to the terminal as it is."""
    a, b = two_sides(r)
    for i in range(7):
        a.put(message(f"n{i}"))
        b.put(message(f"n{i}"))
    evil = "\x1b[31m\u202e\x9b evil"
    a.put(message(f"x{evil}", f"YES{evil}", subject=f"=?utf-8?q?=1B[2J?= {evil} {'long ' * 100}"))
    b.put(message(f"x{evil}"))
    _, out, _ = rig.run_splitctl(r, "/nonexistent", "compare", a.path, b.path)
    assert f"A: {a.path}\nB: {b.path}\nflagged: X-Spam-Flag is yes, true or 1\n" in out, out
    for line in ("agree 7 87.5 %", "both flagged 0", "neither flagged 7", "disagree 1", "only A flagged 1", "only B flagged 0", "missing in A 0", "files 8 8"):
        assert line.split() in [shown.split() for shown in out.splitlines()], (line, out)
    assert not set(out) & {"\x1b", "\u202e", "\x9b"} and "only A flagged: 1\n  <x?[31m" in out, out
    assert "B: (none)  Subject: ?[2J" in out and "only B flagged:" not in out, out
    (line,) = (shown for shown in out.splitlines() if "Subject:" in shown)
    assert len(line) < 600, line
    for word in ("A: YES?[31m", "evil"):
        assert word in line, line


def test_header_and_value(r):
    """--header and --value: another field, and another word."""
    a, b = two_sides(r)
    for ident, left, right in (("1", "reject; 9.1", "REJECT"), ("2", "rejected", "accept"), ("3", "accept", "reject")):
        a.put(message(ident, left, field="X-Verdict"))
        b.put(message(ident, right, field="X-Verdict"))
    summary, found = compare(r, "--header", "x-verdict", "--value", "Reject", a.path, b.path)
    assert counts(summary) == {"both": 1, "neither": 1, "only_b": 1} and ids(found, "only_b") == ["3"], summary
    assert (summary["header"], summary["value"]) == ("x-verdict", "Reject")
    summary, _ = compare(r, "--header=X-Verdict", a.path, b.path)
    assert counts(summary) == {"neither": 3}, summary


def test_limit(r):
    """--limit is for each list; the counts are those of all messages."""
    a, b = two_sides(r)
    for i in range(150):
        a.put(message(f"a{i}", "YES"))
        b.put(message(f"a{i}"))
    for i in range(3):
        a.put(message(f"b{i}"))
        b.put(message(f"b{i}", "YES"))
    for words, only_a, only_b in (((), 100, 3), (("--limit", "2"), 2, 2), (("--limit", "0"), 150, 3)):
        summary, found = compare(r, *words, a.path, b.path)
        assert counts(summary) == {"only_a": 150, "only_b": 3}
        assert (len(found["only_a"]), len(found["only_b"])) == (only_a, only_b), words
        listed = [o["message_id"] for o in found["only_a"]]
        assert listed == sorted(listed)
    _, out, _ = rig.run_splitctl(r, "/nonexistent", "compare", "--limit", "1", a.path, b.path)
    assert "(149 more; --limit 0 lists all)" in out and "(2 more;" in out, out


def test_time(r):
    """--since and --until: a message counts if a file of either side is of that time."""
    a, b = two_sides(r)
    now = time.time()
    for ident, left, right in (("old", 7200, 7200), ("across", 3700, 3500), ("new", 60, 60), ("only", 7200, None)):
        os.utime(a.put(message(ident, "YES")), (now - left, now - left))
        if right is not None:
            os.utime(b.put(message(ident)), (now - right, now - right))
    for words, expected in (((), ["across", "new", "old"]), (("--since", "1h"), ["across", "new"]), (("--until", "1h"), ["across", "old"]), (("--since", "2m"), ["new"])):
        _, found = compare(r, *words, a.path, b.path)
        assert ids(found, "only_a") == expected, words
    summary, _ = compare(r, "--since", "1h", a.path, b.path)
    assert counts(summary) == {"only_a": 2} and (summary["a"]["files"], summary["b"]["files"]) == (1, 2), summary


def test_hostile_files(r):
    """What is no message is counted or skipped, and nothing waits for it; a file that cannot be read makes the exit status 69."""
    a, b = two_sides(r)
    for side in (a, b):
        side.put(message("good"))
    a.put(message(None, "YES"))
    a.put(b"")
    a.put(os.urandom(100000))
    a.put("X: y\n" * 100000)
    a.put("Message-ID: " + "<x" * 100000 + "\n\n")  # within the limit of a header
    a.put(message("nul\0nul", "YES\0"))
    os.mkfifo(os.path.join(a.path, "new", "fifo"))
    os.symlink("/dev/zero", os.path.join(a.path, "new", "link"))
    os.symlink("/", os.path.join(a.path, "root"))
    os.mkdir(os.path.join(a.path, "cur", "directory"))
    if os.getuid() == 0:
        os.mknod(os.path.join(a.path, "new", "device"), 0o600 | 0o020000, os.makedev(1, 5))
    summary, found = compare(r, "--missing", a.path, b.path)
    assert counts(summary) == {"neither": 1, "missing_in_b": 2}, summary
    assert {k: summary["a"][k] for k in ("maildirs", "files", "without_message_id", "large", "unreadable")} == {
        "maildirs": 1, "files": 7, "without_message_id": 3, "large": 1, "unreadable": 0}, summary
    nul, long = found["missing_in_b"]
    assert len(long["message_id"]) == 999 and nul["message_id"] == "<nul?nul@x.test>" and nul["a"] == "YES?", nul


def test_rights(r):
    """A file or directory that the caller may not read is an error with its path; the rights are those of the caller."""
    if os.getuid() != 0:
        raise rig.Skip("needs root")
    a, b = two_sides(r)
    for side in (a, b):
        side.put(message("x", "YES"))
    closed = a.put(message("y"))
    os.chmod(closed, 0)
    for path in (r.directory, a.path, b.path, *(os.path.join(s.path, f) for s in (a, b) for f in ("cur", "new"))):
        os.chmod(path, 0o755)

    def run():
        command = [program("splitctl"), "compare", "--json", a.path, b.path]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, user=65534, group=65534, extra_groups=[])

    if subprocess.run(["test", "-x", r.directory], user=65534, check=False).returncode != 0 or run().returncode == 126:
        raise rig.Skip("nobody cannot reach the directory of the test")
    done = run()
    assert done.returncode == 69 and done.stderr == f"splitctl: {closed}: Permission denied\n", done
    assert json.loads(done.stdout)["a"]["unreadable"] == 1 and json.loads(done.stdout)["both"] == 1
    os.chmod(os.path.join(b.path, "cur"), 0)
    done = run()
    assert (done.returncode, done.stdout) == (69, "") and f"splitctl: {b.path}/cur: Permission denied\n" in done.stderr, done


def test_refusals(r):
    """Wrong places and words are refused, with what is allowed."""
    a, b = two_sides(r)
    conf = r.write(
        "conf",
        f'relay {{ hostname = "relay.test" spool_directory = "{r.path("spool")}" }}\n'
        'destination server { relay_to = { "[127.0.0.1]:9" } }\n'
        f'destination reports {{ relay_to = {{ "maildir:{b.path}" }} format = "journal" }}\n'
        f'destination files {{ relay_to = {{ "maildir:{b.path}" }} }}\n',
    )
    refused(r, a.path, "server", conf=conf, status=64, why="destination 'server' is not a Maildir, and mail that it was sent is not kept here; allowed: ")
    refused(r, "reports", a.path, conf=conf, status=64, why="""destination 'reports' has format = "journal", so its files have headers of reports; allowed: """)
    refused(r, a.path, "nowhere", conf=conf, status=1, why="there is no destination 'nowhere' (the path of a Maildir has a '/': ./nowhere)")
    refused(r, a.path, "files", conf=r.write("broken", "relay {\n"), status=78, why="broken")
    refused(r, b.path, "files", conf=conf, status=64, why=f"{b.path}: this Maildir belongs to both sides")
    refused(r, a.path, r.path("none"), status=69, why="none: No such file or directory")
    refused(r, a.path, r.directory + "/b/cur", status=69, why="there is no Maildir")
    for words, why in (
        (("--header", "X Y"), "--header 'X Y': not the name of a header field"), (("--header", ""), "not the name"), (("--value", ""), "--value '': not a text"),
        (("--limit", "x"), "--limit 'x': not a number"), (("--limit", "-1"), "not a number"), (("--since", "soon"), "--since 'soon': not a time"), (("--bogus",), "usage"),
    ):
        refused(r, *words, a.path, b.path, status=64, why=why)
    for places in ((), (a.path,), (a.path, b.path, a.path)):
        refused(r, *places, status=64, why="usage: splitctl")
    summary, _ = compare(r, a.path, "FILES", conf=conf)  # names have no case
    assert counts(summary) == {} and summary["b"]["name"] == "FILES" and summary["b"]["path"] == b.path


def test_destinations(r):
    """splitrelay writes the Maildirs: two filters add headers and give mail to two destinations, one of which has a Maildir for each
    domain beside one of the other's."""
    os.mkdir(r.path("mail"))
    address = ("127.0.0.1", r.free_port())
    os.mkdir(r.path("spool"), 0o700)
    relay = rig.start_splitrelay(
        r,
        f'log {{ target = "stderr" }}\nrelay {{ listen = {{ "inet:{address[1]}@127.0.0.1" }} hostname = "relay.test" spool_directory = "{r.path("spool")}" min_free_space = "1k" }}\n'
        f'destination old {{ relay_to = {{ "maildir:{r.path("mail")}/old-%d" }} format = "envelope-headers" }}\n'
        f'destination new {{ relay_to = {{ "maildir:{r.path("mail")}/new-%d/{{%Y}}" }} }}\n',
        address,
    )
    for i in range(6):
        for name, is_spam in (("old", i % 2 == 0), ("new", i % 3 == 0)):
            content = f"X-Spam-Status: {'Yes' if is_spam else 'No'},\r\n\tscore={i}\r\nMessage-ID: <{i}@x.test>\r\nSubject: m{i}\r\n\r\n.\r\n"
            rig.send(address, "s@x.test", [f"a@{'example.com' if i < 3 else 'example.net'}.{name}.copy.split.invalid"], content.encode())
    rig.wait_for(lambda: not rig.queue.ids(r.path("spool"), "queued"), 20, "an empty queue", relay.log)
    conf = relay.configuration_path
    summary, found = compare(r, "--header", "X-Spam-Status", "old", "new", conf=conf)
    assert counts(summary) == {"both": 1, "neither": 2, "only_a": 2, "only_b": 1}, summary
    assert (ids(found, "only_a"), ids(found, "only_b")) == (["2", "4"], ["3"]), found
    assert [(o["a"], o["b"], o["subject"]) for o in found["only_b"]] == [("No, score=3", "Yes, score=3", "m3")]
    for side, path in (("a", "old-%d"), ("b", "new-%d/{%Y}")):
        assert (summary[side]["maildirs"], summary[side]["files"]) == (2, 6) and summary[side]["path"].endswith(path), summary
    _, out, _ = rig.run_splitctl(r, conf, "compare", "old", "new")
    assert f"A: destination old, maildir:{r.path('mail')}/old-%d\n" in out, out
    # a destination and a path, which may be relative
    summary, _ = compare(r, "--header", "X-Spam-Status", "old", os.path.relpath(r.path("mail", "new-example.com")), conf=conf)
    assert counts(summary) == {"both": 1, "neither": 1, "only_a": 1, "missing_in_b": 3}, summary
    # all below the directory, with Maildirs of the first side
    refused(r, "old", r.path("mail"), conf=conf, status=64, why="this Maildir belongs to both sides")


def run_and_look(*args):
    """The standard output of a comparison whose output does not fit into a pipe of one page, and the peak of its memory in kB: it is
    looked at while the program cannot go on to write."""
    with subprocess.Popen([program("splitctl"), "compare", "--json", "--missing", *args], stdout=subprocess.PIPE) as process:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        rig.wait_for(lambda: select.select([process.stdout], [], [], 0)[0], 600, "output")
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])
        out = process.stdout.read().decode()
    assert process.returncode == 0
    return out, peak


def test_many_messages(r):
    """A large comparison is right, and a message takes a small, fixed amount of memory, whatever is in its header."""
    a, b = two_sides(r)
    few = Side(r, "few"), Side(r, "none")
    long = "x" * 900
    for i in range(20):
        few[0].put(message(f"{i}-{long}"))
    for i in range(MESSAGES):
        a.put(message(f"{i}-{long}", "YES" if i % 10 == 0 else f"NO{long}"))
        b.put(message(f"{i}-{long}", "YES" if i % 10 == 0 and i % 100 != 0 else None))
    _, floor = run_and_look(few[0].path, few[1].path)
    begin = time.monotonic()
    out, peak = run_and_look("--limit", "20", a.path, b.path)
    print(f"  {MESSAGES} messages on each side: {time.monotonic() - begin:.1f} s, {peak} kB, {floor} kB for 20 messages")
    flagged, only_a = len(range(0, MESSAGES, 10)), len(range(0, MESSAGES, 100))
    assert counts(json.loads(out.splitlines()[0])) == {"both": flagged - only_a, "neither": MESSAGES - flagged, "only_a": only_a}, out
    assert rig.instrumented() or peak - floor < 500 + MESSAGES * 150 / 1024, (peak, floor)


def test_output_that_cannot_be_written(r):
    a, b = two_sides(r)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program("splitctl"), "compare", a.path, b.path], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1 and b"cannot write the output" in done.stderr, done


if __name__ == "__main__":
    rig.main()

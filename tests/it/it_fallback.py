#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""fallback of a filter: while the filter takes no mail, the next one gets its mail, and mail never passes unfiltered.

SPLIT_FALLBACK_MESSAGES (300) is the number of messages under which a filter is killed; SPLIT_SEED repeats a run.
"""

import collections
import json
import os
import random
import re
import threading
import time

import rig
from rig.setup_system import HERE, REINJECT, System

MESSAGES = int(os.environ.get("SPLIT_FALLBACK_MESSAGES", "300"))
SEED = int(os.environ.get("SPLIT_SEED", str(time.time_ns() % 1000000)))
# What FILTERS of the rig says. info@ is an alias, which the administrator's maps resolve behind the filter.
TABLE = {"anna@example.com": "primary", "ben@example.com": "secondary", "carl@example.com": None, "dora@example.com": None}


def setup(r):
    return System(r)


def configure(s, form, milter=""):
    """Set Postfix up with a fallback for filter secondary: filter primary."""
    s.fresh("/var/spool/postfix-in" if form == "--multi" else "/var/spool/postfix", milter=milter)
    for filter_ in s.filters.values():
        filter_.stop()
        filter_.hook = filter_._pass_on
        filter_.start()
    own = s.configuration
    with_fallback(s, f'"smtp:{s.filters["primary"].bracketed}"')
    s.ctl(form, "--apply")
    assert s.ctl(form, "--apply").count("Nothing to do") == 1
    return own


def with_fallback(s, values, name="secondary"):
    """Add the option to the configuration that is there. Returns the line number of the filter's section."""
    before = f'filter {name} {{ nexthop = "smtp:{s.filters[name].bracketed}"'
    assert before in s.configuration
    s.configuration = s.configuration.replace(before, f"{before} fallback = {{ {values} }}")
    s.conf = s.r.write("setup.conf", s.configuration)
    return s.configuration[: s.configuration.index(before)].count("\n") + 1


def check(s):
    """What splitctl check says about Postfix's routes and services."""
    _, out, _ = rig.run_splitctl(s.r, s.conf, "check", "--json", check=False)
    found = [json.loads(ln)["text"] for ln in out.splitlines()]
    return [t for t in found if t.startswith("postfix:") and ("fallback" in t or "set up for another" in t or "refuse" in t)]


def arrivals(s):
    """For each message and recipient: the filters that it passed, one list for each time that it arrived."""
    found = collections.defaultdict(list)
    for txn in s.mailbox.accepted:
        for address in txn.addrs:
            found[txn.headers("Subject")[0], address].append(tuple(txn.headers("X-Filtered-By")))
    return found


def send_many(s, wanted, chance):
    """Send the messages of `wanted` in four sessions at once."""
    rest = list(wanted)
    chance.shuffle(rest)
    lock, failures = threading.Lock(), []

    def session():
        try:
            with rig.SmtpClient((HERE, 25)) as c:
                while True:
                    with lock:
                        if not rest:
                            return
                        subject = rest.pop()
                    replies = [c.mail("s@sender.test"), *(c.rcpt(a) for a in wanted[subject])]
                    replies.append(c.data(f"Subject: {subject}\r\n\r\ntext\r\n".encode()))
                    assert all(reply.code == 250 for reply in replies), replies
        except (OSError, AssertionError) as e:
            failures.append(e)

    threads = [threading.Thread(target=session, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    return threads, failures


def kill_under_load(s, form):
    print(f"{form}: {MESSAGES} messages, SPLIT_SEED={SEED}")
    configure(s, form)
    s.start()
    chance = random.Random(SEED)
    wanted = {f"m{i}": chance.sample(sorted(TABLE), chance.randint(1, len(TABLE))) for i in range(MESSAGES)}
    pairs = {(subject, a) for subject, addresses in wanted.items() for a in addresses}
    threads, failures = send_many(s, wanted, chance)
    secondary = s.filters["secondary"]
    rig.wait_for(lambda: len(secondary.accepted) >= MESSAGES // 10, 120, "mail at the filter", s.log)
    secondary.stop()
    rig.wait_for(lambda: not any(t.is_alive() for t in threads), 120 + MESSAGES // 10, "all messages to be sent", s.log)
    assert not failures, failures
    rig.wait_for(lambda: len(arrivals(s)) >= len(pairs), 120 + MESSAGES // 10, "all messages",
                 lambda: f"{len(arrivals(s))} of {len(pairs)}\n{s.log()[-3000:]}")
    found = arrivals(s)
    assert set(found) == pairs, set(found) ^ pairs
    # What the killed filter had passed on without an answer arrives again, through the other one.
    unanswered = s.log().count("while sending end of data -- message may be sent more than once")
    for (subject, address), ways in found.items():
        allowed = [(TABLE[address],)] if TABLE[address] else [()]
        allowed += [("primary",)] if TABLE[address] == "secondary" else []
        assert all(way in allowed for way in ways), (subject, address, ways)
        assert len(ways) == 1 or sorted(ways) == [("primary",), ("secondary",)], (subject, address, ways)
    twice = sum(len(ways) == 2 for ways in found.values())
    assert twice <= unanswered, (twice, unanswered)
    passed = [ways for (_, address), ways in found.items() if address == "ben@example.com"]
    by_other = sum(("primary",) in ways for ways in passed)
    print(f"{len(passed)} messages for the killed filter, {by_other} passed the other one, {twice} of them twice")
    assert 0 < by_other < len(passed)
    for filter_ in s.filters.values():
        assert not [t.addrs for t in filter_.accepted if any("split.invalid" in a for a in t.addrs)]
    failed = [ln for ln in s.log().splitlines() if re.search("status=(deferred|bounced|expired)", ln)]
    assert not failed, failed[:10]


def test_filter_is_killed_single(s):
    """A filter is killed under load: each recipient's mail passes the filter that the tables say, or its fallback, once."""
    kill_under_load(s, "--single")


def test_filter_is_killed_multi(s):
    kill_under_load(s, "--multi")


def test_both_are_down(s):
    """While neither the filter nor its fallback takes mail, mail waits, and does not pass unfiltered."""
    configure(s, "--single")
    s.start()
    for filter_ in s.filters.values():
        filter_.stop()
    for recipient in ("ben@example.com", "carl@example.com"):
        rig.send((HERE, 25), "s@sender.test", [recipient], b"Subject: waits\r\n\r\n")
    # The fallback is the last host that is tried.
    wanted = rf"status=deferred \((delivery temporarily suspended: )?connect to 127\.0\.0\.1\[127\.0\.0\.1\]:{s.filters['primary'].address[1]}: Connection refused\)"

    def is_tried_thrice():
        assert ("waits", "ben@example.com") not in arrivals(s), "mail has passed unfiltered"
        attempts = [ln for ln in s.log().splitlines() if "to=<ben@example.com.secondary.filter." in ln]
        assert all(re.search(wanted, ln) for ln in attempts), attempts
        return len(attempts) >= 3

    # qmgr waits for a minute if it finds that the message is still being delivered to its copy.
    rig.wait_for(is_tried_thrice, 200, "three attempts", s.log)
    s.mailbox.wait_recipients(1)
    assert set(arrivals(s)) == {("waits", "carl@example.com")}, arrivals(s)
    s.filters["primary"].start()
    s.mailbox.wait_recipients(2, 200)
    assert arrivals(s)["waits", "ben@example.com"] == [("primary",)]
    # The filter itself is asked first again as soon as it answers.
    s.filters["secondary"].start()
    rig.send((HERE, 25), "s@sender.test", ["ben@example.com"], b"Subject: again\r\n\r\n")
    s.mailbox.wait_recipients(3)
    assert arrivals(s)["again", "ben@example.com"] == [("secondary",)]


REPLIES = (
    # stage, reply of the filter, does the fallback get the mail?
    ("connect", "421 4.3.2 full", True),
    ("connect", "554 5.3.2 no service", True),
    ("connect", rig.CLOSE, True),
    ("mail", "451 4.3.0 later", True),
    ("rcpt", "450 4.2.0 later", True),
    ("dot", "451 4.3.0 later", True),
    ("dot", rig.CLOSE, True),
    ("helo", "550 5.7.1 no", False),
    ("rcpt", "550 5.1.1 no", False),
    ("dot", "554 5.7.1 spam", False),
)


def test_which_replies(s):
    """The fallback gets mail after 4xx replies, after 5xx in place of the greeting, and after lost connections; any other 5xx of
    the filter is its decision."""
    configure(s, "--single")
    s.start()
    for number, (stage, reply, passes) in enumerate(REPLIES):
        # The hook of a Filter gives mail back at "dot", so it is called only for the other stages.
        s.filters["secondary"].hook = lambda at, _conn, _arg, stage=stage, reply=reply: reply if at == stage else None
        subject = f"case{number}"
        rig.send((HERE, 25), "s@sender.test", ["ben@example.com"], f"Subject: {subject}\r\n\r\n".encode())
        if passes:
            rig.wait_for(lambda subject=subject: arrivals(s)[subject, "ben@example.com"], 30, f"{stage} {reply}", s.log)
            assert arrivals(s)[subject, "ben@example.com"] == [("primary",)], (stage, reply)
        else:
            before = sum(not case[2] for case in REPLIES[:number])
            rig.wait_for(lambda before=before: len(re.findall("to=<ben.*status=bounced", s.log())) > before, 30, f"{stage} {reply}", s.log)
            assert not arrivals(s)[subject, "ben@example.com"], (stage, reply)


def test_lmtp(s):
    """A filter that takes mail by LMTP has a fallback, too."""
    s.fresh()
    lmtp, down = rig.Sink(s.r, "lmtp"), s.r.free_port()
    s.configuration = s.configuration.replace(f"smtp:{s.filters['secondary'].bracketed}", f"lmtp:[127.0.0.1]:{down}\" fallback = \"lmtp:{lmtp.bracketed}")
    s.conf = s.r.write("setup.conf", s.configuration)
    s.ctl("--single", "--apply")
    s.start()
    rig.send((HERE, 25), "s@sender.test", ["ben@example.com"], b"Subject: lmtp\r\n\r\n")
    assert [t.addrs for t in lmtp.wait(1)] == [["ben@example.com"]]
    lmtp.stop()


def test_header_method(s):
    """With filter_method = "header" a filter with fallback gets its mail by tags, because its service is found by them alone."""
    configure(s, "--single", milter='filter_method = "header"')
    s.start()
    s.filters["secondary"].stop()
    rig.send((HERE, 25), "s@sender.test", ["special@example.net"], b"Subject: header\r\n\r\n")
    assert s.special.wait(1)[0].headers("X-Filtered-By") == ["primary"]


def test_what_check_says(s):
    """check reports a fallback that Postfix does not use, and one that only Postfix has."""
    for form, etc in (("--single", "/etc/postfix"), ("--multi", "/etc/postfix-in")):
        own = configure(s, form)
        assert check(s) == [], form
        mine = s.configuration
        hop = s.filters["primary"].bracketed
        s.conf = s.r.write("setup.conf", own)
        (line,) = check(s)
        assert line == (f"postfix: {etc}/master.cf: service split-secondary/unix, for filter secondary of {s.conf}: the fallback is {hop}, "
                        "not none: mail may pass unfiltered, and copies may vanish, while the next hop takes none (run `splitctl "
                        "setup-postfix --apply')"), line
        s.ctl("--apply")
        assert check(s) == []
        s.conf = s.r.write("setup.conf", mine)
        (line,) = check(s)
        assert f"the fallback is none, not {hop}: mail waits while the next hop takes none" in line, line
        s.ctl("--apply")
        # What an administrator changes in our part.
        s.run("postconf", "-c", etc, "-P", "split-secondary/unix/smtp_fallback_relay=[127.0.0.1]:9")
        first, second = check(s)
        assert f"the fallback is [127.0.0.1]:9, not {hop}: mail may pass unfiltered" in first and "refuse to run again" in second, (first, second)


def test_what_is_refused(s):
    """setup-postfix refuses a fallback that leads back to this Postfix, with the place in the configuration."""
    for value, form in (
        (f"[127.0.0.1]:{REINJECT}", "--single"),
        ("localhost", "--single"),
        ("[mail.example.com]:25", "--multi"),
        ("[127.0.0.1]:2525", "--multi"),
    ):
        s.fresh("/var/spool/postfix-in" if form == "--multi" else "/var/spool/postfix")
        line = with_fallback(s, f'"smtp:{value}"')
        out = s.ctl(form, "--submission=2525" if form == "--multi" else "--apply", status=1)
        assert f"{s.conf}:{line}: filter secondary: fallback: \"smtp:{value}\" is a port of this Postfix: mail would come back" in out, out
        assert s.texts() == s.before
    # A port whose own smtpd_milters are empty filters nothing.
    s.fresh()
    with open("/etc/postfix/master.cf", "a", encoding="utf-8") as f:
        f.write("127.0.0.1:10028 inet n - y - - smtpd -o smtpd_milters=\n")
    line = with_fallback(s, '"smtp:[127.0.0.1]:10028"')
    out = s.ctl("--single", "--apply", status=1)
    assert f"{s.conf}:{line}: filter secondary: fallback: \"smtp:[127.0.0.1]:10028\" is a port of this Postfix" in out, out
    # The filter may be a port of this Postfix with other milters.
    s.fresh()
    with open("/etc/postfix/master.cf", "a", encoding="utf-8") as f:
        f.write("127.0.0.1:10028 inet n - y - - smtpd -o smtpd_milters=inet:127.0.0.1:11332\n")
    rig.date_back("/etc/postfix/master.cf")
    with_fallback(s, '"smtp:[127.0.0.1]:10028"')
    s.ctl("--single", "--apply")


def test_tls(s):
    """A service sends without TLS only if all its next hops are on this machine; if TLS is required, a note says what that means."""
    s.fresh(main="smtp_tls_security_level = encrypt")
    with_fallback(s, f'"smtp:{s.filters["primary"].bracketed}"')
    assert "applies to" not in s.ctl("--single", "--apply")
    assert "-o smtp_tls_security_level=none" in s.run("postconf", "-M", "split-secondary/unix")
    s.fresh(main="smtp_tls_security_level = encrypt")
    with_fallback(s, '"smtp:[192.0.2.77]:25", "smtp:[192.0.2.78]:25"')
    out = s.ctl("--single", "--apply")
    assert "filter secondary: a fallback is on another machine, so smtp_tls_security_level = encrypt applies to smtp:[127.0.0.1]" in out, out
    entry = s.run("postconf", "-M", "split-secondary/unix")
    assert "smtp_tls_security_level" not in entry and "-o smtp_fallback_relay=[192.0.2.77]:25,[192.0.2.78]:25" in entry, entry


def test_explain(s):
    """explain names the fallback."""
    configure(s, "--single")
    hop = s.filters["primary"].bracketed
    _, out, _ = rig.run_splitctl(s.r, s.conf, "explain", "ben@example.com", "anna@example.com")
    assert f"             or, while it takes no mail: smtp:{hop}\n" in out and out.count("while it takes") == 1, out
    _, out, _ = rig.run_splitctl(s.r, s.conf, "explain", "--json", "ben@example.com", "carl@example.com")
    assert [json.loads(ln).get("fallback") for ln in out.splitlines()] == [[f"smtp:{hop}"], [], None], out


if __name__ == "__main__":
    rig.main(timeout=600 + MESSAGES)

#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl setup-postfix on whole systems."""

import glob
import os
import re
import shutil
import subprocess

import rig
from rig.setup_system import HERE, REINJECT, System, stranger


def setup(r):
    return System(r)


def test_single(s):
    """--single splits mail with one instance, keeps the tag domain closed, and --remove restores the files."""
    s.fresh()
    s.run("postfix", "check")  # it copies changed files into the chroot, and Debian 13 names them
    out = s.ctl("--single")
    assert "This is what --apply does" in out and s.texts() == s.before, "printing changed something"
    out = s.ctl("--single", "--apply", f"--reinject=0.0.0.0:{REINJECT}")
    assert re.search(r"run: postfix -c /etc/postfix check\n(?!  )", out), out
    after = s.texts()
    assert after != s.before
    assert "Nothing to do" in s.ctl("--single", "--apply", f"--reinject=0.0.0.0:{REINJECT}")
    assert s.texts() == after
    assert s.run("postfix", "check") == ""
    s.start()
    assert "overriding earlier entry" not in s.run("postconf", "-n")
    s.send_and_see()
    s.is_closed((HERE, REINJECT))
    # While Postfix runs, --remove reloads it.
    out = s.ctl("--remove", "--apply")
    assert "postfix -c /etc/postfix reload" in out
    assert s.texts() == s.before
    left = [n for n in os.listdir("/etc/postfix") if "split" in n]
    assert left == [], left
    rig.send((HERE, 25), "s@sender.test", ["later@example.com"], b"Subject: after\r\n\r\n")
    rig.wait_for(lambda: [t for t in s.mailbox.accepted if "after" in t.headers("Subject")], 20, "mail without us", s.log)


def test_a_suffix_without_way_waits(s):
    """If a filter is removed from the configuration while mail for it is in the queue, the mail waits, and does not bounce."""
    s.fresh()
    s.ctl("--single", "--apply")
    s.start()
    for filter_ in s.filters.values():
        filter_.stop()
    rig.send((HERE, 25), "s@sender.test", ["ben@example.com"], b"Subject: waits\r\n\r\n")
    rig.wait_for(lambda: "status=deferred" in s.log(), 20, "the message to wait", s.log)
    text, status = s.status()
    assert re.search(r"filter secondary: 1 recipient deferred, oldest \d+s\n +\(connect to .* refused\)", text), text
    (postfix,) = status["postfix"]
    assert postfix["queues"]["deferred"] + postfix["queues"]["active"] == 1, postfix
    (way,) = postfix["deferred"]
    assert (way["name"], way["deferred"]) == ("filter secondary", 1) and "refused" in way["last_error"], way
    with open(s.conf, encoding="utf-8") as f:
        less = re.sub(r"filter secondary .*\n", "", f.read())
    s.conf = s.r.write("less.conf", less)
    s.ctl("--single", "--apply")
    rig.wait_for(lambda: "run splitctl setup-postfix" in s.log(), 20, "the route of last resort", s.log)
    assert "status=bounced" not in s.log()
    for filter_ in s.filters.values():
        filter_.start()
    s.conf = s.r.write("setup.conf", s.configuration)
    s.ctl("--single", "--apply")
    s.mailbox.wait_recipients(1)


def test_edits_are_kept(s):
    s.fresh()
    s.ctl("--single", "--apply")
    with open("/etc/postfix/main.cf", "a", encoding="utf-8") as f:
        f.write("always_add_missing_headers = yes\ntransport_maps = inline:{ x.test=smtp:[127.0.0.1]:1 }\n")
    s.ctl("--single", "--apply")
    assert s.run("postconf", "-h", "transport_maps") == (
        "regexp:$config_directory/split_transport, inline:{ x.test=smtp:[127.0.0.1]:1 }\n"
    )
    assert s.run("postfix", "check") == ""
    out = s.ctl("--remove", "--apply")
    assert "was edited since" in out
    main, master = s.texts()
    wanted = s.before[0] + b"\nalways_add_missing_headers = yes\ntransport_maps = inline:{ x.test=smtp:[127.0.0.1]:1 }\n"
    assert (main, master) == (wanted, s.before[1])
    assert os.path.exists("/etc/postfix/main.cf.before-split")


def test_header_method(s):
    """With filter_method = "header" setup-postfix adds its header checks before those of the administrator."""
    s.fresh(milter='filter_method = "header"', main="milter_header_checks = regexp:$config_directory/own_checks")
    s.write("/etc/postfix/own_checks", "/^X-Other:/ IGNORE\n")
    s.ctl("--single", "--apply")
    assert s.run("postconf", "-h", "milter_header_checks") == (
        "regexp:$config_directory/split_filter, regexp:$config_directory/own_checks\n"
    )
    s.start()
    rig.send((HERE, 25), "s@sender.test", ["special@example.net"], b"Subject: by header\r\n\r\n")
    assert s.special.wait(1)[0].headers("X-Filtered-By") == ["secondary"]
    assert s.filters["secondary"].accepted[0].headers("X-Split-Filter")
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before


def test_multi(s):
    """--multi splits mail with three instances, keeps the tag domain closed, and --remove restores everything."""
    s.fresh("/var/spool/postfix-in")
    before = sorted(os.listdir("/etc/postfix"))
    text, status = s.status(code=2)
    assert "STOPPED" in text and status["postfix"][0]["running"] is False, (text, status)
    s.ctl("--multi")
    assert s.texts() == s.before and not os.path.exists("/etc/postfix-in")
    options = ("--multi", "--apply", f"--reinject=0.0.0.0:{REINJECT}", "--submission=2525")
    s.ctl(*options)
    after = s.texts()
    assert "Nothing to do" in s.ctl(*options)
    assert s.texts() == after
    for _ in range(2):
        assert s.run("postfix", "check") == ""
        assert s.run("postmulti", "-x", "postfix", "check") == ""
    assert re.findall(r"(?m)^(\S+) +split +y +(\S+)$", s.run("postmulti", "-l")) == [
        ("-", "/etc/postfix"), ("postfix-out", "/etc/postfix-out"), ("postfix-in", "/etc/postfix-in"),
    ]
    s.start()
    s.send_and_see()
    s.is_closed((HERE, REINJECT))
    assert s.run("postmulti", "-x", "mailq").count("Mail queue is empty") == 3
    text, status = s.status()
    assert [(i["name"], i["running"], sum(i["queues"].values())) for i in status["postfix"]] == [
        ("postfix", True, 0), ("postfix-out", True, 0), ("postfix-in", True, 0),
    ], status
    assert status["splitmilter"]["pid"] == s.daemons[1].pid and status["splitrelay"]["pid"] == s.daemons[0].pid
    assert re.search(r"(?m)^postfix-in +runs +/etc/postfix-in: empty$", text), text
    # Local mail is split, too: from sendmail(1), and from the submission port.
    done = subprocess.run(["sendmail", "-i", "-f", "cron@example.com", "ben@example.com"], input=b"Subject: cron\n\n",
                          env=rig.environment(), check=True, timeout=30)
    assert done.returncode == 0
    rig.send(("127.0.0.1", 2525), "app@example.com", ["ben@example.com"], b"Subject: application\r\n\r\n")
    for subject in ("cron", "application"):
        found = rig.wait_for(lambda: [t for t in s.mailbox.accepted if subject in t.headers("Subject")], 30, subject, s.log)
        assert found[0].headers("X-Filtered-By") == ["secondary"]
    assert "loops back" not in s.log()
    names = set(re.findall(r"(postfix\S*)/smtpd\[", s.log()))
    assert {"postfix-in", "postfix-out/reinject", "postfix/submission"} <= names, names
    # --remove refuses while there is mail in a queue.
    s.mailbox.stop()
    s.archive.stop()
    rig.send((HERE, 25), "s@sender.test", ["carl@example.com"], b"Subject: queued\r\n\r\n")
    rig.wait_for(lambda: "status=deferred" in s.log(), 20, "a deferred message", s.log)
    rig.wait_for(lambda: s.daemons[0].log_lines("status=deferred"), 20, "a deferred copy", s.daemons[0].log)

    def is_known():
        """The outcome is recorded a moment after it is logged. A suspension of the destination is no attempt at the copy."""
        (archive,) = s.status()[1]["splitrelay"]["destinations"]
        error = archive["last_error"] or (archive["suspended"] or {}).get("reason", "")
        return archive["active"] + archive["waiting"] + archive["deferred"] == 1 and "refused" in error

    rig.wait_for(is_known, 10, "a deferred copy in the status", lambda: str(s.status()))
    out = s.status()[1]["postfix"][1]
    assert out["deferred"][0]["name"] == "example.com" and out["oldest"], out
    assert "1 messages in its queue would be lost" in s.ctl("--remove", "--apply", status=1)
    assert s.texts() == after
    s.mailbox.start()
    s.archive.start()
    # A message that is still locked by a delivery agent of the former qmgr(8) would wait for five minutes.
    s.run("postqueue", "-c", "/etc/postfix-out", "-f")
    rig.wait_for(lambda: [t for t in s.mailbox.accepted if "queued" in t.headers("Subject")], 30, "the queued one", s.log)
    rig.wait_for(lambda: s.run("postmulti", "-x", "mailq").count("Mail queue is empty") == 3, 10, "empty queues", s.log)
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before
    assert sorted(os.listdir("/etc/postfix")) == before
    for path in ("/etc/postfix-in", "/etc/postfix-out", "/var/spool/postfix-in", "/var/lib/postfix-out"):
        assert not os.path.exists(path), path
    rig.send((HERE, 25), "s@sender.test", ["later@example.com"], b"Subject: after\r\n\r\n")
    rig.wait_for(lambda: [t for t in s.mailbox.accepted if "after" in t.headers("Subject")], 20, "mail without us", s.log)


def test_reinjection_at_an_address(s):
    """With --reinject at an address, for filters on other machines, mail without filter is delivered, too, and other clients are
    refused there."""
    s.fresh("/var/spool/postfix-in")
    s.ctl("--multi", "--apply", f"--reinject={HERE}:{REINJECT}", "--filter-networks=198.51.100.0/24")
    s.start()
    rig.send((HERE, 25), "s@sender.test", ["carl@example.com"], b"Subject: plain\r\n\r\n")
    s.mailbox.wait_recipients(1)
    with stranger((HERE, REINJECT)) as c:
        c.mail("s@sender.test")
        assert c.rcpt("anna@example.com").code == 554
    assert s.run("postfix", "-c", "/etc/postfix-out", "check") == ""


def test_multi_on_the_systems_own_files(s):
    """--multi works with the system's own main.cf, and keeps an administrator's changes in the new instances."""
    s.fresh("/var/spool/postfix-in", base=s.systems_own["main.cf"].replace("{", "{{").replace("}", "}}"))
    s.ctl("--multi", "--apply")
    for name in ("postfix", "postfix-in", "postfix-out"):
        assert s.run("postfix", "-c", f"/etc/{name}", "check") == ""
    with open("/etc/postfix-in/main.cf", "a", encoding="utf-8") as f:
        f.write("relay_domains = example.org\n")
    assert "Nothing to do" not in s.ctl("--multi", "--apply")
    assert s.run("postconf", "-c", "/etc/postfix-in", "-h", "relay_domains") == "example.org\n"
    s.ctl("--multi", "--apply")
    assert "kept in /etc/postfix/main.cf-in.removed" in s.ctl("--remove", "--apply")
    assert s.texts() == s.before
    with open("/etc/postfix/main.cf-in.removed", encoding="utf-8") as f:
        assert "relay_domains = example.org" in f.read()


def modes(*directories):
    """The configuration files in these directories that a group or other users may read."""
    return sorted(f"{d}/{n}" for d in directories for n in os.listdir(d) if n.startswith(("main.cf", "master.cf", "split_"))
                  and not n.endswith(".proto") and os.stat(f"{d}/{n}").st_mode & 0o077)


def test_what_main_cf_hides_stays_hidden(s):
    """If main.cf may not be read by others, neither may its copies, nor main.cf itself after postmulti(1) has rewritten it."""
    wrapped = s.r.path("wrapped")
    os.makedirs(wrapped, exist_ok=True)
    real = shutil.which("postmulti", path=rig.environment()["PATH"])
    s.r.write("wrapped/postmulti", f'#!/bin/sh\ncase "$*" in *create*) umask; grep -c "My own" "/etc/$2/main.cf";; esac >>{wrapped}/umasks\nexec {real} "$@"\n', mode=0o755)
    for form, queue in (("--single", "/var/spool/postfix"), ("--multi", "/var/spool/postfix-in")):
        s.fresh(queue)
        os.chmod("/etc/postfix", 0o750)
        for name in ("main.cf", "master.cf"):
            os.chmod(f"/etc/postfix/{name}", 0o600)
            os.chown(f"/etc/postfix/{name}", 0, 12)
        with s.with_path(wrapped):
            s.ctl(form, "--apply")
        made = ["/etc/postfix"] + (["/etc/postfix-in", "/etc/postfix-out"] if form == "--multi" else [])
        assert modes(*made) == [], modes(*made)
        for d in made:
            st = os.stat(d)
            assert st.st_mode & 0o7777 == 0o750, (d, oct(st.st_mode))
            assert {(os.stat(f"{d}/{n}").st_mode & 0o7777, os.stat(f"{d}/{n}").st_gid) for n in ("main.cf", "master.cf")} == {(0o600, 12)}
        with open(f"{made[-1]}/main.cf", "a", encoding="utf-8") as f:
            f.write("always_add_missing_headers = yes\n")
        with s.with_path(wrapped):
            s.ctl("--remove", "--apply")
        assert modes("/etc/postfix") == [], modes("/etc/postfix")
    with open(f"{wrapped}/umasks", encoding="utf-8") as f:
        lines = f.read().split()
    # Before postmulti(1) sets permissions, the new instance has no text of the administrator.
    assert lines == ["0066", "0"] * 2, lines
    assert os.path.exists("/etc/postfix/main.cf-out.removed")


def test_options_are_remembered(s):
    """Options of setup-postfix are kept for later runs, until they are given anew."""
    s.fresh()
    assert "is not set up yet: choose --single or --multi" in s.ctl("--apply", status=64)
    options = ("--reinject=0.0.0.0:10025", "--relay=[192.0.2.1]:10031", "--filter-networks=198.51.100.0/24, [2001:db8::]/32")
    s.ctl("--single", "--apply", *options)
    first = s.texts()
    assert b"setup-postfix --single --reinject=[0.0.0.0]:10025 --relay=[192.0.2.1]:10031 --filter-networks=198.51.100.0/24," in first[0]
    limits = "connect=10s helo=60s xforward=60s mail=60s rcpt=60s data_init=60s data_xfer=60s data_done=60s".split()
    assert all(f"    -o smtp_{x.replace('=', '_timeout=')}\n".encode() in first[1] for x in limits), first[1]
    for again in (("--single", "--apply"), ("--apply",), (), ("--single", "--apply", *options)):
        assert "Nothing to do" in s.ctl(*again), again
    assert s.texts() == first
    s.ctl("--apply", "--relay=")
    assert s.read("/etc/postfix/split_transport").count("splitcopy:[127.0.0.1]:10030") == 1
    assert b"198.51.100.0/24" in s.texts()[1] and b"--relay" not in s.texts()[0] and b"_timeout=60s" not in s.texts()[1]
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before
    s.fresh("/var/spool/postfix-in")
    s.ctl("--multi", "--apply", "--submission=2525", "--in-hostname=front.example.com", "--local=127.0.0.2:10027", "--out-hostname=out.example.com")
    for _ in range(2):
        assert "Nothing to do" in s.ctl("--apply")
        assert s.run("postconf", "-c", "/etc/postfix-in", "-h", "myhostname") == "front.example.com\n"
    # A line with options that cannot be read is an error.
    s.write("/etc/postfix/main.cf", s.read("/etc/postfix/main.cf").replace("--submission=", "--submision="))
    assert "cannot read the options in the first line of our part" in s.ctl("--apply", status=1)
    s.ctl("--multi", "--apply", "--force", "--submission=2525")
    assert "Nothing to do" in s.ctl("--apply")


def test_a_new_filter_restarts_nothing(s):
    """A new filter makes running instances reload, not restart, also with systemd."""
    s.fresh("/var/spool/postfix-in")
    s.ctl("--multi", "--apply")
    s.start()
    os.makedirs("/run/systemd/system", exist_ok=True)
    for name in ("in", "out"):  # as set-up with systemd has enabled them, where an instance has a unit of its own
        s.write(f"/etc/systemd/system/multi-user.target.wants/postfix@{name}.service", "")
    s.conf = s.r.write("more.conf", s.configuration + 'filter third { nexthop = "smtp:[127.0.0.1]:9" }\n')
    out = s.ctl("--apply", status=0)
    assert "systemctl" not in out and " start\n" not in out, out
    assert re.findall(r"(?m)^run: postfix -c (\S+) reload$", out) == ["/etc/postfix", "/etc/postfix-out", "/etc/postfix-in"], out


def test_removal_is_shown_first(s):
    s.fresh("/var/spool/postfix-in")
    s.ctl("--multi", "--apply")
    s.start()
    after = s.texts()
    os.makedirs("/var/spool/postfix-in/hold", exist_ok=True)
    s.write("/var/spool/postfix-in/hold/3ABC", "x")
    out = s.ctl("--remove")
    assert "This is what --remove --apply does." in out
    assert "note: /etc/postfix-in: this instance is stopped first" in out
    assert "note: /etc/postfix-in: 1 messages in its queue: nothing is removed before" in out
    assert "/var/spool/postfix-in: remove with everything in it" in out
    assert s.texts() == after and os.path.exists("/etc/postfix-in/main.cf")
    for name in ("postfix", "postfix-in", "postfix-out"):
        s.run("postfix", "-c", f"/etc/{name}", "status")
    assert "1 messages in its queue would be lost" in s.ctl("--remove", "--apply", status=1)
    for path in glob.glob("/var/spool/postfix-in/hold/*"):  # postsuper(1) may have renamed the file
        os.unlink(path)
    s.ctl("--remove", "--apply")
    assert s.texts() == s.before
    assert "Nothing to do" in s.ctl("--remove")


def test_refusals(s):
    """setup-postfix refuses configurations that it cannot set up, and changes nothing then."""
    def refused(text, *arguments, **fresh):
        before = None
        if fresh:
            s.fresh(**fresh)
        before = s.texts()
        out = s.ctl(*(arguments or ("--single", "--apply")), status=1)
        assert text in out, out
        assert s.texts() == before

    refused("content_filter = smtp:[127.0.0.1]:9 sends whole messages", main="content_filter = smtp:[127.0.0.1]:9")
    s.fresh(queue_directory="/run")
    s.run("postconf", "-F", "smtp/inet/chroot=y")  # before Debian 14 it is the default of Debian
    refused("is chrooted to /var/spool/postfix and cannot see it")
    refused("set socket = \"unix:/var/spool/postfix-in/splitmilter", "--multi", "--apply")
    refused("this instance takes no mail", main="master_service_disable = inet")
    s.fresh()
    for line, text in (
        ("splitcopy unix - - n - - smtp\n", "service splitcopy/unix has a name that we need"),
        ("localhost:10025 inet n - n - - smtpd\n", "has a port that we need: choose with --reinject"),
        ("2500 inet n - n - - smtpd -o { content_filter = x:y }\n", "has its own content_filter"),
        ("rewrite2 unix - - n - - trivial-rewrite -o transport_maps=\n", "has its own transport_maps"),
    ):
        s.fresh()
        with open("/etc/postfix/master.cf", "a", encoding="utf-8") as f:
            f.write(line)
        refused(text)
    s.fresh()
    s.write("/etc/postfix/split_closed", "mine\n")
    refused("split_closed: the file exists, and is not ours")
    s.fresh()
    with open("/etc/postfix/master.cf", "a", encoding="utf-8") as f:
        f.write("script unix - n n - - pipe flags=DRhu user=nobody argv=/bin/true\n")
    s.conf = s.r.write("pipe.conf", s.configuration.replace("smtp:", "script:"))
    refused('"script" is pipe(8)')
    s.conf = s.r.write("none.conf", s.configuration.replace("smtp:", "nothing:"))
    refused('has no service "nothing unix"')
    for path in ("/var/spool/postfix/x, inet:h:1/sock", "/var/spool/postfix/$x/sock", "/var/spool/postfix/x }/sock"):
        s.conf = s.r.write("hostile.conf", s.configuration.replace(s.socket, path))
        refused("cannot be written into Postfix's files")
    s.conf = s.r.write("hostile.conf", s.configuration.replace(s.filters["primary"].bracketed, "[$mail_name]:25"))
    refused('cannot use the nexthop "smtp:[$mail_name]:25"')
    s.conf = s.r.write("user.conf", s.configuration)
    assert "there is no user 'nobody-here'" in s.ctl("--single", "--apply", "--user=nobody-here", status=1)


def test_what_postfix_was_not_told_of(s):
    """check and reload report a filter that Postfix does not know, and settings of Postfix that conflict with splitmilter."""

    def run(command, status):
        with rig.dated_back():
            code, out, err = rig.run_splitctl(s.r, s.conf, command, check=False)
        assert code == status, f"{command}: exit {code}\n{out}{err}"
        return out

    s.fresh()
    s.ctl("--single", "--apply")
    s.start()
    before = run("check", 0)
    assert "0 errors" in before, before
    assert "setup-postfix" not in run("reload", 0)
    s.conf = s.r.write("more.conf", s.configuration + 'filter third { nexthop = "smtp:[127.0.0.1]:3" }\n')
    advice = r"/etc/postfix: Postfix does not know filter third of .*/more.conf: mail for it waits in the queue \(run `splitctl setup-postfix --apply'\)"
    assert re.search("(?m)^error +postfix: " + advice, run("check", 1))
    assert re.search("(?m)^" + advice, run("reload", 1))
    s.ctl("--single", "--apply")
    assert "third" not in run("reload", 0) + run("check", 0).replace("filter third: no table names it", "")
    with open("/etc/postfix/main.cf", "a", encoding="utf-8") as f:
        f.write("non_smtpd_milters = $smtpd_milters\n")
    assert re.search("(?m)^warning +postfix: .*non_smtpd_milters has splitmilter, which can do nothing there", run("check", 0))


def test_an_edited_part_is_refused(s):
    s.fresh()
    s.ctl("--single", "--apply")
    s.run("postconf", "-e", "smtpd_milters = inet:127.0.0.1:1")
    before = s.texts()
    for action in (("--single", "--apply"), ("--remove",), ("--remove", "--apply")):
        assert "was edited: move the change outside of it" in s.ctl(*action, status=1)
        assert s.texts() == before
    assert "in the other way" in s.ctl("--multi", "--apply", status=1)
    s.ctl("--remove", "--apply", "--force")
    assert s.texts() == s.before
    assert "Nothing to do" in s.ctl("--remove", "--apply")


def test_a_failure_is_undone(s):
    """If `postfix check' fails after the changes, they are undone."""
    s.fresh()
    with open("/etc/postfix/master.cf", "a", encoding="utf-8") as f:
        f.write("broken\n")
    before = s.texts()
    s.ctl("--single", "--apply", status=1)
    assert s.texts() == before


def test_usage(s):
    """Wrong options of setup-postfix exit with 64."""
    s.fresh()
    for arguments in ((), ("--apply",), ("--single", "--remove"), ("--single", "--apply", "--remove"), ("--single", "--multi"), ("--single", "x"),
                      ("--single", "--reinject=x:y:z"), ("--single", "--filter-networks=1.2.3.4/33"), ("--single", "--reinject=mail.example.com:10025"), ("--bogus",)):
        s.ctl(*arguments, status=64)


if __name__ == "__main__":
    rig.main(timeout=100)

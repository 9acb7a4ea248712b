#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""splitctl's findings about faults between Postfix and splitmilter.conf, on whole systems."""

import os
import pwd
import re
import shutil
import struct
import subprocess

import rig
from rig.setup_system import HERE, System

SOCKET_DIRECTORY = "/run/splitmilter"


def setup(r):
    s = System(r)
    for tool in ("useradd", "usermod"):
        if not any(os.path.exists(f"{d}/{tool}") for d in ("/usr/sbin", "/sbin")):
            raise rig.Skip(f"{tool}(8) is not installed")
    return s


def review(s, *arguments):
    """The findings, as lines "LEVEL KIND TEXT -> ADVICE"."""
    done = subprocess.run([rig.program("review_query"), s.conf, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=rig.sanitizer_environment(s.r, "review_query"), timeout=60, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode().splitlines()


def found(s, pattern, *arguments):
    lines = review(s, *arguments)
    hits = [ln for ln in lines if re.search(pattern, ln)]
    assert hits, f"/{pattern}/ is not in {lines}"
    return hits


def append(path, text):
    with open(path, "a", encoding="utf-8") as f:
        f.write(text)
    rig.date_back(path)


def by_hand(s, main, **fresh):
    """Set up Postfix as an administrator does without setup-postfix. main: lines of main.cf."""
    s.fresh(**fresh)
    append("/etc/postfix/main.cf", f"\nmilter_protocol = 6\nmilter_default_action = tempfail\nsmtp_fallback_relay =\n{main}\n")


def postconf(s, name):
    # postconf may warn about a setting that nothing uses any more.
    (value,) = [ln for ln in s.run("postconf", "-h", name).splitlines() if not ln.startswith("postconf: warning: ")]
    return value


def test_nothing_to_find(s):
    """A Postfix that setup-postfix set up has no finding."""
    for form, queue in (("--single", "/var/spool/postfix"), ("--multi", "/var/spool/postfix-in")):
        s.fresh(queue)
        (line,) = review(s)
        assert line.startswith("note milters /etc/postfix: no instance of Postfix on this machine asks splitmilter"), line
        s.ctl(form, "--apply")
        assert review(s) == [], form
    os.unlink("/etc/postfix/main.cf")
    assert review(s) == []


def test_non_smtpd_milters(s):
    """splitmilter in non_smtpd_milters gets a warning, because for mail that does not come by SMTP cleanup(8) shows milters other
    recipients than those that they can delete."""
    by_hand(s, "smtpd_milters = unix:splitmilter/milter.sock\nnon_smtpd_milters = ${smtpd_milters}")
    (line,) = found(s, r"^warning non_smtpd /etc/postfix/main\.cf: non_smtpd_milters has splitmilter")
    assert "bounce" not in line
    append("/etc/postfix/main.cf", "internal_mail_filter_classes = notify, bounce\n")
    found(s, "^warning non_smtpd .*and each bounce,")
    append("/etc/postfix/main.cf", "non_smtpd_milters = inet:127.0.0.1:1\n")
    assert not [ln for ln in review(s) if " non_smtpd " in ln]


def test_kept_out_of_non_smtpd_milters(s):
    """setup-postfix keeps splitmilter out of non_smtpd_milters, in any form of the setting."""
    own = f"{{ inet:127.0.0.1:{s.own.address[1]}, protocol=6 }}"
    for value, wanted in (
        ("$smtpd_milters", own),
        ("${smtpd_milters}, inet:127.0.0.1:1", f"{own}, inet:127.0.0.1:1"),
        ("$(mine)\nmine = $smtpd_milters", own),
        ("${smtpd_milters?{$smtpd_milters}}", own),
        (f"unix:splitmilter/milter.sock, {own}", own),
        ("{ unix:/var/spool/postfix/splitmilter/milter.sock, protocol=6 }", ""),
    ):
        s.fresh(main=f"non_smtpd_milters = {value}")
        assert "splitmilter is kept out of it" in s.ctl("--single", "--apply"), value
        # $split_local_milters is empty except for pickup(8), see it_setup_local.py.
        assert postconf(s, "non_smtpd_milters") == (f"{wanted}, " if wanted else "") + "$split_local_milters", value
        assert not [ln for ln in review(s) if " non_smtpd " in ln], value
        s.ctl("--remove", "--apply")
        assert s.texts() == s.before
    s.fresh(main="non_smtpd_milters = inet:127.0.0.1:1")
    assert "kept out" not in s.ctl("--single", "--apply")
    assert "\nnon_smtpd_milters = inet:127.0.0.1:1, $split_local_milters\n" in s.texts()[0].decode()
    s.fresh()
    append("/etc/postfix/master.cf", "cleanup2 unix n - y - 0 cleanup -o non_smtpd_milters=$smtpd_milters\n")
    assert "has its own non_smtpd_milters = $smtpd_milters: move it to main.cf" in s.ctl("--single", "--apply", status=1)


def test_mail_of_sendmail_comes_once(s):
    """After setup-postfix mail from sendmail(1) arrives once, although non_smtpd_milters had splitmilter before."""
    s.fresh(main="non_smtpd_milters = $smtpd_milters\ninternal_mail_filter_classes = bounce\n"
            "recipient_canonical_maps = inline:{ { old@example.com = ben@example.com } }")
    s.ctl("--single", "--apply")
    s.start()
    asked = s.own.asked
    subprocess.run(["sendmail", "-i", "-f", "cron@example.com", "old@example.com"], input=b"Subject: cron\n\n", env=rig.environment(),
                   check=True, timeout=30)
    # When the queue is empty no further mail can arrive.
    rig.wait_for(lambda: s.mailbox.accepted and s.run("mailq") == "Mail queue is empty\n", 20, "the mail", s.log)
    assert s.own.asked == asked + 1, "the administrator's milter was not asked"
    assert [t.addrs for t in s.mailbox.accepted] == [["ben@example.com"]], s.log()


def test_order(s):
    """Milters behind splitmilter, services without it, and splitmilter more than once get findings."""
    ours = "unix:splitmilter/milter.sock"
    by_hand(s, f"smtpd_milters = inet:127.0.0.1:7, {ours}, {{ inet:127.0.0.1:8, protocol=6 }}, unix:other/sock")
    (line,) = found(s, "^warning milters ")
    assert "main.cf: smtpd_milters has inet:127.0.0.1:8, unix:other/sock after splitmilter" in line, line
    append("/etc/postfix/master.cf", f"2500 inet n - y - - smtpd -o {{ smtpd_milters = {ours}, inet:127.0.0.1:9 }}\n"
           "2501 inet n - y - - smtpd -o smtpd_milters=$mua_milters\n"
           "2502 inet n - y - - smtpd -o smtpd_milters= -o receive_override_options=no_milters\n")
    append("/etc/postfix/main.cf", f"smtpd_milters = {ours}\nmua_milters = inet:127.0.0.1:9\n")
    found(s, r"^warning milters /etc/postfix/master\.cf: service 2500/inet: smtpd_milters has inet:127\.0\.0\.1:9 after")
    (line,) = found(s, "without splitmilter")
    assert "master.cf: service 2501/inet has smtpd_milters of its own" in line, line
    append("/etc/postfix/main.cf", f"mua_milters = {ours}\nsmtpd_milters = inet:127.0.0.1:9\n")
    found(s, r"^warning milters /etc/postfix/main\.cf: smtpd_milters lacks splitmilter")
    append("/etc/postfix/main.cf", f"smtpd_milters = {ours}, {ours}\n")
    found(s, "^error milters .* more than once")


def test_options_of_the_milter(s):
    """milter_default_action = accept and milter_protocol = 2, as in some how-tos, get findings."""
    ours = "unix:splitmilter/milter.sock"
    by_hand(s, f"smtpd_milters = {ours}")
    assert not [ln for ln in review(s) if "default action" in ln or "protocol" in ln]
    append("/etc/postfix/main.cf", "milter_default_action = accept\nmilter_protocol = 2\n")
    found(s, r"^warning milters /etc/postfix/main\.cf: smtpd_milters: unix:splitmilter/milter\.sock has the default action accept: .* unfiltered")
    found(s, r"^error milters /etc/postfix/main\.cf: .* in protocol 2: splitmilter needs 6")
    append("/etc/postfix/main.cf", "milter_default_action = tempfail\nmilter_protocol = 6\n"
           f"smtpd_milters = {{ {ours}, protocol=4, {{ default_action = reject }} }}\n")
    found(s, "^warning milters .* has the default action reject: .* for good")
    found(s, "^error milters .* in protocol 4")
    append("/etc/postfix/main.cf", f"milter_default_action = accept\nmilter_protocol = 2\nsmtpd_milters = {{ {ours}, protocol=6, default_action=tempfail }}\n")
    assert not [ln for ln in review(s) if "default action" in ln or "protocol" in ln]


def test_what_came_later(s):
    """Changes of main.cf and master.cf after setup-postfix that bypass splitmilter get findings."""
    s.fresh()
    s.ctl("--single", "--apply")
    append("/etc/postfix/main.cf", "content_filter = smtp:[127.0.0.1]:9\n")
    append("/etc/postfix/master.cf", "2503 inet n - y - - smtpd -o smtpd_proxy_filter=127.0.0.1:9\n")
    hits = found(s, "^error milters .* sends whole messages there")
    assert [bool(re.search(p, "\n".join(hits))) for p in (r"main\.cf: content_filter = smtp:", "2503/inet: smtpd_proxy_filter = 127")] == [True] * 2
    append("/etc/postfix/main.cf", "content_filter =\nsmtpd_milters = inet:127.0.0.1:9\n")
    found(s, "^error milters /etc/postfix: no instance of Postfix asks splitmilter .* although it was set up")
    # setup-postfix prints the same findings about its result, or refuses.
    s.fresh()
    append("/etc/postfix/master.cf", "2504 inet n - y - - smtpd -o smtpd_milters=\n")
    assert "note: /etc/postfix/master.cf: service 2504/inet has smtpd_milters of its own without splitmilter" in s.ctl("--single")
    by_hand(s, "smtpd_milters = inet:127.0.0.1:7, unix:splitmilter/milter.sock, inet:127.0.0.1:8")
    assert "after splitmilter" not in s.ctl("--single", "--apply")
    assert re.fullmatch(r"inet:127\.0\.0\.1:7, inet:127\.0\.0\.1:8, \{ unix:splitmilter/milter\.sock, .*\}", postconf(s, "smtpd_milters"))


def unchrooted(s):
    path = "/etc/postfix/master.cf"
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"(?m)^(smtp +inet +n +- +)[y-]", r"\1n", f.read())
    s.write(path, text)
    s.before = s.texts()


def mail_reply(source=None):
    with rig.SmtpClient((HERE, 25), source=source) as c:
        return c.mail("s@sender.test").code


def mended(s, advice):
    s.run("sh", "-c", advice)
    rig.wait_for(lambda: mail_reply() == 250, 20, "the milter to be asked", s.log)
    assert review(s) == []


def test_access_without_chroot(s):
    """If smtpd(8) without chroot cannot connect to the socket, the finding names the path at fault, and its advice works."""
    s.fresh("/run", milter='socket_group = "splittest"')
    unchrooted(s)
    s.run("useradd", "-r", "splittest")
    os.mkdir(SOCKET_DIRECTORY, 0o755)
    os.chmod(SOCKET_DIRECTORY, 0o755)
    s.ctl("--single", "--apply")
    s.start()
    assert mail_reply() == 451
    (line,) = review(s)
    assert re.match(r"error access /etc/postfix/master\.cf: service smtp/inet: user postfix may not connect to "
                    r"/run/splitmilter/milter\.sock: /run/splitmilter/milter\.sock has mode 0660, owner root:splittest: all mail gets 451", line), line
    advice = line.split(" -> ")[1]
    assert advice == "usermod -a -G splittest postfix && postfix -c /etc/postfix reload", advice
    # setup-postfix refuses with the same advice.
    s.ctl("--remove", "--apply")
    assert advice in s.ctl("--single", "--apply", status=1)
    assert s.texts() == s.before
    s.run("usermod", "-a", "-G", "splittest", "postfix")
    s.ctl("--single", "--apply")
    s.run("gpasswd", "-d", "postfix", "splittest")
    mended(s, advice)
    # A directory of the path cannot be passed.
    os.chmod(SOCKET_DIRECTORY, 0o700)
    (line,) = review(s)
    assert "/run/splitmilter has mode 0700, owner root:root" in line, line
    mended(s, line.split(" -> ")[1])
    # An access control list counts, not only the mode.
    os.chmod(SOCKET_DIRECTORY, 0o700)
    set_acl(SOCKET_DIRECTORY, "postfix", 5, 0)
    assert review(s) == []
    set_acl(SOCKET_DIRECTORY, "postfix", 0, 5)
    (line,) = review(s)
    assert line.endswith("all mail gets 451 -> check which users may search each directory of that path and write to the socket"), line


def set_acl(path, user, permissions, others):
    """Set an ACL: rwx for the owner, permissions for this user, and for all others. The kernel's form of acl(5) is version 2, then
    entries of (tag, permissions, id)."""
    no_id = 0xFFFFFFFF
    entries = ((0x01, 7, no_id), (0x02, permissions, pwd.getpwnam(user).pw_uid), (0x04, others, no_id), (0x10, 5, no_id), (0x20, others, no_id))
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries))
    except OSError as e:
        raise rig.Skip(f"no access control lists here: {e}") from None


def test_access_with_chroot(s):
    """If smtpd(8) with chroot cannot connect to the socket, the finding names the path at fault, and its advice works."""
    s.fresh()
    s.ctl("--single", "--apply")
    s.start()
    assert mail_reply() == 250 and review(s) == []
    directory = os.path.dirname(s.socket)
    os.chmod(directory, 0o700)
    (line,) = review(s)
    assert f"{directory} has mode 0700" in line, line
    assert mail_reply() == 451
    mended(s, line.split(" -> ")[1])
    # With this mode only the owner can connect, so the configuration has to set another one.
    os.chmod(s.socket, 0o600)
    (line,) = review(s)
    assert line.endswith(f'-> set socket_mode = "0660" and socket_group = "postfix" in section milter of {s.conf}, and restart splitmilter'), line
    # With chroot the path means another socket.
    by_hand(s, "smtpd_milters = unix:/run/splitmilter/milter.sock", queue_directory="/run")
    s.run("postconf", "-F", "smtp/inet/chroot=y")  # before Debian 14 it is the default of Debian
    (line,) = review(s)
    assert re.search("service smtp/inet is chrooted: unix:/run/splitmilter/milter.sock means "
                     "/var/spool/postfix/run/splitmilter/milter.sock there", line), line


def test_routes(s):
    """A filter or destination that Postfix has no route for, or another one, gets a finding."""
    s.fresh()
    options = (f"--reinject=0.0.0.0:10025", "--relay=[127.0.0.1]:10030")
    s.ctl("--single", "--apply", *options)
    assert review(s, "routes") == []
    more = s.configuration + f'filter third {{ nexthop = "smtp:{s.special.bracketed}" }}\n'
    s.conf = s.r.write("more.conf", more)
    for arguments in ((), ("routes",)):
        (line,) = review(s, *arguments)
        assert line == (f"error routes /etc/postfix: Postfix does not know filter third of {s.conf}: mail for it waits in the queue"
                        " -> run `splitctl setup-postfix --apply'"), line
    out = s.ctl("--apply")
    assert "splitctl reload" in out and "systemctl restart" not in out, out
    assert review(s) == []
    s.conf = s.r.write("other.conf", more.replace(s.special.bracketed, "[127.0.0.1]:9"))
    found(s, "^warning routes .* does not send mail for filter third to smtp:", "routes")
    s.conf = s.r.write("without.conf", re.sub(r"destination archive .*\n", "", s.configuration.replace('"inline:{ example.com=archive }"', "")))
    found(s, "^warning routes .* was set up for another configuration", "routes")
    s.ctl("--apply")
    s.conf = s.r.write("setup.conf", s.configuration)
    found(s, "^error routes .* does not know the destinations of", "routes")
    s.fresh("/var/spool/postfix-in")
    s.ctl("--multi", "--apply", "--submission=2525")
    s.conf = s.r.write("more.conf", s.configuration + f'filter third {{ nexthop = "smtp:{s.special.bracketed}" }}\n')
    (line,) = review(s)
    assert line.startswith("error routes /etc/postfix-in: Postfix does not know filter third"), line


def test_by_hand(s):
    """Without setup-postfix, missing routes are found by look-ups in transport_maps in the order of transport(5)."""
    routes = "/etc/postfix/routes"
    main = "smtpd_milters = unix:splitmilter/milter.sock\ntransport_maps = texthash:$config_directory/routes"
    by_hand(s, main)
    s.write(routes, ".primary.filter.split.invalid untag:[127.0.0.1]:1\nsecondary.filter.split.invalid untag:x\n")
    hits = found(s, "^error routes /etc/postfix/main.cf: transport_maps have no entry for", "routes")
    assert [re.search(r"for (\S+) \(", ln).group(1) for ln in hits] == [".secondary.filter.split.invalid", ".archive.copy.split.invalid"], hits
    s.write(routes, ".filter.split.invalid untag:[127.0.0.1]:1\n.split.invalid smtp:[127.0.0.1]:10030\n")
    assert review(s) == []
    by_hand(s, main + ", pcre:/nowhere")  # a table that cannot be read gets no finding
    s.write(routes, "x.test smtp:[127.0.0.1]:1\n")
    assert review(s) == []


def test_fallback_by_hand(s):
    """A service for a filter that uses smtp_fallback_relay of main.cf, or lacks the fallback of the filter, gets a warning."""
    by_hand(s, "smtpd_milters = unix:splitmilter/milter.sock\ntransport_maps = texthash:$config_directory/routes\n"
            "smtp_fallback_relay = [relay.test]:25")
    append("/etc/postfix/master.cf", "untag unix - - n - - smtp -o smtp_fallback_relay=\nuntag2 unix - - n - - smtp\n")
    s.write("/etc/postfix/routes", ".primary.filter.split.invalid untag:[127.0.0.1]:1\n.secondary.filter.split.invalid untag2:[127.0.0.1]:1\n"
            ".copy.split.invalid smtp:[127.0.0.1]:10030\n")
    first, second = review(s)
    assert first.startswith("warning routes /etc/postfix/master.cf: service untag2/unix, for filter secondary of "), first
    assert first.endswith(": the fallback is [relay.test]:25, not none: mail may pass unfiltered, and copies may vanish, while the next hop "
                          "takes none -> add `-o smtp_fallback_relay=' to it"), first
    assert "service smtp/unix, for copies for destination archive: the fallback is [relay.test]:25, not none" in second, second
    # The same hosts, written as Postfix also takes them, are no difference.
    append("/etc/postfix/main.cf", "smtp_fallback_relay =\nhosts = [B.test]:2525\n")
    s.conf = s.r.write("fallback.conf", s.configuration.replace(
        f'{s.filters["secondary"].bracketed}"', f'{s.filters["secondary"].bracketed}" fallback = {{ "smtp:[a.test]:25", "smtp:[b.test]:2525" }}'))
    (line,) = review(s)
    assert "the fallback is none, not [a.test]:25,[b.test]:2525: mail waits while the next hop takes none -> add " in line, line
    append("/etc/postfix/master.cf", "untag2 unix - - n - - smtp -o { smtp_fallback_relay = [a.test]:25 $hosts }\n")
    assert review(s) == []


def postfix_3_11(s):
    """Write a postconf(1) that knows REQUIRETLS, with the defaults of Postfix 3.11. Returns its directory, for PATH."""
    directory = s.r.path("postfix311")
    os.makedirs(directory, exist_ok=True)
    real = shutil.which("postconf", path=rig.environment()["PATH"])
    s.r.write("postfix311/postconf", f"""\
#!/bin/sh
{real} "$@" || exit
own=$(sed -n 's/^smtp_requiretls_policy = //p' "$2/main.cf" 2>/dev/null | tail -n 1)
usual='inline:{{ {{ example.com = opportunistic }} {{ localhost = opportunistic }} }} cidr:{{ {{ 0.0.0.0/0 opportunistic }} }} enforce'
[ -n "$own" ] || own=$usual
case "$1$#$3" in
-c2|-c3-x)
    echo "smtp_requiretls_policy = $own"
    echo "lmtp_requiretls_policy = opportunistic" ;;
esac
""", mode=0o755)
    return directory


def test_requiretls(s):
    """A service for filters or copies without smtp_requiretls_policy=opportunistic gets a warning, because with the defaults of
    Postfix 3.11 a message with REQUIRETLS would bounce at a server that does not offer it."""
    with s.with_path(postfix_3_11(s)):
        s.fresh("/var/spool/postfix-in")
        s.ctl("--multi", "--apply")
        for name in ("split-primary", "split-secondary", "splitcopy", "splitnext"):
            entry = s.run("postconf", "-c", "/etc/postfix-in", "-M", f"{name}/unix")
            assert "-o smtp_requiretls_policy=opportunistic" in entry, entry
        assert review(s) == []
        # Services that the administrator made.
        by_hand(s, "smtpd_milters = unix:splitmilter/milter.sock\ntransport_maps = texthash:$config_directory/routes\nmydomain = example.com")
        s.write("/etc/postfix/routes", ".primary.filter.split.invalid smtp:[filter.test]:25\n.secondary.filter.split.invalid smtp:[127.0.0.1]:1\n"
                ".copy.split.invalid smtp:[relay.example.com]:10030\n")
        (line,) = review(s)
        assert re.match(r"warning tls /etc/postfix/master\.cf: service smtp/unix: a message with REQUIRETLS does not pass to \[filter\.test\]:25, "
                        r"which is for filter primary .* -> add `-o smtp_requiretls_policy=opportunistic' to it", line), line
        append("/etc/postfix/main.cf", "smtp_requiretls_policy = opportunistic\n")
        assert review(s) == []
        append("/etc/postfix/main.cf", "smtp_requiretls_policy = enforce\n")
        assert len(found(s, "^warning tls ")) == 3
    s.fresh()
    s.ctl("--single", "--apply")
    is_known = "smtp_requiretls_policy" in s.run("postconf", "-d")
    assert ("requiretls" in s.run("postconf", "-M")) == is_known


if __name__ == "__main__":
    rig.main(timeout=200)

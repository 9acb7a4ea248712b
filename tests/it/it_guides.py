#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The guides in docs/, followed on an existing system: every file that they show is written, and every command is run that needs
no package and no systemd. it_clean_root.py follows them literally."""

import rig


class Surroundings:
    """A guide's system, with all that the guides expect to exist."""

    def __init__(self, r):
        rig.need_tools("postmulti", "swaks")
        self.guide = rig.Guide(r)
        self.mailbox, self.archive = rig.Sink(r, "mailbox"), rig.Sink(r, "archive")
        for name, port in (("primary", 10024), ("secondary", 10027)):
            rig.Filter(r, name, ("127.0.0.1", 10025), port=port)

    def fresh(self):
        for sink in (self.mailbox, self.archive):
            sink.transactions.clear()
        self.guide.fresh(self.mailbox, {"[archive.example.com]:25": self.archive.bracketed})
        return self.guide


def setup(r):
    return Surroundings(r)


def begin(guide, form="--multi"):
    """Set up the system to which the quickstart leads."""
    guide.follow("quickstart.md", only=("conf",))
    guide.run(f"splitctl setup-postfix {form} --apply")
    for name in ("splitmilter", "splitrelay", "postfix"):
        guide.service("restart", name)


def test_readme(s):
    guide = s.fresh()
    guide.run("postfix start")
    assert guide.follow("README.md") == 6


def test_filters(s):
    """filters.md leads to a working split. Simple filters replace those of the guide; it_real_filters.py has the real ones."""
    guide = s.fresh()
    guide.run("postfix start")
    assert guide.follow("filters.md") > 2
    for name in ("splitmilter", "splitrelay", "postfix"):
        guide.service("restart", name)
    rig.send(("127.0.0.1", 25), "s@example.net", ["anna@example.com", "ben@example.com"], b"Subject: both\r\n\r\n")
    s.mailbox.wait_recipients(2)
    passed = sorted((a, t.headers("X-Filtered-By")) for t in s.mailbox.accepted for a in t.addrs)
    assert passed == [("anna@example.com", ["primary"]), ("ben@example.com", ["secondary"])], passed


def test_quickstart(s):
    guide = s.fresh()
    with open("/etc/postfix/main.cf", "rb") as f:
        before = f.read()
    assert guide.follow("quickstart.md", since="./dev deb") > 10
    s.mailbox.wait_recipients(2)
    passed = sorted((a, t.headers("X-Filtered-By")) for t in s.mailbox.accepted for a in t.addrs)
    assert passed == [("anna@example.com", ["secondary"]), ("ben@example.com", ["primary"])], passed
    s.archive.wait_recipients(2)
    with open("/etc/postfix/main.cf", "rb") as f:
        assert f.read() == before


def test_postfix(s):
    guide = s.fresh()
    guide.replaced["/var/spool/postfix-in/"] = "/var/spool/postfix/"
    begin(guide, "--single")
    guide.run("splitctl setup-postfix --remove --apply")
    assert guide.follow("postfix.md") > 2


def test_operations(s):
    guide = s.fresh()
    begin(guide)
    assert guide.follow("operations.md") > 2


def test_scaling(s):
    guide = s.fresh()
    begin(guide)
    assert guide.follow("scaling.md") > 2
    (text,) = (text for kind, text in rig.blocks("scaling.md") if kind == "conf elsewhere")
    guide.write("/etc/splitmilter/relay.conf", text)
    guide.run("splitctl -c /etc/splitmilter/relay.conf check")


if __name__ == "__main__":
    rig.main(timeout=150)

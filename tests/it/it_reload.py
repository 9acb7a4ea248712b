#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""SIGUSR1: a new table is used, a broken configuration leaves the old one in use."""

import signal

import rig


def setup(r):
    return rig.Tower(r, "", "* primary\n", "")


def deliver(t, subject):
    """Send a message to anna. Returns the filters that it passed."""
    t.send(["anna@example.com"], f"Subject: {subject}\r\n\r\n".encode())

    def there():
        return [x for x in t.mailbox.accepted if subject in x.headers("Subject")]

    return rig.wait_for(there, 20, f"message {subject}")[-1].headers("X-Filtered-By")


def test_new_table_is_used(t):
    assert deliver(t, "before") == ["primary"]
    t.set_table("filter", "anna@example.com secondary\n* primary\n")
    t.milter.signal(signal.SIGUSR1)
    rig.wait_for(lambda: deliver(t, "after") == ["secondary"], 20, "the new table")
    t.set_table("filter", "* primary\n")
    t.milter.signal(signal.SIGUSR1)
    rig.wait_for(lambda: deliver(t, "back") == ["primary"], 20, "the old table again")


def test_broken_configuration_keeps_the_old(t):
    path = t.configuration_path
    with open(path, encoding="utf-8") as f:
        good = f.read()
    broken = good.replace("log {", "lgo {", 1)
    t.rig.write("splitmilter.conf", broken)
    t.milter.signal(signal.SIGUSR1)
    t.milter.wait_log(r"splitmilter\.conf:1: ")
    assert t.milter.running
    assert deliver(t, "still served") == ["primary"]
    t.rig.write("splitmilter.conf", good)
    t.set_table("filter", "* secondary\n")
    t.milter.signal(signal.SIGUSR1)
    rig.wait_for(lambda: deliver(t, "mended") == ["secondary"], 20, "the mended configuration")


def test_broken_table_keeps_the_old(t):
    t.set_table("filter", "* secondary\n")
    t.milter.signal(signal.SIGUSR1)
    rig.wait_for(lambda: deliver(t, "set") == ["secondary"], 20, "the table")
    t.set_table("filter", "* nosuchfilter\n")
    t.milter.signal(signal.SIGUSR1)
    t.milter.wait_log(r"tables/filter:1: .*nosuchfilter")
    assert deliver(t, "kept") == ["secondary"]
    t.set_table("filter", "* primary\n")
    t.milter.signal(signal.SIGUSR1)
    rig.wait_for(lambda: deliver(t, "healed") == ["primary"], 20, "the healed table")


def test_reload_under_load_loses_nothing(t):
    """With reloads while messages arrive, each message is delivered once, through the filter."""
    t.settle()
    before = len(t.mailbox.accepted)
    for number in range(5):
        rig.smtp_source(t.front.address, 20, sessions=4, size=500, recipient="anna@example.com")
        t.milter.signal(signal.SIGUSR1)
    found = t.mailbox.wait(before + 100, 30)[before:]
    t.settle()
    assert len(t.mailbox.accepted) == before + 100
    assert all(x.headers("X-Filtered-By") for x in found)


if __name__ == "__main__":
    rig.main()

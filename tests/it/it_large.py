#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A message of 50 MB, with which memory does not grow, and one with 1,000 recipients."""

import rig

MEGABYTE = 1024 * 1024


def setup(r):
    return rig.Tower(
        r,
        "",
        "anna@example.com none\n" + "".join(f"r{i}@example.com {('secondary', 'primary', 'none')[i % 3]}\n" for i in range(1000)),
        "anna@example.com archive, newmail\n" + "".join(f"r{i}@example.com archive\n" for i in range(0, 1000, 2)),
        relay='    message_size_limit = "60M"\n',
        front_main={"smtpd_recipient_limit": "2000"},
    )


def test_fifty_megabytes(t):
    """A message of 50 MB arrives at the mailbox and at the backups, and splitrelay needs at most 12 MB more memory."""
    line = bytes(range(128, 256)) * 7 + b"\r\n"
    content = b"Subject: large\r\n\r\n" + line * (50 * MEGABYTE // len(line) + 1)
    before = t.relay.rss_kb()
    t.send(["anna@example.com"], content, timeout=60)
    for sink in (t.mailbox, *t.backups.values()):
        found = sink.wait(1, 60)
        assert found[0].data.endswith(content), f"{sink.name}: {found[0].size} bytes"
        found[0].data = b""
    t.settle()
    peak = t.relay.rss_kb(peak=True)
    print(f"splitrelay: {before} kB before, {peak} kB at most")
    if not rig.instrumented():
        assert peak - before < 12 * 1024, f"{before} kB before, {peak} kB at most"


def test_thousand_recipients(t):
    """A message to 1,000 recipients arrives once for each, through its filter, and with its copy."""
    recipients = [f"r{i}@example.com" for i in range(1000)]
    t.send(recipients, b"Subject: thousand\r\n\r\nx\r\n", timeout=60)
    seen = {}

    def all_there():
        seen.clear()
        for txn in t.mailbox.accepted:
            if "thousand" in txn.headers("Subject"):
                for rcpt in txn.rcpts:
                    seen.setdefault(rcpt.addr, []).append(",".join(txn.headers("X-Filtered-By")) or "none")
        return len(seen) >= 1000

    rig.wait_for(all_there, 40, "1000 recipients", lambda: f"{len(seen)} there")
    t.settle()
    all_there()
    for i, name in enumerate(recipients):
        assert seen[name] == [("secondary", "primary", "none")[i % 3]], f"{name}: {seen[name]}"
    copies = [
        rcpt
        for txn in t.backups["archive"].wait_recipients(501, 40)
        if "thousand" in txn.headers("Subject")
        for rcpt in txn.rcpts
    ]
    assert sorted(x.addr for x in copies) == sorted(recipients[::2])
    assert all(sorted(x.params) == ["NOTIFY=NEVER", f"ORCPT=rfc822;{x.addr}"] for x in copies)


if __name__ == "__main__":
    rig.main(timeout=180)
